//! One slot per weight, generic in what stands there: a place in a file, a device buffer, a gradient, a name.

use inkstone_format::Tensor;
use inkstone_quant::Format;

/// What the layers share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Weights<T> {
    /// `vocabulary × width`.
    pub embed: T,
    /// `width`.
    pub final_norm: T,
    /// `vocabulary × width`; absent where the embedding serves.
    pub head: Option<T>,
    /// Inverse frequencies, half the rotated width each.
    pub rope: [Option<T>; 2],
}

/// One layer: attention, then a gated feed-forward, each with a norm before and perhaps one after.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Layer<T> {
    /// `width`.
    pub mixer_norm: T,
    /// Attention.
    pub attention: Attention<T>,
    /// `width`; applied to the attention's output before it is added.
    pub mixer_post_norm: Option<T>,
    /// `width`.
    pub ffn_norm: T,
    /// Feed-forward.
    pub ffn: Gated<T>,
    /// `width`; applied to the feed-forward's output before it is added.
    pub ffn_post_norm: Option<T>,
}

/// Grouped-query attention.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attention<T> {
    /// `heads · head_width × width`.
    pub q: Linear<T>,
    /// `kv_heads · head_width × width`.
    pub k: Linear<T>,
    /// `kv_heads · head_width × width`.
    pub v: Linear<T>,
    /// `width × heads · head_width`.
    pub o: Linear<T>,
    /// `head_width`; applied to each query head before it is rotated.
    pub q_norm: Option<T>,
    /// `head_width`; applied to each key head before it is rotated.
    pub k_norm: Option<T>,
}

/// `down(act(gate x) · up x)`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Gated<T> {
    /// `ffn_width × width`.
    pub gate: T,
    /// `ffn_width × width`.
    pub up: T,
    /// `width × ffn_width`.
    pub down: T,
}

/// A matrix and perhaps a bias.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Linear<T> {
    /// `rows × inputs`.
    pub weight: T,
    /// `rows`.
    pub bias: Option<T>,
}

impl<T> Linear<T> {
    /// The same with references.
    pub const fn as_ref(&self) -> Linear<&T> {
        Linear {
            weight: &self.weight,
            bias: self.bias.as_ref(),
        }
    }

    fn map<U>(self, weight: u16, bias: u16, f: &mut impl FnMut(u16, T) -> U) -> Linear<U> {
        Linear {
            weight: f(weight, self.weight),
            bias: self.bias.map(|b| f(bias, b)),
        }
    }
}

impl<T> Weights<T> {
    /// Something else in each slot; `f` is told the role's number.
    pub fn map<U>(self, mut f: impl FnMut(u16, T) -> U) -> Weights<U> {
        let [first, second] = self.rope;
        Weights {
            embed: f(EMBED, self.embed),
            final_norm: f(FINAL_NORM, self.final_norm),
            head: self.head.map(|t| f(HEAD, t)),
            rope: [first.map(|t| f(ROPE_0, t)), second.map(|t| f(ROPE_1, t))],
        }
    }
}

impl<T> Layer<T> {
    /// Something else in each slot; `f` is told the role's number.
    pub fn map<U>(self, mut f: impl FnMut(u16, T) -> U) -> Layer<U> {
        let a = self.attention;
        Layer {
            mixer_norm: f(MIXER_NORM, self.mixer_norm),
            attention: Attention {
                q: a.q.map(Q, Q_BIAS, &mut f),
                k: a.k.map(K, K_BIAS, &mut f),
                v: a.v.map(V, V_BIAS, &mut f),
                o: a.o.map(O, O_BIAS, &mut f),
                q_norm: a.q_norm.map(|t| f(Q_NORM, t)),
                k_norm: a.k_norm.map(|t| f(K_NORM, t)),
            },
            mixer_post_norm: self.mixer_post_norm.map(|t| f(MIXER_POST_NORM, t)),
            ffn_norm: f(FFN_NORM, self.ffn_norm),
            ffn: Gated {
                gate: f(GATE, self.ffn.gate),
                up: f(UP, self.ffn.up),
                down: f(DOWN, self.ffn.down),
            },
            ffn_post_norm: self.ffn_post_norm.map(|t| f(FFN_POST_NORM, t)),
        }
    }
}

/// A role's number in files and its name in messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Role {
    /// Number in files; never reused.
    pub id: u16,
    /// Name.
    pub name: &'static str,
    /// Whether each layer has its own.
    pub per_layer: bool,
}

/// The `layer` of tensors that belong to none.
pub const NO_LAYER: u16 = u16::MAX;

macro_rules! roles {
    ($($constant:ident = $id:literal, $name:literal, $per_layer:literal;)*) => {
        $(#[doc = concat!("Number of the role `", $name, "`.")] pub const $constant: u16 = $id;)*
        /// Every role, ascending.
        pub static ROLES: &[Role] = &[$(Role { id: $id, name: $name, per_layer: $per_layer }),*];
    };
}

roles! {
    EMBED = 0, "embed", false;
    FINAL_NORM = 1, "final_norm", false;
    HEAD = 2, "head", false;
    ROPE_0 = 3, "rope.0", false;
    ROPE_1 = 4, "rope.1", false;
    MIXER_NORM = 16, "mixer_norm", true;
    Q = 17, "q", true;
    K = 18, "k", true;
    V = 19, "v", true;
    O = 20, "o", true;
    Q_BIAS = 21, "q.bias", true;
    K_BIAS = 22, "k.bias", true;
    V_BIAS = 23, "v.bias", true;
    O_BIAS = 24, "o.bias", true;
    Q_NORM = 25, "q_norm", true;
    K_NORM = 26, "k_norm", true;
    MIXER_POST_NORM = 27, "mixer_post_norm", true;
    FFN_NORM = 32, "ffn_norm", true;
    GATE = 33, "gate", true;
    UP = 34, "up", true;
    DOWN = 35, "down", true;
    FFN_POST_NORM = 36, "ffn_post_norm", true;
}

/// A matrix in a file: what it is and where.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Matrix {
    /// How weights are stored.
    pub format: &'static Format,
    /// Rows of a panel: 16, or 1 for row-major.
    pub panel_rows: usize,
    /// Outputs, without padding.
    pub rows: usize,
    /// Inputs, without padding.
    pub inputs: usize,
    /// First byte in the file.
    pub offset: usize,
    /// Bytes of one panel.
    pub panel_bytes: usize,
}

impl Matrix {
    /// The place of a checked tensor; `None` where it exceeds the address space.
    pub fn of(t: &Tensor) -> Option<Matrix> {
        let panel_bytes = t.format.panel_bytes(t.inputs.into(), t.panel_rows.into())?;
        Some(Matrix {
            format: t.format,
            panel_rows: t.panel_rows.into(),
            rows: usize::try_from(t.rows).ok()?,
            inputs: usize::try_from(t.inputs).ok()?,
            offset: usize::try_from(t.offset).ok()?,
            panel_bytes: usize::try_from(panel_bytes).ok()?,
        })
    }

    /// Panels, the last one perhaps partly padding.
    pub const fn panels(&self) -> usize {
        self.rows.div_ceil(self.panel_rows)
    }

    /// Panel `index` within the bytes of the file.
    pub fn panel<'a>(&self, file: &'a [u8], index: usize) -> &'a [u8] {
        &file[self.offset + index * self.panel_bytes..][..self.panel_bytes]
    }

    /// Decodes row `index` to plain numbers.
    pub fn row(&self, file: &[u8], index: usize, out: &mut [f32]) {
        self.format.row(
            self.panel(file, index / self.panel_rows),
            self.panel_rows,
            index % self.panel_rows,
            out,
        );
    }

    /// Element `index` of a vector: a plain matrix of one row.
    #[inline(always)]
    pub fn element(&self, file: &[u8], index: usize) -> f32 {
        match &self.format.encoding {
            inkstone_quant::Encoding::Float(float) => float.get(&file[self.offset..], index),
            inkstone_quant::Encoding::Blocks(..) => 0.0,
        }
    }
}
