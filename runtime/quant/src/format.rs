//! The table of weight formats. A new format is one row here, usually a new pair of codes and scales.

use crate::codes::{self, Codes};
use crate::layout::round_up;
use crate::math::f16;
use crate::scales::{self, Scales};
use crate::{GROUP, PANEL};

/// A weight format: its number in files, its name, and how it is stored.
#[derive(Debug)]
pub struct Format {
    /// Number in `.ink` files; never reused.
    pub id: u16,
    /// Name as users and GGUF write it.
    pub name: &'static str,
    /// How weights are stored.
    pub encoding: Encoding,
}

/// How weights are stored.
#[derive(Debug)]
pub enum Encoding {
    /// Plain numbers, `[input][row]` within a panel.
    Float(Float),
    /// Codes under scales: all scales of a panel, padded to 64 bytes, then all its tiles.
    Blocks(&'static Codes, &'static Scales),
}

/// A plain number type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Float {
    /// IEEE binary32.
    F32,
    /// IEEE binary16.
    F16,
    /// The upper half of a binary32.
    Bf16,
}

use Encoding::{Blocks, Float as Plain};

/// Every format.
pub static FORMATS: &[Format] = &[
    Format {
        id: 0,
        name: "F32",
        encoding: Plain(Float::F32),
    },
    Format {
        id: 1,
        name: "F16",
        encoding: Plain(Float::F16),
    },
    Format {
        id: 2,
        name: "BF16",
        encoding: Plain(Float::Bf16),
    },
    Format {
        id: 3,
        name: "q8",
        encoding: Blocks(&codes::I8, &scales::F16),
    },
    Format {
        id: 4,
        name: "q4",
        encoding: Blocks(&codes::NL4, &scales::S8_ROW),
    },
    Format {
        id: 5,
        name: "Q4_0",
        encoding: Blocks(&codes::I4, &scales::F16),
    },
    Format {
        id: 6,
        name: "Q4_1",
        encoding: Blocks(&codes::U4, &scales::F16_MIN),
    },
    Format {
        id: 7,
        name: "Q5_0",
        encoding: Blocks(&codes::I5, &scales::F16),
    },
    Format {
        id: 8,
        name: "Q5_1",
        encoding: Blocks(&codes::U5, &scales::F16_MIN),
    },
    Format {
        id: 9,
        name: "Q4_K",
        encoding: Blocks(&codes::U4, &scales::K_MIN),
    },
    Format {
        id: 10,
        name: "Q5_K",
        encoding: Blocks(&codes::U5, &scales::K_MIN),
    },
    Format {
        id: 11,
        name: "Q6_K",
        encoding: Blocks(&codes::I6, &scales::K_S8),
    },
    Format {
        id: 12,
        name: "IQ4_NL",
        encoding: Blocks(&codes::NL4, &scales::F16),
    },
    Format {
        id: 13,
        name: "q5",
        encoding: Blocks(&codes::I5, &scales::S8_ROW),
    },
];

impl PartialEq for Format {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Float {
    /// Bytes of one number.
    pub const fn bytes(self) -> usize {
        match self {
            Float::F32 => 4,
            Float::F16 | Float::Bf16 => 2,
        }
    }

    /// The number at `index` of little-endian `bytes`.
    #[inline(always)]
    pub fn get(self, bytes: &[u8], index: usize) -> f32 {
        let at = index * self.bytes();
        let two = || u16::from_le_bytes([bytes[at], bytes[at + 1]]);
        match self {
            Float::F32 => {
                f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
            }
            Float::F16 => f16(two()),
            Float::Bf16 => f32::from_bits(u32::from(two()) << 16),
        }
    }
}

impl Format {
    /// The format numbered `id`.
    pub fn by_id(id: u16) -> Option<&'static Format> {
        FORMATS.iter().find(|f| f.id == id)
    }

    /// The format called `name`, in any case.
    pub fn by_name(name: &str) -> Option<&'static Format> {
        FORMATS.iter().find(|f| f.name.eq_ignore_ascii_case(name))
    }

    /// Whether products with this format are integers, so that its input is rounded to int8 groups.
    pub const fn is_integer(&self) -> bool {
        matches!(self.encoding, Blocks(..))
    }

    /// Bytes of the scales of a panel, padded to 64 (1 in row-major panels): where its tiles start.
    pub fn scale_bytes(&self, inputs: usize, panel_rows: usize) -> usize {
        match &self.encoding {
            Plain(_) => 0,
            Blocks(_, scales) => scales
                .bytes(inputs, panel_rows)
                .next_multiple_of(alignment(panel_rows)),
        }
    }

    /// Bytes of one panel of `panel_rows` rows; `None` where `inputs` is absurd.
    pub fn panel_bytes(&self, inputs: u64, panel_rows: u64) -> Option<u64> {
        let unpadded = match &self.encoding {
            Plain(float) => inputs
                .checked_mul(panel_rows)?
                .checked_mul(float.bytes() as u64)?,
            Blocks(codes, _) => {
                if inputs > 1 << 32 {
                    return None;
                }
                let tiles = inputs.div_ceil(GROUP as u64);
                let scales = self.scale_bytes(inputs.try_into().ok()?, panel_rows.try_into().ok()?);
                tiles
                    .checked_mul(codes.tile_bytes(panel_rows as usize) as u64)?
                    .checked_add(scales as u64)?
            }
        };
        round_up(unpadded, alignment(panel_rows as usize) as u64)
    }

    /// Bytes of a matrix in panels of `panel_rows` (16 or 1); `None` on overflow or another panel height.
    pub fn matrix_bytes(&self, rows: u64, inputs: u64, panel_rows: u64) -> Option<u64> {
        if panel_rows != PANEL as u64 && panel_rows != 1 {
            return None;
        }
        self.panel_bytes(inputs, panel_rows)?
            .checked_mul(rows.div_ceil(panel_rows))
    }

    /// Decodes one row of a panel: `scale · level − minimum`, each step rounded once. `out` has `inputs` elements.
    pub fn row(&self, panel: &[u8], panel_rows: usize, row: usize, out: &mut [f32]) {
        let inputs = out.len();
        match &self.encoding {
            Plain(float) => {
                for (i, o) in out.iter_mut().enumerate() {
                    *o = float.get(panel, i * panel_rows + row);
                }
            }
            Blocks(codes, scales) => {
                let tiles = &panel[self.scale_bytes(inputs, panel_rows)..];
                let parts = GROUP / scales.group;
                for (index, out) in out.chunks_mut(GROUP).enumerate() {
                    let tile = &tiles[index * codes.tile_bytes(panel_rows)..];
                    let levels = codes
                        .group(tile, panel_rows, row)
                        .map(|c| codes.level(c) as f32);
                    let outs = out.chunks_mut(scales.group);
                    for (part, (out, levels)) in outs.zip(levels.chunks(scales.group)).enumerate() {
                        let (scale, minimum) =
                            scales.get(panel, panel_rows, row, index * parts + part);
                        for (o, level) in out.iter_mut().zip(levels) {
                            *o = scale * level;
                            if scales.minimum {
                                *o -= minimum;
                            }
                        }
                    }
                }
            }
        }
    }
}

fn alignment(panel_rows: usize) -> usize {
    if panel_rows == 1 { 1 } else { 64 }
}
