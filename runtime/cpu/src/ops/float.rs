//! Products of plain numbers: weights decoded tile by tile, inputs ascending, multiply then add.

use inkstone_model::Matrix;
use inkstone_quant::{Encoding, GROUP, PANEL};

use crate::arena::cut;
use crate::isa::Ready;
use crate::kernels::{self, ROWS};
use crate::scales::Groups;
use crate::simd::{self, LANES, Simd, Task};

/// Weights of 32 inputs for each row of a block, `[input][row]`.
pub(super) type Tile = [[f32; ROWS]; GROUP];

/// Cuts a tile of zeros off scratch memory.
pub(super) fn tile<'a>(scratch: &mut &'a mut [f32]) -> &'a mut Tile {
    let numbers = cut(scratch, GROUP * ROWS);
    numbers.fill(0.0);
    let (rows, _) = numbers.as_chunks_mut::<ROWS>();
    rows.as_mut_array().expect("32 rows were cut")
}

/// Decodes tile `index` of a panel, number `place` of its block.
pub(super) fn decode(
    m: &Matrix,
    panel: &[u8],
    scales: &Groups,
    minima: Option<&Groups>,
    index: usize,
    place: usize,
    to: &mut Tile,
) {
    let columns = place * PANEL..(place + 1) * PANEL;
    match &m.format.encoding {
        Encoding::Float(float) => {
            let inputs = GROUP.min(m.inputs - index * GROUP);
            let bytes = &panel[index * GROUP * PANEL * float.bytes()..];
            for (input, to) in to.iter_mut().enumerate().take(inputs) {
                for (row, to) in to[columns.clone()].iter_mut().enumerate() {
                    *to = float.get(bytes, input * PANEL + row);
                }
            }
        }
        Encoding::Blocks(codes, codec) => {
            let skip = m.format.scale_bytes(m.inputs, PANEL);
            let bytes = codes.tile_bytes(PANEL);
            let levels = kernels::levels(codes, &panel[skip + index * bytes..][..bytes]);
            for (input, to) in to.iter_mut().enumerate() {
                let g = (index * GROUP + input) / codec.group;
                let to = &mut to[columns.clone()];
                let level = |row: usize| f32::from(levels[input / 4][row * 4 + input % 4]);
                for (row, (to, scale)) in to.iter_mut().zip(&scales[g]).enumerate() {
                    *to = scale * level(row);
                }
                if let Some(minima) = minima {
                    to.iter_mut().zip(&minima[g]).for_each(|(to, m)| *to -= m);
                }
            }
        }
    }
}

/// Products with rows of `x`, `stride` apart, one for each of `y`; `decode` fills the tile it is given the number of.
pub(super) fn multiply(
    isa: Ready,
    inputs: usize,
    x: &[f32],
    stride: usize,
    tile: &mut Tile,
    decode: impl Fn(usize, &mut Tile),
    y: &mut [[f32; ROWS]],
) {
    y.fill([0.0; ROWS]);
    for (index, first) in (0..inputs).step_by(GROUP).enumerate() {
        decode(index, tile);
        let w = &tile[..GROUP.min(inputs - first)];
        simd::run(isa, Accumulate { w, x: &x[first..], stride, y: &mut *y });
    }
}

/// Adds the products of some inputs.
struct Accumulate<'a> {
    w: &'a [[f32; ROWS]],
    x: &'a [f32],
    stride: usize,
    y: &'a mut [[f32; ROWS]],
}

/// Vectors of a block's rows.
const VECTORS: usize = ROWS / LANES;

impl Task for Accumulate<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        match S::ACCUMULATORS {
            12.. => self.rows::<S, 6>(simd),
            6.. => self.rows::<S, 3>(simd),
            _ => self.rows::<S, 1>(simd),
        }
    }
}

impl Accumulate<'_> {
    /// `T` rows of activations at once, then one by one.
    #[inline(always)]
    fn rows<S: Simd, const T: usize>(mut self, simd: S) {
        let whole = self.y.len() / T * T;
        for first in (0..whole).step_by(T) {
            self.add::<S, T>(simd, first);
        }
        for first in whole..self.y.len() {
            self.add::<S, 1>(simd, first);
        }
    }

    #[inline(always)]
    fn add<S: Simd, const T: usize>(&mut self, simd: S, first: usize) {
        let mut acc = [[simd.splat(0.0); VECTORS]; T];
        let mut x: [&[f32]; T] = [&[]; T];
        for t in 0..T {
            let (vectors, _) = self.y[first + t].as_chunks::<LANES>();
            for v in 0..VECTORS {
                acc[t][v] = simd.load(&vectors[v]);
            }
            x[t] = &self.x[(first + t) * self.stride..][..self.w.len()];
        }
        for (i, w) in self.w.iter().enumerate() {
            let (vectors, _) = w.as_chunks::<LANES>();
            let mut w = [simd.splat(0.0); VECTORS];
            for v in 0..VECTORS {
                w[v] = simd.load(&vectors[v]);
            }
            for t in 0..T {
                let x = simd.splat(x[t][i]);
                for v in 0..VECTORS {
                    acc[t][v] = simd.add(acc[t][v], simd.mul(w[v], x));
                }
            }
        }
        for t in 0..T {
            let (vectors, _) = self.y[first + t].as_chunks_mut::<LANES>();
            for v in 0..VECTORS {
                simd.store(acc[t][v], &mut vectors[v]);
            }
        }
    }
}
