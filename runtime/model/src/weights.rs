//! One slot per weight, generic in what stands there: a place in a file, a device buffer, a gradient, a name.

use core::sync::atomic::{AtomicBool, Ordering};

use inkstone_format::Tensor;
use inkstone_quant::{FORMATS, Format, PANEL};

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
    pub gate: Linear<T>,
    /// `ffn_width × width`.
    pub up: Linear<T>,
    /// `width × ffn_width`.
    pub down: Linear<T>,
}

/// A matrix, perhaps a bias, and perhaps what fine-tuning has added.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Linear<T> {
    /// `rows × inputs`.
    pub weight: T,
    /// `rows`.
    pub bias: Option<T>,
    /// Added to the matrix.
    pub adapter: Option<Adapter<T>>,
}

/// `b·a`, a product of thin matrices that is added to a matrix (Hu et al. 2021, arXiv:2106.09685). What scales it is
/// in `b`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adapter<T> {
    /// `rank × inputs`.
    pub a: T,
    /// `rows × rank`.
    pub b: T,
}

/// The roles of a [`Linear`]: weight, bias, and the adapter's two.
pub type LinearRoles = [u16; 4];

impl<T> Linear<T> {
    /// The same with references.
    pub const fn as_ref(&self) -> Linear<&T> {
        Linear {
            weight: &self.weight,
            bias: self.bias.as_ref(),
            adapter: match &self.adapter {
                Some(Adapter { a, b }) => Some(Adapter { a, b }),
                None => None,
            },
        }
    }

    fn map<U>(self, roles: LinearRoles, f: &mut impl FnMut(u16, T) -> U) -> Linear<U> {
        let [weight, bias, a, b] = roles;
        Linear {
            weight: f(weight, self.weight),
            bias: self.bias.map(|t| f(bias, t)),
            adapter: self.adapter.map(|t| Adapter {
                a: f(a, t.a),
                b: f(b, t.b),
            }),
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
                q: a.q.map(Q_ROLES, &mut f),
                k: a.k.map(K_ROLES, &mut f),
                v: a.v.map(V_ROLES, &mut f),
                o: a.o.map(O_ROLES, &mut f),
                q_norm: a.q_norm.map(|t| f(Q_NORM, t)),
                k_norm: a.k_norm.map(|t| f(K_NORM, t)),
            },
            mixer_post_norm: self.mixer_post_norm.map(|t| f(MIXER_POST_NORM, t)),
            ffn_norm: f(FFN_NORM, self.ffn_norm),
            ffn: Gated {
                gate: self.ffn.gate.map(GATE_ROLES, &mut f),
                up: self.ffn.up.map(UP_ROLES, &mut f),
                down: self.ffn.down.map(DOWN_ROLES, &mut f),
            },
            ffn_post_norm: self.ffn_post_norm.map(|t| f(FFN_POST_NORM, t)),
        }
    }
}

/// The matrices that may have adapters.
pub static ADAPTED: [LinearRoles; 7] = [
    Q_ROLES, K_ROLES, V_ROLES, O_ROLES, GATE_ROLES, UP_ROLES, DOWN_ROLES,
];

/// Whether a role is of an adapter's thin matrices.
pub fn is_adapter(role: u16) -> bool {
    ADAPTED.iter().any(|[_, _, a, b]| [*a, *b].contains(&role))
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
    GATE_BIAS = 37, "gate.bias", true;
    UP_BIAS = 38, "up.bias", true;
    DOWN_BIAS = 39, "down.bias", true;
    Q_A = 48, "q.a", true;
    Q_B = 49, "q.b", true;
    K_A = 50, "k.a", true;
    K_B = 51, "k.b", true;
    V_A = 52, "v.a", true;
    V_B = 53, "v.b", true;
    O_A = 54, "o.a", true;
    O_B = 55, "o.b", true;
    GATE_A = 56, "gate.a", true;
    GATE_B = 57, "gate.b", true;
    UP_A = 58, "up.a", true;
    UP_B = 59, "up.b", true;
    DOWN_A = 60, "down.a", true;
    DOWN_B = 61, "down.b", true;
}

/// The roles of queries.
pub const Q_ROLES: LinearRoles = [Q, Q_BIAS, Q_A, Q_B];
/// The roles of keys.
pub const K_ROLES: LinearRoles = [K, K_BIAS, K_A, K_B];
/// The roles of values.
pub const V_ROLES: LinearRoles = [V, V_BIAS, V_A, V_B];
/// The roles of the attention's output.
pub const O_ROLES: LinearRoles = [O, O_BIAS, O_A, O_B];
/// The roles of the gate.
pub const GATE_ROLES: LinearRoles = [GATE, GATE_BIAS, GATE_A, GATE_B];
/// The roles of what the gate multiplies.
pub const UP_ROLES: LinearRoles = [UP, UP_BIAS, UP_A, UP_B];
/// The roles of the feed-forward's output.
pub const DOWN_ROLES: LinearRoles = [DOWN, DOWN_BIAS, DOWN_A, DOWN_B];

/// What places of matrices count through: the bytes of a file, and behind them those that stand beside it.
#[derive(Clone, Copy)]
pub struct Bytes<'a> {
    file: &'a [u8],
    beside: &'a [u8],
    /// Where those beside begin.
    end: usize,
    /// Who has the rest of the file, where it is not all in memory.
    reader: Option<&'a dyn Reader>,
}

/// Reads what of a file is not in memory.
pub trait Reader: Sync {
    /// Fills `to` with the file's bytes from `offset` on, from whatever thread; whether it could.
    fn read(&self, offset: usize, to: &mut [u8]) -> bool;
}

/// What holds a model's bytes for as long as it is run.
pub trait Stored {
    /// They are the same at each call.
    fn bytes(&self) -> Bytes<'_>;
}

impl<T: AsRef<[u8]>> Stored for T {
    fn bytes(&self) -> Bytes<'_> {
        self.as_ref().into()
    }
}

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(file: &'a [u8]) -> Bytes<'a> {
        Bytes::new(file, &[])
    }
}

impl<'a> Bytes<'a> {
    /// A file's, and what stands beside it.
    pub const fn new(file: &'a [u8], beside: &'a [u8]) -> Bytes<'a> {
        Bytes {
            file,
            beside,
            end: file.len(),
            reader: None,
        }
    }

    /// The beginning of a file of `end` bytes, who reads the rest, and what stands beside it.
    pub const fn streamed(
        head: &'a [u8],
        end: usize,
        reader: &'a dyn Reader,
        beside: &'a [u8],
    ) -> Bytes<'a> {
        Bytes {
            file: head,
            beside,
            end,
            reader: Some(reader),
        }
    }

    /// `len` of them from `offset` on, which are in memory.
    #[inline]
    pub fn get(self, offset: usize, len: usize) -> &'a [u8] {
        match offset.checked_sub(self.end) {
            None => &self.file[offset..][..len],
            Some(offset) => &self.beside[offset..][..len],
        }
    }
}

/// A matrix that stands beside a file, in place of what the file has there.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Beside {
    /// The layer it belongs to.
    pub layer: u16,
    /// What it is for.
    pub role: u16,
    /// It lies behind the file: see [`Bytes`].
    pub matrix: Matrix,
}

/// A matrix in a file or beside it: what it is and where.
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
    /// First byte: see [`Bytes`].
    pub offset: usize,
    /// Bytes of one panel.
    pub panel_bytes: usize,
}

impl Matrix {
    /// A matrix of F32 in panels of 16 rows.
    pub const fn plain(rows: usize, inputs: usize, offset: usize) -> Matrix {
        Matrix {
            format: &FORMATS[0],
            panel_rows: PANEL,
            rows,
            inputs,
            offset,
            panel_bytes: PANEL * inputs * size_of::<f32>(),
        }
    }

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

    /// Panel `index`.
    pub fn panel<'a>(&self, bytes: impl Into<Bytes<'a>>, index: usize) -> &'a [u8] {
        let offset = self.offset + index * self.panel_bytes;
        bytes.into().get(offset, self.panel_bytes)
    }

    /// Panel `index`, in `room` where it is not in memory; zeros where it cannot be read, and `unread` is then set.
    #[inline]
    pub fn fetch<'a>(
        &self,
        bytes: Bytes<'a>,
        index: usize,
        room: &'a mut [u8],
        unread: &AtomicBool,
    ) -> &'a [u8] {
        let offset = self.offset + index * self.panel_bytes;
        match bytes.reader {
            Some(reader) if offset < bytes.end => {
                let room = &mut room[..self.panel_bytes];
                if !reader.read(offset, room) {
                    room.fill(0);
                    unread.store(true, Ordering::Relaxed);
                }
                room
            }
            _ => bytes.get(offset, self.panel_bytes),
        }
    }

    /// Decodes row `index` to plain numbers.
    pub fn row<'a>(&self, bytes: impl Into<Bytes<'a>>, index: usize, out: &mut [f32]) {
        self.format.row(
            self.panel(bytes, index / self.panel_rows),
            self.panel_rows,
            index % self.panel_rows,
            out,
        );
    }

    /// Element `index` of a vector: a plain matrix of one row.
    #[inline(always)]
    pub fn element<'a>(&self, bytes: impl Into<Bytes<'a>>, index: usize) -> f32 {
        match &self.format.encoding {
            inkstone_quant::Encoding::Float(float) => float.get(self.panel(bytes, 0), index),
            inkstone_quant::Encoding::Blocks(..) => 0.0,
        }
    }
}
