//! Integer products in plain Rust, shaped so that compilers find vectors in them.

use inkstone_quant::{Codes, GROUP, PANEL};

use super::{Job, Kernel, Products, small};
use crate::isa::Isa;

/// Without vectors, and with little memory, a tile is better read than unpacked.
const SMALL: bool = cfg!(feature = "small");

/// Lanes of a tile's quad: sixteen rows of four inputs.
pub(super) const QUAD: usize = PANEL * 4;

/// Quads of a tile.
pub(super) const QUADS: usize = GROUP / 4;

/// The levels of a tile.
pub(crate) type Levels = [[i16; QUAD]; QUADS];

/// How tiles of some codes are unpacked.
pub(super) trait Unpack {
    const CODES: &'static Codes;
    /// `tile` holds [`Codes::tile_bytes`].
    fn unpack(tile: &[u8], to: &mut Levels);
}

pub(super) const fn kernel<C: Unpack>(group: usize) -> Kernel {
    let run = if group == GROUP {
        run::<C, 1>
    } else {
        run::<C, 2>
    };
    Kernel {
        codes: C::CODES,
        group,
        isa: Isa::Portable,
        run,
    }
}

/// Unpacks a tile.
pub(super) type Unpacker = fn(&[u8], &mut Levels);

pub(super) const fn unpacker<C: Unpack>() -> (&'static Codes, Unpacker) {
    (C::CODES, C::unpack)
}

/// Unpacks a tile of any codes.
pub(super) fn unpack_any(codes: &Codes, tile: &[u8], to: &mut Levels) {
    for (q, to) in to.iter_mut().enumerate() {
        for (i, to) in to.iter_mut().enumerate() {
            // Every level fits a signed byte.
            *to = codes.level(codes.get(tile, PANEL, i / 4, 4 * q + i % 4)) as i16;
        }
    }
}

/// Rows of activations for which a tile is unpacked once.
const TOKENS: usize = 8;

/// `PARTS` weight scales serve a tile.
fn run<C: Unpack, const PARTS: usize>(job: &Job<'_>, out: &mut [Products]) {
    let panels = job.panels.len();
    out[..job.rows.count * panels].fill([0.0; PANEL]);
    for first in (0..job.rows.count).step_by(TOKENS) {
        let end = job.rows.count.min(first + TOKENS);
        for panel in 0..panels {
            for tile in 0..job.tiles {
                let out = &mut out[first * panels..end * panels];
                add_tile::<C, PARTS>(job, panel, tile, first, out);
            }
        }
    }
}

/// Adds what one tile gives to the accumulators in `out`, row `first` on.
fn add_tile<C: Unpack, const PARTS: usize>(
    job: &Job<'_>,
    panel: usize,
    tile: usize,
    first: usize,
    out: &mut [Products],
) {
    let p = &job.panels[panel];
    let bytes = const { C::CODES.tile_bytes(PANEL) };
    let packed = &p.tiles[tile * bytes..][..bytes];
    let mut levels = [[0; QUAD]; QUADS];
    if !SMALL {
        C::unpack(packed, &mut levels);
    }
    for (t, out) in out.chunks_exact_mut(job.panels.len()).enumerate() {
        let cell = (first + t) * job.rows.groups + tile;
        let (codes, _) = job.rows.codes[cell * GROUP..][..GROUP].as_chunks::<4>();
        let s_a = job.rows.scales[cell];
        let out = &mut out[panel];
        for part in 0..PARTS {
            let quads = QUADS / PARTS;
            let span = part * quads..(part + 1) * quads;
            let products = if SMALL {
                small::dot::<C>(packed, span.start, &codes[span])
            } else {
                dot(&levels[span.clone()], &codes[span])
            };
            let g = tile * PARTS + part;
            for ((o, product), scale) in out.iter_mut().zip(products).zip(&p.scales[g]) {
                *o += product as f32 * (scale * s_a);
            }
            if let Some(minima) = p.minima {
                let halves = 2 / PARTS;
                let sum: i32 = job.rows.sums[cell * 2 + part * halves..][..halves]
                    .iter()
                    .sum();
                let factor = s_a * sum as f32;
                for (o, minimum) in out.iter_mut().zip(&minima[g]) {
                    *o -= minimum * factor;
                }
            }
        }
    }
}

/// Lanes that are summed at once: four rows of four inputs.
const LANES: usize = 16;

/// Dots of some quads with each row.
fn dot(levels: &[[i16; QUAD]], codes: &[[i8; 4]]) -> [i32; PANEL] {
    let mut repeated = [[0_i16; LANES]; QUADS];
    for (to, codes) in repeated.iter_mut().zip(codes) {
        *to = core::array::from_fn(|i| i16::from(codes[i % 4]));
    }
    let mut products = [0; PANEL];
    for (part, products) in products.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        let mut lanes = [0_i32; LANES];
        for (levels, codes) in levels.iter().zip(&repeated) {
            let levels = &levels.as_chunks::<LANES>().0[part];
            for ((lane, level), code) in lanes.iter_mut().zip(levels).zip(codes) {
                *lane += i32::from(*level) * i32::from(*code);
            }
        }
        let (rows, _) = lanes.as_chunks::<4>();
        *products = core::array::from_fn(|row| rows[row].iter().sum());
    }
    products
}
