//! Products of plain numbers: weights decoded tile by tile, inputs ascending, multiply then add.

use inkstone_model::Matrix;
use inkstone_quant::{Encoding, Float, GROUP, PANEL};

use super::linear::ROWS;
use crate::arena::cut;
use crate::isa::Ready;
use crate::kernels::{self, Panel};
use crate::scales::Groups;
use crate::simd::{self, LANES, Simd, Task};

/// Weights of 32 inputs for each row of a block, `[input][row]`.
pub(super) type Tile = [[f32; ROWS]; GROUP];

/// Cuts a tile off scratch memory.
pub(super) fn tile<'a>(scratch: &mut &'a mut [f32]) -> &'a mut Tile {
    let (rows, _) = cut(scratch, GROUP * ROWS).as_chunks_mut::<ROWS>();
    rows.first_chunk_mut().expect("32 rows were cut")
}

/// Decodes tile `index` of panel `place` of a block.
pub(super) fn decode(
    isa: Ready,
    m: &Matrix,
    panel: &Panel<'_>,
    index: usize,
    place: usize,
    to: &mut Tile,
) {
    match &m.format.encoding {
        Encoding::Float(float) => {
            let inputs = GROUP.min(m.inputs - index * GROUP);
            let task = Plain {
                float: *float,
                bytes: &panel.tiles[index * GROUP * PANEL * float.bytes()..],
                place,
                to: &mut to[..inputs],
            };
            simd::run(isa, task);
        }
        Encoding::Blocks(codes, codec) => {
            let bytes = codes.tile_bytes(PANEL);
            let levels = kernels::levels(codes, &panel.tiles[index * bytes..][..bytes]);
            let (first, groups) = (index * GROUP / codec.group, GROUP / codec.group);
            let task = Scaled {
                levels: &levels,
                scales: &panel.scales[first..][..groups],
                minima: panel.minima.map(|m| &m[first..][..groups]),
                place,
                to,
            };
            simd::run(isa, task);
        }
    }
}

/// Plain weights of some inputs.
struct Plain<'a> {
    float: Float,
    bytes: &'a [u8],
    place: usize,
    to: &'a mut [[f32; ROWS]],
}

impl Task for Plain<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = self
            .to
            .iter_mut()
            .map(|to| &mut to.as_chunks_mut::<PANEL>().0[self.place]);
        match self.float {
            Float::F32 => {
                let (numbers, _) = self.bytes.as_chunks::<4>();
                for (to, numbers) in rows.zip(numbers.as_chunks::<PANEL>().0) {
                    *to = numbers.map(f32::from_le_bytes);
                }
            }
            Float::F16 => {
                let (numbers, _) = self.bytes.as_chunks::<2>();
                for (to, numbers) in rows.zip(numbers.as_chunks::<PANEL>().0) {
                    simd.store(simd.load_f16_bytes(numbers), to);
                }
            }
            Float::Bf16 => {
                let (numbers, _) = self.bytes.as_chunks::<2>();
                for (to, numbers) in rows.zip(numbers.as_chunks::<PANEL>().0) {
                    *to = numbers.map(|b| f32::from_bits(u32::from(u16::from_le_bytes(b)) << 16));
                }
            }
        }
    }
}

/// Levels under the scales of a tile's groups.
struct Scaled<'a> {
    levels: &'a kernels::Levels,
    scales: &'a Groups,
    minima: Option<&'a Groups>,
    place: usize,
    to: &'a mut Tile,
}

impl Task for Scaled<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let group = GROUP / self.scales.len();
        for (input, to) in self.to.iter_mut().enumerate() {
            let to = &mut to.as_chunks_mut::<PANEL>().0[self.place];
            let (rows, _) = self.levels[input / 4].as_chunks::<4>();
            for ((to, level), scale) in to.iter_mut().zip(rows).zip(&self.scales[input / group]) {
                *to = scale * f32::from(level[input % 4]);
            }
            if let Some(minima) = self.minima {
                to.iter_mut()
                    .zip(&minima[input / group])
                    .for_each(|(to, m)| *to -= m);
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
        simd::run(
            isa,
            Accumulate {
                w,
                x: &x[first..],
                stride,
                y: &mut *y,
            },
        );
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
            for (acc, x) in acc.iter_mut().zip(x) {
                let x = simd.splat(x[i]);
                for (acc, w) in acc.iter_mut().zip(w) {
                    *acc = simd.add(*acc, simd.mul(w, x));
                }
            }
        }
        for (acc, y) in acc.iter().zip(&mut self.y[first..]) {
            for (acc, to) in acc.iter().zip(y.as_chunks_mut::<LANES>().0) {
                simd.store(*acc, to);
            }
        }
    }
}
