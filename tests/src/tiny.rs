//! Tiny seeded models, made in memory: random codes under scales of sensible size, every optional part at choice.

use std::path::Path;

use inkstone_format::{Declaration, SectionKind, Writer};
use inkstone_model::spec::{Activation, LayerSpec, Spec};
use inkstone_model::weights::*;
use inkstone_quant::{Encoding, Float, Format, codes::Levels, math};

/// What to make. `Recipe::default()` is a plain two-layer model with grouped queries.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Formats of the matrices, dealt in turn over all layers.
    pub formats: Vec<&'static Format>,
    /// The embedding's format.
    pub embed: &'static Format,
    /// The head's format; `None` ties it to the embedding.
    pub head: Option<&'static Format>,
    /// Tokens.
    pub vocabulary: u32,
    /// Elements of the residual stream.
    pub width: u32,
    /// Layers.
    pub layers: u32,
    /// Query heads.
    pub heads: u32,
    /// Key and value heads.
    pub kv_heads: u32,
    /// Elements of a head.
    pub head_width: u32,
    /// Elements of the hidden vector.
    pub ffn_width: u32,
    /// Windows, dealt in turn over the layers; empty for none.
    pub windows: Vec<Option<u32>>,
    /// Biases on q, k, v and o.
    pub biases: bool,
    /// Norms on query and key heads.
    pub qk_norms: bool,
    /// Norms after attention and feed-forward.
    pub post_norms: bool,
    /// Caps on scores and logits.
    pub cap: Option<f32>,
    /// The gate's non-linearity.
    pub activation: Activation,
    /// Whatever is random follows from it.
    pub seed: u64,
}

impl Default for Recipe {
    fn default() -> Self {
        let plain = Format::by_name("F32").expect("a row of FORMATS");
        Recipe {
            formats: vec![plain],
            embed: plain,
            head: None,
            vocabulary: 131,
            width: 96,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_width: 16,
            ffn_width: 160,
            windows: Vec::new(),
            biases: false,
            qk_norms: false,
            post_norms: false,
            cap: None,
            activation: Activation::Silu,
            seed: 1,
        }
    }
}

/// The bytes of a `.ink` file without tokenizer.
///
/// # Panics
/// Where the recipe cannot be written, which is a mistake of the test.
pub fn ink(recipe: &Recipe) -> Vec<u8> {
    static COUNT: core::sync::atomic::AtomicU32 = core::sync::atomic::AtomicU32::new(0);
    let count = COUNT.fetch_add(1, core::sync::atomic::Ordering::Relaxed);
    // WebAssembly's system has no processes, and says nothing of folders.
    let (folder, process) = if cfg!(target_family = "wasm") {
        ("/tmp".into(), 0)
    } else {
        (std::env::temp_dir(), std::process::id())
    };
    let path = folder.join(format!("inkstone-tiny-{process}-{count}.ink"));
    write(recipe, &path);
    let bytes = std::fs::read(&path).expect("it was just written");
    std::fs::remove_file(&path).expect("it is ours");
    bytes
}

/// Writes what [`ink`] gives to `path`.
///
/// # Panics
/// Where the recipe cannot be written, which is a mistake of the test.
pub fn write(recipe: &Recipe, path: &Path) {
    write_with(recipe, path, &[]);
}

/// As [`write()`], with `others` beside the model's own section.
///
/// # Panics
/// Where the recipe cannot be written, which is a mistake of the test.
pub fn write_with(recipe: &Recipe, path: &Path, others: &[(SectionKind, &[u8])]) {
    let spec = spec(recipe);
    let tensors = declarations(recipe);
    let mut sections = vec![(SectionKind::Spec, spec.as_slice())];
    sections.extend(others);
    let mut writer = Writer::create(path, &sections, &tensors).expect("a sound recipe");
    let mut noise = Noise(recipe.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    for (index, tensor) in tensors.iter().enumerate() {
        let bytes = payload(tensor, &mut noise);
        let mut to = writer.tensor(index).expect("each once");
        std::io::Write::write_all(&mut to, &bytes).expect("as many as declared");
    }
    writer.finish().expect("all are written");
}

fn spec(r: &Recipe) -> Vec<u8> {
    let spec = Spec {
        vocabulary: r.vocabulary,
        width: r.width,
        layers: r.layers,
        context: 4096,
        eps: 1e-5,
        embedding_scale: 1.5,
        logit_scale: 0.75,
        logit_cap: r.cap,
        activation: r.activation,
    };
    let mut bytes = spec.to_bytes().to_vec();
    for layer in 0..r.layers {
        let window = match r.windows.len() {
            0 => None,
            n => r.windows[layer as usize % n],
        };
        let layer = LayerSpec {
            heads: r.heads,
            kv_heads: r.kv_heads,
            head_width: r.head_width,
            ffn_width: r.ffn_width,
            window,
            rope: u32::from(window.is_some()),
            score_scale: 1.0 / (r.head_width as f32).sqrt(),
            score_cap: r.cap,
        };
        bytes.extend(layer.to_bytes());
    }
    bytes
}

fn declarations(r: &Recipe) -> Vec<Declaration> {
    let plain = Format::by_name("F32").expect("a row of FORMATS");
    let (q, kv) = (r.heads * r.head_width, r.kv_heads * r.head_width);
    let matrix = |layer, role, format, rows, inputs| Declaration {
        layer,
        role,
        format,
        panel_rows: 16,
        rows,
        inputs,
    };
    let vector = |layer, role, inputs| Declaration {
        layer,
        role,
        format: plain,
        panel_rows: 1,
        rows: 1,
        inputs,
    };
    let mut dealt = r.formats.iter().cycle();
    let mut all = Vec::new();
    for layer in 0..r.layers as u16 {
        let shapes = [
            (Q, q, r.width),
            (K, kv, r.width),
            (V, kv, r.width),
            (O, r.width, q),
        ];
        let ffn = [
            (GATE, r.ffn_width, r.width),
            (UP, r.ffn_width, r.width),
            (DOWN, r.width, r.ffn_width),
        ];
        for (role, rows, inputs) in shapes.into_iter().chain(ffn) {
            all.push(matrix(
                layer,
                role,
                dealt.next().expect("it is endless"),
                rows,
                inputs,
            ));
        }
        let mut vectors = vec![(MIXER_NORM, r.width), (FFN_NORM, r.width)];
        if r.biases {
            vectors.extend([(Q_BIAS, q), (K_BIAS, kv), (V_BIAS, kv), (O_BIAS, r.width)]);
        }
        if r.qk_norms {
            vectors.extend([(Q_NORM, r.head_width), (K_NORM, r.head_width)]);
        }
        if r.post_norms {
            vectors.extend([(MIXER_POST_NORM, r.width), (FFN_POST_NORM, r.width)]);
        }
        all.extend(vectors.into_iter().map(|(role, n)| vector(layer, role, n)));
    }
    let embed = matrix(NO_LAYER, EMBED, r.embed, r.vocabulary, r.width);
    all.push(Declaration {
        panel_rows: if r.head.is_some() { 1 } else { 16 },
        ..embed
    });
    all.extend(
        r.head
            .map(|format| matrix(NO_LAYER, HEAD, format, r.vocabulary, r.width)),
    );
    all.push(vector(NO_LAYER, FINAL_NORM, r.width));
    all.extend([ROPE_0, ROPE_1].map(|role| vector(NO_LAYER, role, r.head_width / 2)));
    all.sort_by_key(|t| (t.layer, t.role));
    all
}

fn payload(t: &Declaration, noise: &mut Noise) -> Vec<u8> {
    let mut bytes = vec![0; t.bytes().expect("a sound recipe") as usize];
    match &t.format.encoding {
        Encoding::Float(float) => plain(t, *float, &mut bytes, noise),
        Encoding::Blocks(..) => blocks(t, &mut bytes, noise),
    }
    bytes
}

fn plain(t: &Declaration, float: Float, bytes: &mut [u8], noise: &mut Noise) {
    let spread = if t.rows == 1 {
        0.3
    } else {
        1.7 / (t.inputs as f32).sqrt()
    };
    for (i, number) in bytes.chunks_mut(float.bytes()).enumerate() {
        let x = match t.role {
            ROPE_0 => frequency(10_000.0, i, t.inputs),
            ROPE_1 => frequency(500.0, i, t.inputs),
            Q_BIAS | K_BIAS | V_BIAS | O_BIAS => spread * noise.unit(),
            _ if t.rows == 1 => 1.0 + spread * noise.unit(),
            _ => spread * noise.unit(),
        };
        match float {
            Float::F32 => number.copy_from_slice(&x.to_le_bytes()),
            Float::Bf16 => number.copy_from_slice(&((x.to_bits() >> 16) as u16).to_le_bytes()),
            Float::F16 => number.copy_from_slice(&math::f16_bits(x).to_le_bytes()),
        }
    }
}

/// Element `i` of `count` inverse frequencies, by functions that give the same bits on every platform.
fn frequency(base: f32, i: usize, count: u32) -> f32 {
    math::exp(-math::ln(base) * (i as f32 / count as f32))
}

fn blocks(t: &Declaration, bytes: &mut [u8], noise: &mut Noise) {
    let Encoding::Blocks(codes, scales) = &t.format.encoding else {
        return;
    };
    let (rows, inputs) = (usize::from(t.panel_rows), t.inputs as usize);
    let panel_bytes = t
        .format
        .panel_bytes(inputs as u64, rows as u64)
        .expect("a sound recipe") as usize;
    let reach = match codes.levels {
        Levels::Linear { .. } => 1 << (codes.bits() - 1),
        Levels::Table(_) => 128,
    };
    // The root of the mean square of a weight is then about 1 / √inputs.
    let size = 2.0 / (reach as f32 * (inputs as f32).sqrt());
    for panel in bytes.chunks_mut(panel_bytes) {
        for row in 0..rows {
            let header = size.to_le_bytes().map(|b| b);
            scales.put_header(panel, rows, row, &header[..scales.header_bytes()]);
            for index in 0..inputs.div_ceil(scales.span) {
                let record = record(scales.record, scales.header_bytes() > 0, size, noise);
                scales.put_record(panel, rows, row, index, &record);
            }
        }
        let start = t.format.scale_bytes(inputs, rows);
        panel[start..]
            .iter_mut()
            .for_each(|b| *b = noise.next() as u8);
    }
}

/// Fields of two bytes are f16 scales of about `size`, those of one byte small integers.
fn record(widths: &[usize], under_row: bool, size: f32, noise: &mut Noise) -> Vec<u8> {
    let many = widths.len() > 2;
    let mut out = Vec::new();
    for &width in widths {
        if width == 2 {
            let scale = if many { size / 16.0 } else { size };
            out.extend(math::f16_bits(scale * (1.0 + 0.5 * noise.unit())).to_le_bytes());
        } else if under_row {
            out.push((noise.next() % 3) as u8 + 1);
        } else {
            out.push(noise.next() as u8 & 0x1f);
        }
    }
    out
}

/// xorshift64 (Marsaglia 2003).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }

    /// Uniform in −1 ..= 1.
    fn unit(&mut self) -> f32 {
        (self.next() % 200_001) as f32 / 100_000.0 - 1.0
    }
}
