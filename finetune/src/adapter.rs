//! Adapters as PEFT keeps them: a folder with `adapter_config.json` and `adapter_model.safetensors`.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use inkstone_engine::{Adapter, Pair, atomic};
use inkstone_model::weights::{DOWN, GATE, K, O, Q, UP, V};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::net::{Method, Net, name};
use crate::weight::Tensor;

/// What PEFT calls the matrices that have adapters, in the architectures that name their matrices as Llama does.
static MODULES: &[(u16, &str)] = &[
    (Q, "self_attn.q_proj"),
    (K, "self_attn.k_proj"),
    (V, "self_attn.v_proj"),
    (O, "self_attn.o_proj"),
    (GATE, "mlp.gate_proj"),
    (UP, "mlp.up_proj"),
    (DOWN, "mlp.down_proj"),
];

/// The two thin matrices, as we and as PEFT call them.
const PAIR: [(&str, &str); 2] = [("lora_a", "lora_A"), ("lora_b", "lora_B")];

const CONFIG: &str = "adapter_config.json";
const WEIGHTS: &str = "adapter_model.safetensors";

/// What `adapter_config.json` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Config {
    /// `LORA`.
    pub peft_type: String,
    /// `CAUSAL_LM`.
    #[serde(default)]
    pub task_type: Option<String>,
    /// The model it belongs to.
    #[serde(default)]
    pub base_model_name_or_path: Option<String>,
    /// Rows of `A`.
    pub r: usize,
    /// The product of both is scaled by `lora_alpha / r`.
    pub lora_alpha: f32,
    /// The matrices that have adapters: names, or a pattern of them. The tensors tell.
    #[serde(default)]
    pub target_modules: Value,
    /// `none`.
    #[serde(default = "none")]
    pub bias: String,
    /// Share of inputs that were left out in training.
    #[serde(default)]
    pub lora_dropout: f32,
    /// Whether weights are stored as `inputs × outputs`.
    #[serde(default)]
    pub fan_in_fan_out: bool,
    /// Whether the scale is `lora_alpha / √r`.
    #[serde(default)]
    pub use_rslora: bool,
    /// Whether magnitudes are trained apart.
    #[serde(default)]
    pub use_dora: bool,
    /// Matrices of other ranks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rank_pattern: Option<Map<String, Value>>,
    /// Matrices of other alphas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alpha_pattern: Option<Map<String, Value>>,
    /// How it began: some ways change the base as well.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub init_lora_weights: Value,
    /// Layers that stand several times.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub layer_replication: Value,
    /// Tokens from which on it acts.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub alora_invocation_tokens: Value,
}

fn none() -> String {
    "none".to_owned()
}

/// Writes what `net` has learnt to `folder`, which is made.
///
/// # Errors
/// The net was not trained with adapters, or the file system's answer.
pub fn save(net: &Net<'_>, base: &str, folder: &Path) -> Result<()> {
    let Method::Lora { rank, alpha, .. } = net.options().method else {
        bail!("the model was trained as a whole and has no adapter; write it as a model");
    };
    let modules = MODULES.iter().map(|(_, module)| *module);
    let config = Config {
        peft_type: "LORA".to_owned(),
        task_type: Some("CAUSAL_LM".to_owned()),
        base_model_name_or_path: Some(base.to_owned()),
        r: rank,
        lora_alpha: alpha,
        target_modules: modules
            .filter_map(|m| m.split('.').next_back())
            .map(str::to_owned)
            .collect(),
        bias: none(),
        lora_dropout: 0.0,
        fan_in_fan_out: false,
        use_rslora: false,
        use_dora: false,
        rank_pattern: None,
        alpha_pattern: None,
        init_lora_weights: Value::Null,
        layer_replication: Value::Null,
        alora_invocation_tokens: Value::Null,
    };
    let bytes: Vec<(String, [usize; 2], Vec<u8>)> = peft_names(net)
        .map(|(name, tensor)| {
            let values = tensor.values.iter().flat_map(|x| x.to_le_bytes()).collect();
            (name, [tensor.rows, tensor.columns], values)
        })
        .collect();
    let views = bytes.iter().map(|(name, shape, bytes)| {
        Ok((name, TensorView::new(Dtype::F32, shape.to_vec(), bytes)?))
    });
    let views = views.collect::<Result<Vec<_>>>()?;
    let format = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    let weights = safetensors::serialize(views, Some(format))?;
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    replace(&folder.join(WEIGHTS), &weights)?;
    replace(
        &folder.join(CONFIG),
        serde_json::to_string_pretty(&config)?.as_bytes(),
    )
}

/// An adapter that was read.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it says of itself.
    pub config: Config,
    /// Its thin matrices, by layer and role.
    pub pairs: BTreeMap<(u16, u16), Thin>,
}

/// Two thin matrices.
#[derive(Debug, Clone, Default)]
pub struct Thin {
    /// Outputs of the matrix it is added to.
    pub rows: usize,
    /// Inputs of that matrix.
    pub inputs: usize,
    /// Rows of `a`.
    pub rank: usize,
    /// `rank × inputs`.
    pub a: Vec<f32>,
    /// `rows × rank`, unscaled.
    pub b: Vec<f32>,
}

impl Loaded {
    /// Reads the adapter in a folder.
    ///
    /// # Errors
    /// Names the file and the tensor that is not understood.
    pub fn open(folder: &Path) -> Result<Loaded> {
        let config = config(folder)?;
        let path = folder.join(WEIGHTS);
        let at = || path.display().to_string();
        let bytes = fs::read(&path).with_context(at)?;
        let tensors = SafeTensors::deserialize(&bytes).with_context(at)?;
        let mut halves: BTreeMap<(u16, u16), [Option<TensorView<'_>>; 2]> = BTreeMap::new();
        for (name, view) in tensors.iter() {
            let (layer, role, half) = place(name)
                .with_context(|| format!("{}: {name} is no adapter that is known", at()))?;
            let held = halves.entry((layer, role)).or_default()[half].replace(view);
            ensure!(held.is_none(), "{}: {name} stands twice", at());
        }
        let mut pairs = BTreeMap::new();
        for ((layer, role), halves) in halves {
            let what = || format!("{}: {}", at(), name(layer, role));
            let [Some(a), Some(b)] = halves else {
                bail!("{}: one of the two matrices is missing", what());
            };
            pairs.insert((layer, role), thin(&a, &b, config.r).with_context(what)?);
        }
        Ok(Loaded { config, pairs })
    }

    /// The adapter as models take it, which messages call `name`.
    ///
    /// # Errors
    /// Shapes that are none.
    pub fn adapter(&self, name: &str) -> Result<Adapter> {
        let scale = self.scale();
        let pairs = self.pairs.iter().map(|((layer, role), thin)| Pair {
            layer: *layer,
            role: *role,
            rows: thin.rows,
            inputs: thin.inputs,
            rank: thin.rank,
            a: thin.a.clone(),
            b: thin.b.iter().map(|b| b * scale).collect(),
        });
        Ok(Adapter::of(name, pairs.collect())?)
    }

    /// What the product of both matrices is scaled by.
    #[must_use]
    pub fn scale(&self) -> f32 {
        self.config.lora_alpha / self.config.r as f32
    }
}

fn thin(a: &TensorView<'_>, b: &TensorView<'_>, rank: usize) -> Result<Thin> {
    let (&[a_rows, inputs], &[rows, b_columns]) = (a.shape(), b.shape()) else {
        bail!(
            "shapes {:?} and {:?}, wanted two matrices",
            a.shape(),
            b.shape()
        );
    };
    ensure!(
        a_rows == rank && b_columns == rank,
        "ranks {a_rows} and {b_columns}, the configuration says {rank}"
    );
    Ok(Thin {
        rows,
        inputs,
        rank,
        a: numbers(a)?,
        b: numbers(b)?,
    })
}

/// The layer, the role and the half that a name of PEFT's means.
fn place(name: &str) -> Option<(u16, u16, usize)> {
    let rest = name.strip_prefix("base_model.model.")?;
    let rest = rest
        .strip_prefix("model.")
        .unwrap_or(rest)
        .strip_prefix("layers.")?;
    let (layer, rest) = rest.split_once('.')?;
    let (role, module) = MODULES
        .iter()
        .find(|(_, module)| rest.starts_with(module))?;
    let half = PAIR
        .iter()
        .position(|(_, theirs)| rest[module.len()..] == format!(".{theirs}.weight"))?;
    Some((layer.parse().ok()?, *role, half))
}

/// Reads an adapter into `net`, which has one of the same rank.
///
/// # Errors
/// Names the file and what in it does not fit.
pub fn load(net: &mut Net<'_>, folder: &Path) -> Result<()> {
    let loaded = Loaded::open(folder)?;
    let Method::Lora { rank, alpha, .. } = net.options().method else {
        bail!("the model is trained as a whole and takes no adapter");
    };
    let config = &loaded.config;
    ensure!(
        config.r == rank && config.lora_alpha == alpha,
        "{}: rank {} and alpha {}, the recipe has {rank} and {alpha}",
        folder.join(CONFIG).display(),
        config.r,
        config.lora_alpha
    );
    for ((layer, role), thin) in loaded.pairs {
        for ((ours, _), values) in PAIR.iter().zip([thin.a, thin.b]) {
            let name = format!("{}.{ours}", name(layer, role));
            let tensor = net.trained.iter_mut().find(|tensor| tensor.name == name);
            let tensor = tensor.filter(|tensor| tensor.values.len() == values.len());
            let tensor = tensor
                .with_context(|| format!("{}: {name} does not fit the model", folder.display()))?;
            tensor.values = values;
        }
    }
    Ok(())
}

/// What the adapter in `folder` says of itself.
///
/// # Errors
/// It cannot be read, or is of a kind that is not run here.
pub fn config(folder: &Path) -> Result<Config> {
    let path = folder.join(CONFIG);
    let at = || path.display().to_string();
    let config: Config =
        serde_json::from_slice(&fs::read(&path).with_context(at)?).with_context(at)?;
    ensure!(
        config.peft_type == "LORA",
        "{}: {} is not run, LORA is",
        at(),
        config.peft_type
    );
    ensure!(
        config.r > 0 && config.r <= 1024,
        "{}: rank {}",
        at(),
        config.r
    );
    ensure!(
        config.lora_alpha.is_finite(),
        "{}: alpha {}",
        at(),
        config.lora_alpha
    );
    let odd = [
        (config.fan_in_fan_out, "fan_in_fan_out"),
        (config.use_rslora, "use_rslora"),
        (config.use_dora, "use_dora"),
        (config.bias != "none", "bias"),
        (holds(config.rank_pattern.as_ref()), "rank_pattern"),
        (holds(config.alpha_pattern.as_ref()), "alpha_pattern"),
        (changes_base(&config.init_lora_weights), "init_lora_weights"),
        (!config.layer_replication.is_null(), "layer_replication"),
        (
            !config.alora_invocation_tokens.is_null(),
            "alora_invocation_tokens",
        ),
    ];
    if let Some((_, what)) = odd.iter().find(|(set, _)| *set) {
        bail!("{}: {what} is not known here", at());
    }
    Ok(config)
}

fn holds(pattern: Option<&Map<String, Value>>) -> bool {
    pattern.is_some_and(|pattern| !pattern.is_empty())
}

/// Whether PEFT changes the base's weights too where an adapter begins like this.
fn changes_base(init: &Value) -> bool {
    let ways = ["pissa", "corda", "loftq", "olora"];
    let named = |name: &str| ways.iter().any(|way| name.to_lowercase().starts_with(way));
    init.as_str().is_some_and(named)
}

/// What PEFT calls each tensor, in the order of [`Net::trained`].
fn peft_names<'n>(net: &'n Net<'_>) -> impl Iterator<Item = (String, &'n Tensor)> {
    let layers = net.spec().layers;
    let known: HashMap<String, String> = (0..layers)
        .flat_map(|layer| {
            MODULES.iter().flat_map(move |(role, module)| {
                PAIR.map(|(ours, theirs)| {
                    let ours = format!("{}.{ours}", name(layer as u16, *role));
                    let theirs =
                        format!("base_model.model.model.layers.{layer}.{module}.{theirs}.weight");
                    (ours, theirs)
                })
            })
        })
        .collect();
    net.trained.iter().map(move |tensor| {
        let name = known.get(&tensor.name);
        let name = name.expect("adapters stand on the matrices of the table");
        (name.clone(), tensor)
    })
}

/// A tensor of f32, f16 or bf16 as numbers.
fn numbers(view: &TensorView<'_>) -> Result<Vec<f32>> {
    let values: Vec<f32> = match view.dtype() {
        Dtype::F32 => words(view.data()).map(f32::from_le_bytes).collect(),
        Dtype::F16 => words(view.data())
            .map(|b| half::f16::from_le_bytes(b).to_f32())
            .collect(),
        Dtype::BF16 => words(view.data())
            .map(|b| half::bf16::from_le_bytes(b).to_f32())
            .collect(),
        other => bail!("type {other:?}, wanted F32, F16 or BF16"),
    };
    ensure!(
        values.iter().all(|x| x.is_finite()),
        "a number that is not finite"
    );
    Ok(values)
}

fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks::<N>().0.iter().copied()
}

/// Writes a file under a temporary name, and gives it its own when it is whole.
///
/// # Errors
/// The file system's answer, with the path.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = atomic::write(path, |file| file.write_all(bytes));
    written.with_context(|| path.display().to_string())
}
