//! The operations of the forward pass: the contract between a model and the backends.
//!
//! A plan is a short linear list of them over the slots of one arena. Every operation reads what earlier ones wrote,
//! so that a barrier stands between any two, unless a backend proves that it can be left out.

use crate::cache::Cache;
use crate::plan::Slot;
use crate::spec::Activation;
use crate::weights::Matrix;

/// One operation.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Op {
    /// Looks tokens up.
    Embed(Embed),
    /// RMS norm of each row.
    Norm(Norm),
    /// Up to three matrices over one input.
    Linear(Linear),
    /// Normalises and rotates query and key heads and appends keys and values.
    Rope(Rope),
    /// Softmax attention over what was appended.
    Attend(Attend),
}

/// `to[t] = row(table, token[t]) · scale`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Embed {
    /// `vocabulary × width`.
    pub table: Matrix,
    /// Factor.
    pub scale: f32,
    /// `width`.
    pub to: Slot,
}

/// `y = (x · 1/√(mean(x²) + eps)) · gain` for each row (Zhang and Sennrich 2019, arXiv:1910.07467).
///
/// The mean is [`inkstone_quant::math::sum`] of squares divided by the width.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Input rows.
    pub from: Slot,
    /// One factor an element.
    pub gain: Matrix,
    /// Added to the mean.
    pub eps: f32,
    /// Output rows.
    pub to: Slot,
    /// Whether `y` replaces or is added.
    pub then: Then,
    /// Which rows.
    pub rows: Rows,
}

/// What becomes of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// It replaces the slot's row, which is then also rounded to int8 where the slot keeps codes.
    Store,
    /// It is added to the slot's row.
    Add,
}

/// Which rows of a batch an operation works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// Every token's, row `t` to row `t`.
    All,
    /// Those whose logits are wanted, packed to the front of `to`.
    Wanted,
    /// The rows that an operation with `Wanted` has packed.
    Packed,
}

/// `part.to[t][r] = (dot(part.weight[r], from[t]) + bias[r]) + plus[t][r]`, then the epilogue.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Linear {
    /// Input rows; integer formats read their int8 form, plain formats the numbers.
    pub from: Slot,
    /// Matrices with the same inputs; of an epilogue over two, both have the same rows.
    pub parts: [Option<Part>; 3],
    /// What becomes of the products.
    pub epilogue: Epilogue,
    /// [`Rows::All`] or [`Rows::Packed`].
    pub rows: Rows,
}

/// A matrix, its bias, and where its products go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Part {
    /// `rows × inputs`.
    pub weight: Matrix,
    /// `rows`.
    pub bias: Option<Matrix>,
    /// Rows that are added to the products: what an adapter makes of the same input.
    pub plus: Option<Slot>,
    /// Output rows.
    pub to: Slot,
}

/// What becomes of a matrix's products.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Epilogue {
    /// They are stored.
    Store,
    /// They are added to what is there: the residual.
    Add,
    /// Two parts, gate and up: `act(gate) · up` is stored in the first part's slot, then rounded where it keeps codes.
    Gate(Activation),
    /// `y · scale`, capped by `cap · tanh(y / cap)`, is stored.
    Logits {
        /// Factor.
        scale: f32,
        /// Cap.
        cap: Option<f32>,
    },
}

/// For each token and head: norm (optional), rotation of halves `(x[i], x[i + w/2])` by the angle
/// `f32(position) · table[i]` (Su et al. 2021, arXiv:2104.09864), K and V to the cache in their stored form.
///
/// The rotated query stays in its slot. `y₁ = x₁·cos − x₂·sin`, `y₂ = x₂·cos + x₁·sin`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rope {
    /// `heads · width`.
    pub q: Slot,
    /// `kv_heads · width`.
    pub k: Slot,
    /// `kv_heads · width`.
    pub v: Slot,
    /// Query heads.
    pub heads: usize,
    /// `width`.
    pub q_norm: Option<Matrix>,
    /// `width`.
    pub k_norm: Option<Matrix>,
    /// Added to the mean in the norms.
    pub eps: f32,
    /// `width / 2` inverse frequencies.
    pub table: Matrix,
    /// Where keys and values go.
    pub cache: Cache,
}

/// For each token and query head: softmax over the visible positions, in tiles of 64 absolute positions.
///
/// The score of position `p` is `dot(q, k[p]) · scale`, capped where a cap is given. f32 keys: dimensions ascending,
/// multiply then add; f16 keys the same with `short(q)` (`inkstone_quant::math`), whose products are exact. int8 keys: the query head is rounded by the rule of activations with one scale for the
/// whole head, the dot is an exact integer, the score `(f32(dot) · (s_q · s_k)) · scale`. int4 keys: the same with a
/// query that is rotated first (`inkstone_quant::hadamard`), as keys and values were, and a result that is rotated back.
/// A tile gives `m = max score`, `p = exp(score − m)` with +0 where masked, `s = sum(p)` over 16 interleaved
/// partial sums (position `j` of the tile in partial sum `j mod 16`) and the fixed tree, and
/// `o = Σ p·v` over visible positions ascending, multiply then add (f16 values: `short(p) · f32(v)`, codes:
/// `short(p · s_v) · f32(v)`, exact products both).
/// Tiles ascend; with running `(M, S, O)` a tile gives, for `m > M`: `a = exp(M − m)`, `b = 1`, else `a = 1`,
/// `b = exp(m − M)`; then `S = S·a + s·b`, `O = O·a + o·b`, `M = max(M, m)`. The first visible tile is taken as it is.
/// The result is `O / S`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attend {
    /// Rotated queries, `heads · width`.
    pub q: Slot,
    /// Output rows, `heads · width`; rounded where the slot keeps codes.
    pub to: Slot,
    /// Query heads.
    pub heads: usize,
    /// Keys and values.
    pub cache: Cache,
    /// Factor on scores.
    pub scale: f32,
    /// Cap on scores.
    pub cap: Option<f32>,
    /// Positions visible, the current one included.
    pub window: Option<usize>,
}

impl Linear {
    /// The parts that are there.
    pub fn parts(&self) -> impl Iterator<Item = &Part> + Clone {
        self.parts.iter().flatten()
    }
}
