//! Unpackers: how the integer codes of a tile are packed, and which integer each stands for.

use crate::GROUP;
use crate::layout::{place, plane_bytes};

/// How codes are packed and what they mean.
#[derive(Debug)]
pub struct Codes {
    /// For messages and tables.
    pub name: &'static str,
    /// Widths in bits of the planes that make up a code, lowest bits first.
    pub planes: &'static [usize],
    /// What a code stands for.
    pub levels: Levels,
}

/// The integers that codes stand for; every one fits an `i8`.
#[derive(Debug)]
pub enum Levels {
    /// Code `c` is `c − offset`.
    Linear {
        /// The code of zero.
        offset: u8,
    },
    /// Code `c` is `table[c]`.
    Table(&'static [i8; 16]),
}

/// Two's complement would need a sign; the byte plane stores `value + 128`.
pub static I8: Codes = Codes {
    name: "i8",
    planes: &[8],
    levels: Levels::Linear { offset: 128 },
};
/// Signed nibbles, −8 ..= 7.
pub static I4: Codes = Codes {
    name: "i4",
    planes: &[4],
    levels: Levels::Linear { offset: 8 },
};
/// Unsigned nibbles, 0 ..= 15.
pub static U4: Codes = Codes {
    name: "u4",
    planes: &[4],
    levels: Levels::Linear { offset: 0 },
};
/// Five bits, −16 ..= 15.
pub static I5: Codes = Codes {
    name: "i5",
    planes: &[4, 1],
    levels: Levels::Linear { offset: 16 },
};
/// Five bits, 0 ..= 31.
pub static U5: Codes = Codes {
    name: "u5",
    planes: &[4, 1],
    levels: Levels::Linear { offset: 0 },
};
/// Six bits, −32 ..= 31.
pub static I6: Codes = Codes {
    name: "i6",
    planes: &[4, 2],
    levels: Levels::Linear { offset: 32 },
};
/// The sixteen levels of `IQ4_NL` (ggml), near-optimal for Gaussian weights.
pub static NL4: Codes = Codes {
    name: "nl4",
    planes: &[4],
    levels: Levels::Table(&NL4_LEVELS),
};

/// See [`NL4`].
pub static NL4_LEVELS: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// Every unpacker; kernels and tests iterate it.
pub static CODES: &[&Codes] = &[&I8, &I4, &U4, &I5, &U5, &I6, &NL4];

impl Codes {
    /// Bits of one code.
    pub const fn bits(&self) -> usize {
        let mut bits = 0;
        let mut i = 0;
        while i < self.planes.len() {
            bits += self.planes[i];
            i += 1;
        }
        bits
    }

    /// Bytes of a tile of `rows` rows × 32 inputs.
    pub const fn tile_bytes(&self, rows: usize) -> usize {
        plane_bytes(self.bits(), rows)
    }

    /// The integer that `code` stands for.
    #[inline(always)]
    pub const fn level(&self, code: u8) -> i32 {
        match self.levels {
            Levels::Linear { offset } => code as i32 - offset as i32,
            Levels::Table(table) => table[(code & 15) as usize] as i32,
        }
    }

    /// What to subtract from the unsigned form that kernels multiply: `code` for linear levels, `table + 128` else.
    pub const fn bias(&self) -> i32 {
        match self.levels {
            Levels::Linear { offset } => offset as i32,
            Levels::Table(_) => 128,
        }
    }

    /// The code of `row` and `input` (0 ..= 31) in a tile of `rows` rows.
    #[inline(always)]
    pub fn get(&self, tile: &[u8], rows: usize, row: usize, input: usize) -> u8 {
        let (mut code, mut low, mut base) = (0, 0, 0);
        for &width in self.planes {
            let (vector, shift) = place(width, input / 4);
            let byte = tile[base + (vector * rows + row) * 4 + input % 4];
            code |= ((byte >> shift) & mask(width)) << low;
            low += width;
            base += plane_bytes(width, rows);
        }
        code
    }

    /// The codes of `row` in a tile of `rows` rows, all 32 inputs: [`Self::get`], four at a time.
    #[inline]
    pub fn group(&self, tile: &[u8], rows: usize, row: usize) -> [u8; GROUP] {
        let mut codes = [[0; 4]; GROUP / 4];
        let (mut low, mut base) = (0, 0);
        for &width in self.planes {
            let mask = u32::from_ne_bytes([mask(width); 4]);
            for (quad, codes) in codes.iter_mut().enumerate() {
                let (vector, shift) = place(width, quad);
                let bytes = tile[base + (vector * rows + row) * 4..].first_chunk();
                let word = bytes.map_or(0, |bytes| u32::from_le_bytes(*bytes));
                let part = ((word >> shift) & mask) << low;
                *codes = (u32::from_le_bytes(*codes) | part).to_le_bytes();
            }
            low += width;
            base += plane_bytes(width, rows);
        }
        *codes
            .as_flattened()
            .first_chunk()
            .expect("eight times four")
    }

    /// Stores `code`; the place must hold zero before.
    pub fn put(&self, tile: &mut [u8], rows: usize, row: usize, input: usize, code: u8) {
        let (mut low, mut base) = (0, 0);
        for &width in self.planes {
            let (vector, shift) = place(width, input / 4);
            tile[base + (vector * rows + row) * 4 + input % 4] |=
                ((code >> low) & mask(width)) << shift;
            low += width;
            base += plane_bytes(width, rows);
        }
    }
}

const fn mask(width: usize) -> u8 {
    (0xff_u16 >> (8 - width)) as u8
}
