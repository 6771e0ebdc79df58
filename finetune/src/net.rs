//! A model taken for training: which of its weights are learnt, and a pass forwards and backwards over a pack.

use std::sync::{Mutex, MutexGuard, PoisonError};

use inkstone_cpu::train::{Form, Integers, Lines, Precision, View};
use inkstone_model::weights::{ADAPTED, EMBED, HEAD, NO_LAYER, ROLES};
use inkstone_model::{Layer, LayerSpec, Matrix, Model, Spec, Weights};
use rayon::prelude::*;

use crate::attention::Queries;
use crate::compute::packed;
use crate::head::Head;
use crate::layer::{self, Angles, Kept, Pass};
use crate::pack::Pack;
use crate::random::Random;
use crate::weight::{Adapter, Base, Reader, STRIP, Tensor, Weight, rounded, unpacked};

/// What is learnt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Method {
    /// Every weight.
    Full,
    /// Thin matrices beside frozen ones (Hu et al. 2021, arXiv:2106.09685).
    Lora {
        /// Rows of `A`.
        rank: usize,
        /// The product of both is scaled by `alpha / rank`.
        alpha: f32,
        /// Whether frozen matrices stay packed as they ship, and are unpacked at each use.
        packed: bool,
    },
}

/// How a net is made.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// What is learnt.
    pub method: Method,
    /// What products are computed in; those with frozen matrices that ship as integers perhaps as such: forwards the bits
    /// of the runtime, backwards integers of eight bits.
    pub form: Form,
    /// Whether only the inputs of layers are held, and layers are computed again on the way back.
    pub checkpointing: bool,
    /// Draws what is drawn at the beginning.
    pub seed: u64,
}

/// Whether the matrix of a role has an adapter.
#[must_use]
pub fn is_adapted(role: u16) -> bool {
    ADAPTED.iter().any(|[weight, ..]| *weight == role)
}

/// A model under training.
#[derive(Debug)]
pub struct Net<'a> {
    file: &'a [u8],
    id: [u8; 32],
    spec: Spec,
    layer_specs: Vec<LayerSpec>,
    shared: Weights<Weight>,
    layers: Vec<Layer<Weight>>,
    /// What is learnt, in the order of [`Self::gradients`].
    pub trained: Vec<Tensor>,
    options: Options,
    /// Memory that a pass leaves to the next.
    spare: Mutex<Spare>,
}

/// Memory of a pass that is over.
#[derive(Debug, Default)]
struct Spare {
    kept: Vec<Kept>,
    logits: Lines<f32>,
    room: layer::Room,
}

/// What a pass gave.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Losses {
    /// The sum of `−ln p` of all predictions that count.
    pub sum: f64,
    /// How many count.
    pub labels: usize,
}

impl Losses {
    /// The mean loss of a prediction; not a number where none counts.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.sum / self.labels as f64
    }
}

impl<'a> Net<'a> {
    /// Takes a model, whose file has the bytes `file`.
    #[must_use]
    pub fn new(model: &Model<'a>, file: &'a [u8], options: Options) -> Net<'a> {
        let mut maker = Maker {
            file,
            options,
            trained: Vec::new(),
        };
        let spec = model.spec();
        let shared = model.weights();
        let mut shared = shared.map(|role, matrix| maker.weight(NO_LAYER, role, &matrix));
        if shared.head.is_none() && maker.packs() {
            shared.head = Some(maker.weight(NO_LAYER, HEAD, &model.weights().embed));
        }
        let layers = (0..spec.layers)
            .map(|index| {
                let layer = model.layer(index);
                layer.map(|role, matrix| maker.weight(index as u16, role, &matrix))
            })
            .collect();
        Net {
            file,
            id: model.file().id(),
            spec,
            layer_specs: (0..spec.layers).map(|i| model.layer_spec(i)).collect(),
            shared,
            layers,
            trained: maker.trained,
            options,
            spare: Mutex::default(),
        }
    }

    /// Zeros in the shapes of what is learnt.
    #[must_use]
    pub fn gradients(&self) -> Vec<Vec<f32>> {
        let zeros = |tensor: &Tensor| vec![0.0; tensor.values.len()];
        self.trained.iter().map(zeros).collect()
    }

    /// The id of the model it was made of.
    #[must_use]
    pub fn id(&self) -> [u8; 32] {
        self.id
    }

    /// What it was made with.
    #[must_use]
    pub fn options(&self) -> Options {
        self.options
    }

    /// The numbers of the model.
    #[must_use]
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The losses of a pack.
    #[must_use]
    pub fn evaluate(&self, pack: &Pack) -> Losses {
        self.pass(pack, None, &mut Vec::new())
    }

    /// The losses of a pack; adds to `gradients` those of their sum times `weight`.
    pub fn step(&self, pack: &Pack, weight: f32, gradients: &mut [Vec<f32>]) -> Losses {
        self.pass(pack, Some(weight), gradients)
    }

    fn pass(&self, pack: &Pack, weight: Option<f32>, gradients: &mut [Vec<f32>]) -> Losses {
        if pack.targets.is_empty() {
            return Losses::default();
        }
        let labelled: Vec<usize> = pack.targets.iter().map(|(row, _)| *row).collect();
        let every = Queries::new(&pack.sequences, None);
        let some = Queries::new(&pack.sequences, Some(&labelled));
        let positions = pack.positions();
        let angles = self.angles(&positions);
        let last = self.layers.len() - 1;
        let pass = |index: usize| Pass {
            reader: self.reader(),
            eps: self.spec.eps,
            activation: self.spec.activation,
            queries: if index == last { &some } else { &every },
            picks: index == last,
            onwards: index > 0 || self.shared.embed.learns(),
            positions: &positions,
            angles: &angles[self.layer_specs[index].rope as usize],
        };
        let mut kept: Vec<Kept> = Vec::new();
        let mut x = self.embed(&pack.tokens);
        for (index, (layer, spec)) in self.layers.iter().zip(&self.layer_specs).enumerate() {
            let mut work = self.spare().kept.pop().unwrap_or_default().with(x);
            x = layer::forward(layer, spec, &pass(index), &mut work);
            if weight.is_none() {
                self.spare().kept.push(work);
                continue;
            }
            if self.options.checkpointing {
                work.forget();
            }
            kept.push(work);
        }
        let labels: Vec<u32> = pack.targets.iter().map(|(_, label)| *label).collect();
        let mut logits = core::mem::take(&mut self.spare().logits);
        let head = self.head();
        let loss = head.loss(&x, &labels, &pass(last), weight, gradients, &mut logits);
        self.spare().logits = logits;
        let losses = Losses {
            sum: loss.losses.iter().map(|loss| f64::from(*loss)).sum(),
            labels: labels.len(),
        };
        if weight.is_none() {
            return losses;
        }
        drop(x);
        let mut dx = loss.dx;
        let mut room = core::mem::take(&mut self.spare().room);
        for (index, mut kept) in kept.into_iter().enumerate().rev() {
            let (layer, spec) = (&self.layers[index], &self.layer_specs[index]);
            if self.options.checkpointing {
                layer::forward(layer, spec, &pass(index), &mut kept);
            }
            let pass = pass(index);
            dx = layer::backward(layer, spec, &pass, &mut kept, dx, gradients, &mut room);
            if !self.options.checkpointing {
                self.spare().kept.push(kept);
            }
        }
        self.spare().room = room;
        if let Some(index) = self.shared.embed.trained() {
            self.embed_back(&pack.tokens, &dx, &mut gradients[index]);
        }
        losses
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reader(&self) -> Reader<'_> {
        Reader {
            file: self.file,
            trained: &self.trained,
            form: self.options.form,
        }
    }

    fn head(&self) -> Head<'_> {
        Head {
            norm: &self.shared.final_norm,
            matrix: self.shared.head.as_ref().unwrap_or(&self.shared.embed),
            scale: self.spec.logit_scale,
            cap: self.spec.logit_cap,
        }
    }

    fn angles(&self, positions: &[usize]) -> [Angles; 2] {
        let longest = positions.iter().max().map_or(0, |most| most + 1);
        self.shared.rope.each_ref().map(|table| {
            let table = table.as_ref().map(|table| table.vector(&self.trained));
            Angles::new(longest, table.unwrap_or_default())
        })
    }

    fn embed(&self, tokens: &[u32]) -> Lines<f32> {
        let (width, scale) = (self.spec.width as usize, self.spec.embedding_scale);
        let mut x = Lines::zeros(tokens.len() * width);
        let reader = self.reader();
        x.par_chunks_mut(width).zip(tokens).for_each(|(x, token)| {
            self.shared.embed.row(reader, *token as usize, x);
            x.iter_mut().for_each(|x| *x *= scale);
        });
        x
    }

    fn embed_back(&self, tokens: &[u32], dx: &[f32], gradient: &mut [f32]) {
        let (width, scale) = (self.spec.width as usize, self.spec.embedding_scale);
        for (token, dx) in tokens.iter().zip(dx.chunks_exact(width)) {
            let row = &mut gradient[*token as usize * width..][..width];
            inkstone_cpu::train::rows::add_scaled(row, dx, scale);
        }
    }
}

struct Maker<'a> {
    file: &'a [u8],
    options: Options,
    trained: Vec<Tensor>,
}

impl Maker<'_> {
    fn weight(&mut self, layer: u16, role: u16, matrix: &Matrix) -> Weight {
        let table =
            role == inkstone_model::weights::ROPE_0 || role == inkstone_model::weights::ROPE_1;
        let vector = matrix.rows == 1;
        let strip = if layer == NO_LAYER {
            STRIP
        } else {
            matrix.rows
        };
        let base = match self.options.method {
            _ if table => Base::Plain(self.unpacked(matrix)),
            Method::Full => {
                let values = self.unpacked(matrix);
                self.learn(name(layer, role), (matrix.rows, matrix.inputs), values)
            }
            Method::Lora { .. } if vector => Base::Plain(self.unpacked(matrix)),
            Method::Lora { packed: true, .. } => Base::Stored(*matrix),
            Method::Lora { .. } => self.ahead(role, matrix, strip),
        };
        Weight {
            rows: matrix.rows,
            inputs: matrix.inputs,
            strip,
            base,
            adapter: self.adapter(layer, role, matrix),
        }
    }

    /// Whether frozen matrices are rounded and laid out ahead.
    fn packs(&self) -> bool {
        let ahead = matches!(self.options.method, Method::Lora { packed: false, .. });
        ahead && (self.options.form.precision == Precision::Bf16 || self.options.form.integers)
    }

    /// A frozen matrix in the form in which it is multiplied.
    fn ahead(&self, role: u16, matrix: &Matrix, strip: usize) -> Base {
        if role == EMBED && self.packs() {
            // Looked up row by row; what is multiplied is the head.
            return Base::Stored(*matrix);
        }
        let strips = (0..matrix.rows).step_by(strip);
        let strips = strips.map(|first| first..(first + strip).min(matrix.rows));
        if self.options.form.integers && Integers::ships(matrix) {
            let back = strips.map(|rows| rounded(matrix, self.file, &rows));
            return Base::Integers(*matrix, back.collect());
        }
        match self.options.form.precision {
            Precision::F32 => Base::Plain(self.unpacked(matrix)),
            Precision::Bf16 => {
                let both = strips.map(|rows| {
                    let w = unpacked(matrix, self.file, &rows);
                    let w = View::new(&w, rows.len(), matrix.inputs);
                    [packed(w.transposed()), packed(w)]
                });
                Base::Packed(both.collect())
            }
        }
    }

    /// Both thin matrices: `A` is drawn as PyTorch draws a linear layer (uniform within `±1/√inputs`), `B` is zero.
    fn adapter(&mut self, layer: u16, role: u16, matrix: &Matrix) -> Option<Adapter> {
        let Method::Lora { rank, alpha, .. } = self.options.method else {
            return None;
        };
        if !is_adapted(role) {
            return None;
        }
        let a_name = format!("{}.lora_a", name(layer, role));
        let mut random = Random::new(self.options.seed, &a_name);
        let bound = 1.0 / (matrix.inputs as f32).sqrt();
        let drawn = (0..rank * matrix.inputs).map(|_| random.uniform(bound));
        let a = self.trained.len();
        let values = drawn.collect();
        self.learn(a_name, (rank, matrix.inputs), values);
        let b_name = format!("{}.lora_b", name(layer, role));
        self.learn(b_name, (matrix.rows, rank), vec![0.0; matrix.rows * rank]);
        Some(Adapter {
            a,
            b: a + 1,
            scale: alpha / rank as f32,
            rank,
        })
    }

    fn learn(&mut self, name: String, (rows, columns): (usize, usize), values: Vec<f32>) -> Base {
        self.trained.push(Tensor {
            name,
            rows,
            columns,
            values,
        });
        Base::Trained(self.trained.len() - 1)
    }

    fn unpacked(&self, matrix: &Matrix) -> Vec<f32> {
        unpacked(matrix, self.file, &(0..matrix.rows))
    }
}

/// What a tensor is called in checkpoints: `layers.3.q`, `embed`.
#[must_use]
pub fn name(layer: u16, role: u16) -> String {
    let role = ROLES.iter().find(|known| known.id == role);
    let role = role.map_or("?", |role| role.name);
    match layer {
        NO_LAYER => role.to_owned(),
        _ => format!("layers.{layer}.{role}"),
    }
}
