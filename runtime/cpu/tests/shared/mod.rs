//! Small random models, written with the format's own writer.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use core::sync::atomic::{AtomicU32, Ordering};
use std::io::Write;
use std::path::PathBuf;

use inkstone_format::{Declaration, SectionKind, Writer};
use inkstone_model::spec::{LayerSpec, Spec};
use inkstone_model::weights::*;
use inkstone_model::{Activation, Batch, Config, Model, Op, Plan};
use inkstone_quant::{Encoding, Format, PANEL};

/// A stream of bits that look random.
pub struct Noise(pub u64);

impl Noise {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Between −1 and 1.
    pub fn unit(&mut self) -> f32 {
        (self.next() % 2001) as f32 / 1000.0 - 1.0
    }
}

/// What a model is made of.
#[derive(Debug, Clone)]
pub struct Shape {
    pub vocabulary: u32,
    pub width: u32,
    pub heads: u32,
    pub kv_heads: u32,
    pub head_width: u32,
    pub ffn_width: u32,
    /// One for each layer.
    pub windows: Vec<Option<u32>>,
    pub score_cap: Option<f32>,
    pub logit_cap: Option<f32>,
    pub activation: Activation,
    pub biases: bool,
    pub head_norms: bool,
    pub post_norms: bool,
    pub untied: bool,
    /// Of adapters on all matrices; 0 for none.
    pub rank: u32,
    /// One for all matrices, or taken in turn.
    pub formats: Vec<&'static Format>,
}

impl Shape {
    /// Two layers of awkward sizes.
    pub fn plain(format: &'static Format) -> Shape {
        Shape {
            vocabulary: 77,
            width: 64,
            heads: 6,
            kv_heads: 2,
            head_width: 20,
            ffn_width: 88,
            windows: vec![None, None],
            score_cap: None,
            logit_cap: None,
            activation: Activation::Silu,
            biases: false,
            head_norms: false,
            post_norms: false,
            untied: false,
            rank: 0,
            formats: vec![format],
        }
    }

    /// Everything at once.
    pub fn rich(format: &'static Format) -> Shape {
        Shape {
            windows: vec![Some(50), None, Some(3)],
            score_cap: Some(5.0),
            logit_cap: Some(3.0),
            activation: Activation::GeluTanh,
            biases: true,
            head_norms: true,
            post_norms: true,
            untied: true,
            rank: 5,
            ..Shape::plain(format)
        }
    }

    /// The file's bytes.
    pub fn file(&self, seed: u64) -> Vec<u8> {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let count = COUNTER.fetch_add(1, Ordering::Relaxed);
        // WebAssembly's system has no processes, and says nothing of folders.
        let (folder, process) = if cfg!(target_family = "wasm") {
            (PathBuf::from("/tmp"), 0)
        } else {
            (std::env::temp_dir(), std::process::id())
        };
        let path = folder.join(format!("inkstone-cpu-{process}-{count}.ink"));
        let mut spec = self.spec().to_bytes().to_vec();
        self.windows
            .iter()
            .for_each(|w| spec.extend(self.layer_spec(*w).to_bytes()));
        let tensors = self.tensors();
        let mut noise = Noise(seed | 1);
        let mut writer = Writer::create(&path, &[(SectionKind::Spec, &spec)], &tensors).unwrap();
        for (index, tensor) in tensors.iter().enumerate() {
            writer
                .tensor(index)
                .unwrap()
                .write_all(&self.payload(tensor, &mut noise))
                .unwrap();
        }
        writer.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        bytes
    }

    fn spec(&self) -> Spec {
        Spec {
            vocabulary: self.vocabulary,
            width: self.width,
            layers: self.windows.len() as u32,
            context: 1024,
            eps: 1e-5,
            embedding_scale: 1.5,
            logit_scale: 0.75,
            logit_cap: self.logit_cap,
            activation: self.activation,
        }
    }

    fn layer_spec(&self, window: Option<u32>) -> LayerSpec {
        LayerSpec {
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_width: self.head_width,
            ffn_width: self.ffn_width,
            window,
            rope: u32::from(window.is_some()),
            score_scale: 1.0 / (self.head_width as f32).sqrt(),
            score_cap: self.score_cap,
        }
    }

    fn tensors(&self) -> Vec<Declaration> {
        let mut turn = 0;
        let mut matrix = |layer, role, rows, inputs| {
            turn += 1;
            let format = self.formats[turn % self.formats.len()];
            Some(Declaration {
                layer,
                role,
                format,
                panel_rows: 16,
                rows,
                inputs,
            })
        };
        let f32 = Format::by_name("F32").unwrap();
        let vector = |there: bool, layer, role, inputs| {
            there.then_some(Declaration {
                layer,
                role,
                format: f32,
                panel_rows: 1,
                rows: 1,
                inputs,
            })
        };
        let (q, kv, n) = (
            self.heads * self.head_width,
            self.kv_heads * self.head_width,
            self.width,
        );
        let rope = |window: bool| self.windows.iter().any(|w| w.is_some() == window);
        let mut all = vec![
            matrix(NO_LAYER, EMBED, self.vocabulary, n),
            vector(true, NO_LAYER, FINAL_NORM, n),
            if self.untied {
                matrix(NO_LAYER, HEAD, self.vocabulary, n)
            } else {
                None
            },
            vector(rope(false), NO_LAYER, ROPE_0, self.head_width / 2),
            vector(rope(true), NO_LAYER, ROPE_1, self.head_width / 2),
        ];
        for layer in 0..self.windows.len() as u16 {
            all.extend(self.beside(layer));
            all.extend([
                vector(true, layer, MIXER_NORM, n),
                matrix(layer, Q, q, n),
                matrix(layer, K, kv, n),
                matrix(layer, V, kv, n),
                matrix(layer, O, n, q),
                vector(self.head_norms, layer, Q_NORM, self.head_width),
                vector(self.head_norms, layer, K_NORM, self.head_width),
                vector(self.post_norms, layer, MIXER_POST_NORM, n),
                vector(true, layer, FFN_NORM, n),
                matrix(layer, GATE, self.ffn_width, n),
                matrix(layer, UP, self.ffn_width, n),
                matrix(layer, DOWN, n, self.ffn_width),
                vector(self.post_norms, layer, FFN_POST_NORM, n),
            ]);
        }
        let mut all: Vec<Declaration> = all.into_iter().flatten().collect();
        all.sort_by_key(|d| (d.layer, d.role));
        all
    }

    /// Biases and adapters of a layer's matrices.
    fn beside(&self, layer: u16) -> Vec<Option<Declaration>> {
        let (q, kv, n) = (
            self.heads * self.head_width,
            self.kv_heads * self.head_width,
            self.width,
        );
        let linears = [
            (Q_ROLES, q, n),
            (K_ROLES, kv, n),
            (V_ROLES, kv, n),
            (O_ROLES, n, q),
            (GATE_ROLES, self.ffn_width, n),
            (UP_ROLES, self.ffn_width, n),
            (DOWN_ROLES, n, self.ffn_width),
        ];
        let plain = |there: bool, role, panel_rows, rows, inputs| {
            there.then_some(Declaration {
                layer,
                role,
                format: Format::by_name("F32").unwrap(),
                panel_rows,
                rows,
                inputs,
            })
        };
        let beside = |([_, bias, a, b], rows, inputs): (LinearRoles, u32, u32)| {
            [
                plain(self.biases, bias, 1, 1, rows),
                plain(self.rank > 0, a, 16, self.rank, inputs),
                plain(self.rank > 0, b, 16, rows, self.rank),
            ]
        };
        linears.into_iter().flat_map(beside).collect()
    }

    fn payload(&self, d: &Declaration, noise: &mut Noise) -> Vec<u8> {
        let mut bytes = vec![0; d.bytes().unwrap() as usize];
        if d.panel_rows == 1 {
            let rope = d.role == ROPE_0 || d.role == ROPE_1;
            for (i, to) in bytes
                .chunks_exact_mut(4)
                .take(d.inputs as usize)
                .enumerate()
            {
                let x = if rope {
                    0.3_f32.powi(i as i32)
                } else {
                    1.0 + 0.5 * noise.unit()
                };
                to.copy_from_slice(&x.to_le_bytes());
            }
            return bytes;
        }
        let panel = d.format.panel_bytes(d.inputs.into(), 16).unwrap() as usize;
        bytes
            .chunks_exact_mut(panel)
            .for_each(|p| fill(p, d.format, d.inputs as usize, noise));
        bytes
    }
}

/// A panel of random weights of moderate size.
fn fill(panel: &mut [u8], format: &Format, inputs: usize, noise: &mut Noise) {
    match &format.encoding {
        Encoding::Float(float) => {
            for to in panel.chunks_exact_mut(float.bytes()) {
                let x = 0.1 * noise.unit();
                match float.bytes() {
                    4 => to.copy_from_slice(&x.to_le_bytes()),
                    _ if format.name == "F16" => {
                        to.copy_from_slice(&inkstone_quant::math::f16_bits(x).to_le_bytes())
                    }
                    _ => to.copy_from_slice(&x.to_le_bytes()[2..]),
                }
            }
        }
        Encoding::Blocks(_, scales) => {
            panel.iter_mut().for_each(|b| *b = noise.next() as u8);
            // So many bits have the levels and inner scales that stand under the f16 fields.
            let bits = match scales.name {
                "k6+min" => 8,
                "k8" => 12,
                _ => 4,
            } + if matches!(format.name, "q8" | "IQ4_NL" | "q4") {
                3
            } else {
                0
            };
            let f16 = (((15 - bits) as u16) << 10).max(0x0400);
            for row in 0..PANEL {
                scales.put_header(
                    panel,
                    PANEL,
                    row,
                    &2e-5_f32.to_le_bytes()[..scales.header_bytes()],
                );
                for index in 0..inputs.div_ceil(scales.span) {
                    let mut record = Vec::new();
                    for &width in scales.record {
                        let bits = (noise.next() as u16 & 0x83ff) | f16;
                        if width == 2 {
                            record.extend(bits.to_le_bytes())
                        } else {
                            record.push(noise.next() as u8)
                        }
                    }
                    scales.put_record(panel, PANEL, row, index, &record);
                }
            }
        }
    }
}

/// A plan and its operations.
pub fn plan(file: &[u8], config: Config) -> (Plan, Vec<Op>) {
    let model = Model::new(inkstone_format::File::parse(file).unwrap()).unwrap();
    let plan = Plan::new(&model, config).unwrap();
    (plan, plan.ops(&model).collect())
}

/// Bytes that start at a multiple of 64, filled with NaNs.
pub struct Arena {
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl Arena {
    pub fn new(len: usize) -> Arena {
        let bytes = vec![0xff; len + 64];
        let start = bytes.as_ptr().align_offset(64);
        Arena { bytes, start, len }
    }
}

impl AsRef<[u8]> for Arena {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[self.start..][..self.len]
    }
}

impl AsMut<[u8]> for Arena {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..][..self.len]
    }
}

/// A batch of `tokens` from `start` on.
pub fn batch(tokens: &[u32], start: u32, wanted: inkstone_model::Wanted) -> Batch<'_> {
    Batch {
        tokens,
        places: start.into(),
        wanted,
        stop: None,
    }
}
