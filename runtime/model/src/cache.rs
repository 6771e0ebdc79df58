//! Where keys and values of a layer stand, and in what form.
//!
//! For each KV head, K is `[position / 16][dimension][16]` (int8: `[position / 16][dimension / 4][16][4]`), V is
//! `[position][dimension]`; int8 forms keep one f32 scale a position and head, `amax / 127`, rounded as activations are.
//! int4 forms are rotated first (`inkstone_quant::hadamard`), their scale is `amax / 7`, and a byte holds two codes: K is
//! `[position / 16][dimension / 8][16][4]`, byte `b` with dimension `8·j + b` low and `8·j + 4 + b` high; V has dimension
//! `i` low and `i + bytes` high in byte `i` of a position.
//! Position `p` stands at `p mod positions`: a ring where a window bounds what is seen. A layer's caches of several
//! sequences follow each other.

/// The stored form of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Kv {
    /// IEEE binary32: the yardstick.
    F32,
    /// IEEE binary16, saturating.
    #[default]
    F16,
    /// int8 with a scale for each token and head.
    Int8,
    /// Four bits with a scale for each token and head, rotated.
    Int4,
}

/// Every stored form, with its name.
pub static KVS: &[(&str, Kv)] = &[
    ("f16", Kv::F16),
    ("int8", Kv::Int8),
    ("int4", Kv::Int4),
    ("f32", Kv::F32),
];

/// Positions whose partial sums are combined at once; also the unit of a ring.
pub const TILE: usize = 64;

/// Keys that stand side by side.
pub const KEY_LANES: usize = 16;

/// The cache of one layer and sequence within the arena; offsets in bytes, each a multiple of 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cache {
    /// Stored form.
    pub kv: Kv,
    /// Key and value heads.
    pub heads: usize,
    /// Elements of a head.
    pub width: usize,
    /// Positions held, a multiple of [`TILE`].
    pub positions: usize,
    /// Keys.
    pub k: usize,
    /// Values.
    pub v: usize,
    /// `heads × positions` f32, of codes only.
    pub k_scales: usize,
    /// `heads × positions` f32, of codes only.
    pub v_scales: usize,
    /// First byte after this layer's cache.
    pub end: usize,
}

impl Kv {
    /// Bytes of one stored element; one of int4 is two codes.
    pub const fn bytes(self) -> usize {
        match self {
            Kv::F32 => 4,
            Kv::F16 => 2,
            Kv::Int8 | Kv::Int4 => 1,
        }
    }

    /// Whether elements are codes under a scale.
    pub const fn codes(self) -> bool {
        matches!(self, Kv::Int8 | Kv::Int4)
    }

    /// Dimensions of a key that stand together in a block of keys.
    pub const fn together(self) -> usize {
        match self {
            Kv::F32 | Kv::F16 => 1,
            Kv::Int8 => 4,
            Kv::Int4 => 8,
        }
    }

    /// Stored elements of as many dimensions.
    const fn elements(self, dimensions: usize) -> usize {
        match self {
            Kv::Int4 => dimensions.div_ceil(2),
            _ => dimensions,
        }
    }
}

impl Cache {
    /// Lays a layer's cache out from byte `start` on; `None` on overflow.
    pub fn at(start: usize, kv: Kv, heads: usize, width: usize, positions: usize) -> Option<Cache> {
        let cells = heads.checked_mul(positions)?;
        let plane = |width: usize| {
            cells
                .checked_mul(width)?
                .checked_mul(kv.bytes())?
                .checked_next_multiple_of(64)
        };
        let scales = if kv.codes() {
            cells.checked_mul(4)?.checked_next_multiple_of(64)?
        } else {
            0
        };
        let k = start;
        let keys = kv.elements(width.checked_next_multiple_of(kv.together())?);
        let v = k.checked_add(plane(keys)?)?;
        let k_scales = v.checked_add(plane(kv.elements(width))?)?;
        let v_scales = k_scales.checked_add(scales)?;
        let end = v_scales.checked_add(scales)?;
        Some(Cache {
            kv,
            heads,
            width,
            positions,
            k,
            v,
            k_scales,
            v_scales,
            end,
        })
    }

    /// Bytes from the cache of a sequence to that of the next.
    pub const fn stride(&self) -> usize {
        self.end - self.k
    }

    /// First byte after the caches of so many sequences; `None` on overflow.
    pub fn after(&self, sequences: u32) -> Option<usize> {
        self.k
            .checked_add(self.stride().checked_mul(sequences as usize)?)
    }

    /// The cache of a sequence, of which this is the first one's.
    pub const fn of(&self, sequence: u32) -> Cache {
        let on = self.stride() * sequence as usize;
        Cache {
            k: self.k + on,
            v: self.v + on,
            k_scales: self.k_scales + on,
            v_scales: self.v_scales + on,
            end: self.end + on,
            ..*self
        }
    }

    /// Elements of a key of one position and head, padded to whole [`Kv::together`].
    pub const fn key_width(&self) -> usize {
        self.kv
            .elements(self.width.next_multiple_of(self.kv.together()))
    }

    /// Elements of one key that stand together: four bytes of codes, or a number.
    pub const fn key_lane(&self) -> usize {
        self.kv.elements(self.kv.together())
    }

    /// Elements of a value of one position and head.
    pub const fn value_width(&self) -> usize {
        self.kv.elements(self.width)
    }

    /// Index, in elements from `k`, of dimension `d` of the key of `head` at `position`.
    #[inline(always)]
    pub const fn key(&self, head: usize, position: usize, d: usize) -> usize {
        let p = position % self.positions;
        let block = (head * self.positions + p - p % KEY_LANES) * self.key_width();
        match self.kv {
            Kv::Int8 => block + ((d / 4) * KEY_LANES + p % KEY_LANES) * 4 + d % 4,
            Kv::Int4 => block + ((d / 8) * KEY_LANES + p % KEY_LANES) * 4 + d % 4,
            Kv::F32 | Kv::F16 => block + d * KEY_LANES + p % KEY_LANES,
        }
    }

    /// Index, in elements from `v`, of dimension 0 of the value of `head` at `position`.
    #[inline(always)]
    pub const fn value(&self, head: usize, position: usize) -> usize {
        (head * self.positions + position % self.positions) * self.value_width()
    }

    /// Index into the scales of `head` at `position`.
    #[inline(always)]
    pub const fn scale(&self, head: usize, position: usize) -> usize {
        head * self.positions + position % self.positions
    }
}
