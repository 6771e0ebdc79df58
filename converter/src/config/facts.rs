//! Where a hyperparameter stands: the keys of GGUF metadata and of `config.json`, side by side.

use serde_json::{Map, Value as Json};

use super::{Rope, Scaling, inverse_root};
use crate::arch::{Activation, Arch, Windows};
use crate::error::{Error, Result, malformed, missing, unsupported};
use crate::gguf::{Header, Value};

/// The two spellings of one hyperparameter; empty where there is none.
pub(super) struct Key {
    gguf: &'static str,
    hf: &'static str,
}

const fn key(gguf: &'static str, hf: &'static str) -> Key {
    Key { gguf, hf }
}

pub(super) const LAYERS: Key = key("block_count", "num_hidden_layers");
pub(super) const WIDTH: Key = key("embedding_length", "hidden_size");
pub(super) const FFN_WIDTH: Key = key("feed_forward_length", "intermediate_size");
pub(super) const HEADS: Key = key("attention.head_count", "num_attention_heads");
pub(super) const KV_HEADS: Key = key("attention.head_count_kv", "num_key_value_heads");
pub(super) const HEAD_DIM: Key = key("attention.key_length", "head_dim");
pub(super) const VALUE_DIM: Key = key("attention.value_length", "");
pub(super) const VOCAB: Key = key("vocab_size", "vocab_size");
pub(super) const CONTEXT: Key = key("context_length", "max_position_embeddings");
pub(super) const NORM_EPS: Key = key("attention.layer_norm_rms_epsilon", "rms_norm_eps");
pub(super) const SCORE_CAP: Key = key("attn_logit_softcapping", "attn_logit_softcapping");
pub(super) const LOGIT_CAP: Key = key("final_logit_softcapping", "final_logit_softcapping");
const SCORE_SCALE: Key = key("attention.scale", "");
const QUERY_SCALAR: Key = key("", "query_pre_attn_scalar");
const WINDOW: Key = key("attention.sliding_window", "sliding_window");
const WINDOW_SWITCH: Key = key("", "use_sliding_window");
const WINDOW_FROM: Key = key("", "max_window_layers");
const WINDOW_PATTERN: Key = key("attention.sliding_window_pattern", "sliding_window_pattern");
const ROPE_BASE: Key = key("rope.freq_base", "rope_theta");
const ROPE_LOCAL_BASE: Key = key("rope.freq_base_swa", "rope_local_base_freq");
const ROPE_DIMS: Key = key("rope.dimension_count", "");
const ROPE_SHARE: Key = key("", "partial_rotary_factor");
const SCALING_KIND: Key = key("rope.scaling.type", "");
const SCALING_FACTOR: Key = key("rope.scaling.factor", "");
const TIED: Key = key("", "tie_word_embeddings");
const ACTIVATIONS: [&str; 2] = ["hidden_act", "hidden_activation"];

/// Where hyperparameters are looked up.
pub(super) enum Facts<'a> {
    /// Metadata, whose keys start with the name of the architecture.
    Gguf { header: &'a Header, prefix: &'a str },
    /// The object of a language model, and the object around it where it is part of a larger one.
    Hf {
        object: &'a Map<String, Json>,
        outer: &'a Json,
    },
}

/// Which layers are windowed: by a rule, or one by one.
pub(super) enum Layout {
    Rule(Windows),
    Each(Vec<bool>),
}

/// An object of a `config.json`, where it stands.
type Object<'a> = Option<&'a Map<String, Json>>;

/// A fact, in either world; `null` is no fact.
#[derive(Clone, Copy)]
enum Fact<'a> {
    Gguf(&'a Value, u64),
    Hf(&'a Json),
}

impl<'a> Facts<'a> {
    pub(super) fn count(&self, key: &Key) -> Result<Option<u64>> {
        self.typed(key, "a count", Fact::count)
    }

    pub(super) fn needed(&self, key: &Key) -> Result<u64> {
        self.count(key)?
            .ok_or_else(|| missing(format!("no {}", self.spell(key))))
    }

    /// A count that a `config.json` may leave out.
    pub(super) fn needed_or(&self, key: &Key, default: Option<u64>) -> Result<u64> {
        match self.count(key)?.or_else(|| self.hf_default(default)) {
            Some(count) => Ok(count),
            None => self.needed(key),
        }
    }

    pub(super) fn real(&self, key: &Key) -> Result<Option<f32>> {
        self.typed(key, "a number", Fact::real)
    }

    fn flag(&self, key: &Key) -> Result<Option<bool>> {
        self.typed(key, "true or false", Fact::flag)
    }

    /// A default of `config.json`, which GGUF files always state.
    pub(super) fn hf_default<T>(&self, default: Option<T>) -> Option<T> {
        match self {
            Self::Gguf { .. } => None,
            Self::Hf { .. } => default,
        }
    }

    /// GGUF files say it by the absence of an output matrix.
    pub(super) fn tied(&self, arch: &Arch) -> Result<Option<bool>> {
        let Self::Hf { outer, .. } = self else {
            return Ok(None);
        };
        // Of two statements the outer counts, as in `transformers`.
        let outermost = outer.get(TIED.hf).and_then(Json::as_bool);
        let tied = outermost.or(self.flag(&TIED)?);
        Ok(Some(tied.unwrap_or(arch.hf_defaults.tied)))
    }

    pub(super) fn score_scale(
        &self,
        arch: &Arch,
        layers: u64,
        share: u64,
        head_dim: u64,
    ) -> Result<f32> {
        if let Some(scale) = self.real(&SCORE_SCALE)?.filter(|&s| s != 0.0) {
            return Ok(scale);
        }
        let scalar = match self {
            Self::Gguf { .. } if arch.wide_score_layers == Some(layers) => Some(share as f32),
            Self::Gguf { .. } => None,
            Self::Hf { .. } => self.real(&QUERY_SCALAR)?.or(arch.hf_defaults.query_scalar),
        };
        Ok(inverse_root(scalar.unwrap_or(head_dim as f32)))
    }

    /// The window, and which layers have it.
    pub(super) fn windows(&self, arch: &Arch, layers: u64) -> Result<(Option<u64>, Layout)> {
        let mut window = self.count(&WINDOW)?.filter(|&w| w != 0);
        if !self.states(&WINDOW) {
            window = self.hf_default(arch.hf_defaults.window);
        }
        let switched = self.flag(&WINDOW_SWITCH)?;
        if self.hf_default(Some(arch.hf_defaults.window_wants_switch)) == Some(true)
            && switched != Some(true)
        {
            window = None;
        }
        if let Some(each) = self.layer_types()? {
            return Ok((window.filter(|_| each.contains(&true)), Layout::Each(each)));
        }
        if switched == Some(true) {
            let from = self.count(&WINDOW_FROM)?.unwrap_or(0);
            let each = (0..layers.min(super::LAYERS_MAX))
                .map(|l| l >= from)
                .collect();
            return Ok((window, Layout::Each(each)));
        }
        let rule = match self.count(&WINDOW_PATTERN)? {
            Some(n) => Windows::AllBut(n),
            None => arch.windows,
        };
        Ok((window, Layout::Rule(rule)))
    }

    /// One flag for each layer, where the checkpoint lists them.
    fn layer_types(&self) -> Result<Option<Vec<bool>>> {
        match self {
            Self::Gguf { header, prefix } => {
                let value = header.get(&format!("{prefix}.{}", WINDOW_PATTERN.gguf));
                Ok(value.and_then(Value::as_bools).map(<[bool]>::to_vec))
            }
            Self::Hf { object, .. } => {
                let Some(list) = object.get("layer_types").and_then(Json::as_array) else {
                    return Ok(None);
                };
                let windowed = list.iter().map(|kind| match kind.as_str() {
                    Some("sliding_attention") => Ok(true),
                    Some("full_attention") => Ok(false),
                    _ => Err(unsupported(format!("layers of type {kind}"))),
                });
                windowed.collect::<Result<_>>().map(Some)
            }
        }
    }

    pub(super) fn rope(&self, arch: &Arch, head_dim: u64) -> Result<Rope> {
        let (full, local) = self.rope_objects();
        let stated = |object: Object<'_>| real_in(object, ROPE_BASE.hf);
        let base = stated(full)?
            .or(self.real(&ROPE_BASE)?)
            .unwrap_or(arch.rope_base);
        let local_base = stated(local)?
            .or(self.real(&ROPE_LOCAL_BASE)?)
            .or(arch.local_rope_base);
        let dims = match self.real(&ROPE_SHARE)? {
            Some(share) if share != 1.0 => {
                return Err(unsupported(format!("a rope over {share} of a head")));
            }
            _ => self.count(&ROPE_DIMS)?.unwrap_or(head_dim),
        };
        let scaling = match self {
            Self::Gguf { .. } => self.gguf_scaling()?,
            Self::Hf { .. } => hf_scaling(full)?,
        };
        Ok(Rope {
            dims,
            base,
            local_base: local_base.unwrap_or(base),
            scaling,
            scales_local: local_base.is_none(),
        })
    }

    /// The objects that describe the rope of layers without and with a window: `rope_scaling`, or
    /// the `rope_parameters` that later versions write instead.
    fn rope_objects(&self) -> (Object<'a>, Object<'a>) {
        let Self::Hf { object, .. } = self else {
            return (None, None);
        };
        let parameters = object.get("rope_parameters").and_then(Json::as_object);
        let Some(parameters) = parameters else {
            return (object.get("rope_scaling").and_then(Json::as_object), None);
        };
        let part = |name: &str| parameters.get(name).and_then(Json::as_object);
        match part("full_attention") {
            Some(full) => (Some(full), part("sliding_attention")),
            None => (Some(parameters), None),
        }
    }

    fn gguf_scaling(&self) -> Result<Scaling> {
        let Some(Fact::Gguf(kind, offset)) = self.fact(&SCALING_KIND) else {
            return Ok(Scaling::None);
        };
        match kind.as_str() {
            Some("none") => Ok(Scaling::None),
            Some("linear") => Ok(Scaling::Linear {
                factor: self.real(&SCALING_FACTOR)?.unwrap_or(1.0),
            }),
            _ => Err(unsupported(format!("rope scaling {kind:?}")).at(offset)),
        }
    }

    /// A `config.json` names the activation; it must be the one of the table.
    pub(super) fn check_activation(&self, expected: Activation) -> Result<()> {
        let Self::Hf { object, .. } = self else {
            return Ok(());
        };
        let known = match expected {
            Activation::Silu => ["silu", "swish"],
            Activation::GeluTanh => ["gelu_pytorch_tanh", "gelu_new"],
        };
        let mut stated = ACTIVATIONS
            .iter()
            .filter_map(|key| object.get(*key)?.as_str());
        match stated.next_back() {
            Some(name) if !known.contains(&name) => Err(unsupported(format!("activation {name}"))),
            _ => Ok(()),
        }
    }

    fn typed<T>(
        &self,
        key: &Key,
        wanted: &str,
        get: impl Fn(&Fact<'a>) -> Option<T>,
    ) -> Result<Option<T>> {
        let Some(fact) = self.fact(key) else {
            return Ok(None);
        };
        let wrong = || fact.place(malformed(format!("{} is not {wanted}", self.spell(key))));
        match get(&fact) {
            Some(value) => Ok(Some(value)),
            // The list of flags that may stand where a count is expected has its own reader.
            None if key.gguf == WINDOW_PATTERN.gguf => Ok(None),
            None => Err(wrong()),
        }
    }

    fn states(&self, key: &Key) -> bool {
        match self {
            Self::Gguf { .. } => self.fact(key).is_some(),
            Self::Hf { object, .. } => object.contains_key(key.hf),
        }
    }

    fn fact(&self, key: &Key) -> Option<Fact<'a>> {
        match *self {
            Self::Gguf { header, prefix } if !key.gguf.is_empty() => {
                let name = format!("{prefix}.{}", key.gguf);
                Some(Fact::Gguf(header.get(&name)?, header.offset_of(&name)?))
            }
            Self::Hf { object, .. } if !key.hf.is_empty() => {
                object.get(key.hf).filter(|v| !v.is_null()).map(Fact::Hf)
            }
            _ => None,
        }
    }

    fn spell(&self, key: &Key) -> String {
        match self {
            Self::Gguf { prefix, .. } => format!("{prefix}.{}", key.gguf),
            Self::Hf { .. } => key.hf.to_owned(),
        }
    }
}

impl Fact<'_> {
    /// A count; a list of one count for each layer is one if all are equal.
    fn count(&self) -> Option<u64> {
        match self {
            Self::Gguf(value, _) => value.as_u64().or_else(|| {
                let counts = value.as_u64s()?;
                let first = *counts.first()?;
                counts.iter().all(|&c| c == first).then_some(first)
            }),
            Self::Hf(json) => json.as_u64(),
        }
    }

    fn real(&self) -> Option<f32> {
        match self {
            Self::Gguf(value, _) => value.as_f32(),
            Self::Hf(json) => json.as_f64().map(|v| v as f32),
        }
    }

    fn flag(&self) -> Option<bool> {
        match self {
            Self::Gguf(value, _) => value.as_bool(),
            Self::Hf(json) => json.as_bool(),
        }
    }

    fn place(&self, error: Error) -> Error {
        match self {
            Self::Gguf(_, offset) => error.at(*offset),
            Self::Hf(_) => error,
        }
    }
}

fn real_in(object: Object<'_>, key: &str) -> Result<Option<f32>> {
    match object.and_then(|object| object.get(key)) {
        None | Some(Json::Null) => Ok(None),
        Some(value) => match value.as_f64() {
            Some(number) => Ok(Some(number as f32)),
            None => Err(malformed(format!("{key} of the rope is not a number"))),
        },
    }
}

fn hf_scaling(object: Object<'_>) -> Result<Scaling> {
    let kind = object.and_then(|o| o.get("rope_type").or_else(|| o.get("type")));
    let real = |key: &str| {
        real_in(object, key)?.ok_or_else(|| missing(format!("no {key} in the rope scaling")))
    };
    match kind.and_then(Json::as_str) {
        // Dynamic scaling changes nothing up to the context the model was made for.
        None | Some("default" | "dynamic") => Ok(Scaling::None),
        Some("linear") => Ok(Scaling::Linear {
            factor: real("factor")?,
        }),
        Some("llama3") => Ok(Scaling::Llama3 {
            factor: real("factor")?,
            low: real("low_freq_factor")?,
            high: real("high_freq_factor")?,
            original: real("original_max_position_embeddings")?,
        }),
        Some(other) => Err(unsupported(format!("rope scaling {other}"))),
    }
}
