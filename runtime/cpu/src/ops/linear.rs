//! Matrices over the rows of a slot. Workers share out blocks of 32 output rows.
//!
//! Few rows of activations: the weights' way from memory is what takes time, so that a worker reads its share in a few
//! long streams. Many rows: a block is multiplied with all of them while it lies in the cache.
#![allow(unsafe_code)]

use core::ops::Range;

use inkstone_model::op::{Epilogue, Linear, Part};
use inkstone_model::Activations;
use inkstone_quant::activation::groups;
use inkstone_quant::{Encoding, GROUP, PANEL};

use super::finish::Finish;
use super::{Run, float};
use crate::arena::{cut, share};
use crate::kernels::{Job, Kernel, PANELS, Panel, Products, Rows};
use crate::scales;
use crate::simd;
use crate::team::Worker;

/// Panels of a block.
const PAIR: usize = 2;

/// Output rows of a block: one group of rounded activations of what comes next.
pub(super) const ROWS: usize = PAIR * PANEL;

/// Rows of activations that a block is multiplied with at once, at most: their products stay in the first cache.
const TOKENS: usize = 48;

/// Rows of activations up to which weights are streamed.
const FEW: usize = 2;

/// Numbers of scratch that are needed: scales of all panels that are multiplied at once, a tile of plain weights, and
/// products of a row with two blocks.
pub(super) fn scratch(op: &Linear) -> usize {
    let scales = op.parts().map(scale_numbers).max().unwrap_or(0);
    scales * PANELS + GROUP * ROWS + 2 * ROWS
}

/// Scales and minima of a panel.
fn scale_numbers(part: &Part) -> usize {
    match &part.weight.format.encoding {
        Encoding::Float(_) => 0,
        Encoding::Blocks(_, codec) => {
            let groups = part.weight.inputs.div_ceil(GROUP) * (GROUP / codec.group);
            groups * PANEL * (1 + usize::from(codec.minimum))
        }
    }
}

pub(super) fn run(cx: &Run<'_>, op: &Linear, worker: &Worker<'_>) {
    let rows = cx.rows(op.rows);
    if rows == 0 {
        return;
    }
    // SAFETY: once in this operation.
    let scratch = unsafe { cx.scratch(worker.index) };
    let gate = matches!(op.epilogue, Epilogue::Gate(_));
    let parts = || op.parts().take(if gate { 1 } else { 3 });
    let own = share(parts().map(blocks).sum(), worker.index, worker.count);
    let mut start = 0;
    for part in parts() {
        let end = start + blocks(part);
        let of_part = own.start.clamp(start, end) - start..own.end.clamp(start, end) - start;
        let up = op.parts[1].as_ref().filter(|_| gate);
        let task = Share {
            cx,
            op,
            rows,
            sources: [Some(Source::new(cx, part)), up.map(|up| Source::new(cx, up))],
        };
        if rows <= FEW && task.sources().all(|source| source.kernel.is_some()) {
            task.stream(of_part, scratch);
        } else {
            of_part.for_each(|block| task.multiply(block, scratch));
        }
        start = end;
    }
}

fn blocks(part: &Part) -> usize {
    part.weight.rows.div_ceil(ROWS)
}

/// A part and the kernel of its format; none where plain numbers are multiplied.
#[derive(Clone, Copy)]
struct Source<'a> {
    part: &'a Part,
    kernel: Option<&'static Kernel>,
}

/// What a worker does of a part; gate and up are done together.
struct Share<'a> {
    cx: &'a Run<'a>,
    op: &'a Linear,
    /// Rows of activations.
    rows: usize,
    sources: [Option<Source<'a>>; 2],
}

/// Products of a few rows of activations with a block.
type Few = [[f32; ROWS]; FEW];

impl<'a> Share<'a> {
    fn sources(&self) -> impl Iterator<Item = Source<'a>> {
        self.sources.into_iter().flatten()
    }

    /// Blocks from as many stretches of the range as are streamed side by side advance together, so that each stretch
    /// is read as it lies in memory.
    fn stream(&self, blocks: Range<usize>, scratch: &mut [f32]) {
        let sources = self.sources().count();
        let length = blocks.len().div_ceil(PANELS / sources);
        for step in 0..length {
            let stretches = || (blocks.start + step..blocks.end).step_by(length);
            let mut products = [[[0.0; ROWS]; FEW]; PANELS];
            for half in 0..PAIR {
                let mut lanes = self.sources().flat_map(|s| stretches().map(move |b| (s, b)));
                self.multiply_few(half, &mut lanes, &mut products, scratch);
            }
            let (first, up) = products.split_at(stretches().count());
            for (i, block) in stretches().enumerate() {
                let up = (sources == 2).then(|| &up[i][..self.rows]);
                self.finish(block, 0, &first[i][..self.rows], up);
            }
        }
    }

    /// Panel `half` of each block, all that have one kernel at once.
    fn multiply_few(
        &self,
        half: usize,
        lanes: &mut dyn Iterator<Item = (Source<'a>, usize)>,
        products: &mut [Few; PANELS],
        scratch: &mut [f32],
    ) {
        let mut scratch = &mut scratch[..];
        let mut panels = [Panel::default(); PANELS];
        let mut kernels = [None; PANELS];
        let mut count = 0;
        for (source, block) in lanes {
            panels[count] = source.panel(self.cx, block, half, &mut scratch);
            kernels[count] = source.kernel;
            count += 1;
        }
        let mut first = 0;
        let same = |a: &Option<&Kernel>, b: &Option<&Kernel>| match (a, b) {
            (Some(a), Some(b)) => core::ptr::eq(*a, *b),
            _ => false,
        };
        for run in kernels[..count].chunk_by(same) {
            let Some(kernel) = run[0] else { return };
            let mut out = [[0.0; PANEL]; PANELS * FEW];
            let panels = &panels[first..][..run.len()];
            self.multiply_codes(kernel, panels, 0..self.rows, &mut out);
            for (t, out) in out.chunks_exact(run.len()).take(self.rows).enumerate() {
                for (to, out) in products[first..].iter_mut().zip(out) {
                    to[t].as_chunks_mut::<PANEL>().0[half] = *out;
                }
            }
            first += run.len();
        }
    }

    /// A block with all rows of activations.
    fn multiply(&self, block: usize, scratch: &mut [f32]) {
        let mut scratch = &mut scratch[..];
        let blocks = self.sources.map(|source| {
            source.map(|source| {
                let panel = |half| source.panel(self.cx, block, half, &mut scratch);
                (source, [0, 1].map(panel))
            })
        });
        let tile = float::tile(&mut scratch);
        let (products, _) = scratch.as_chunks_mut::<ROWS>();
        let (y, up) = products.split_at_mut(products.len() / 2);
        let at_once = y.len().min(TOKENS);
        for start in (0..self.rows).step_by(at_once) {
            let n = at_once.min(self.rows - start);
            for (source, y) in blocks.iter().zip([&mut *y, &mut *up]) {
                let Some((source, panels)) = source else { continue };
                match source.kernel {
                    Some(kernel) => {
                        let out = y[..n].as_flattened_mut().as_chunks_mut().0;
                        self.multiply_codes(kernel, panels, start..start + n, out);
                    }
                    None => self.multiply_floats(source, panels, start, tile, &mut y[..n]),
                }
            }
            self.finish(block, start, &y[..n], blocks[1].is_some().then_some(&up[..n]));
        }
    }

    /// Products of panels with the codes of some rows of activations, as [`Kernel::multiply`] gives them.
    fn multiply_codes(
        &self,
        kernel: &Kernel,
        panels: &[Panel<'_>],
        rows: Range<usize>,
        out: &mut [Products],
    ) {
        let (cx, place) = (self.cx, self.cx.plan.slot(self.op.from));
        let width = groups(place.width);
        let (cell, cells) = (rows.start * width, rows.len() * width);
        // SAFETY: `from` was written before the last barrier, and this operation does not write it.
        let codes = unsafe { cx.arena.read(place.codes + cell * GROUP, cells * GROUP) };
        // SAFETY: as above.
        let scales = unsafe { cx.arena.read(place.scales + cell * size_of::<f32>(), cells) };
        // SAFETY: as above.
        let sums = unsafe { cx.arena.read(place.sums + cell * 2 * size_of::<i32>(), cells * 2) };
        let rows = Rows {
            count: rows.len(),
            groups: width,
            codes,
            scales,
            sums,
        };
        let tiles = self.sources().map(|s| s.part.weight.inputs.div_ceil(GROUP));
        let tiles = tiles.max().unwrap_or(0);
        kernel.multiply_on(cx.isa, &Job { panels, tiles, rows }, out);
    }

    /// Products of a block with the numbers of rows `start` on.
    fn multiply_floats(
        &self,
        source: &Source<'_>,
        panels: &[Panel<'_>; PAIR],
        start: usize,
        tile: &mut float::Tile,
        y: &mut [[f32; ROWS]],
    ) {
        let (cx, m) = (self.cx, &source.part.weight);
        let width = cx.plan.slot(self.op.from).width;
        // SAFETY: `from` was written before the last barrier, and this operation does not write it.
        let x = unsafe { cx.read(self.op.from, start, 0, y.len() * width) };
        let decode = |index: usize, to: &mut float::Tile| {
            for (place, panel) in panels.iter().enumerate() {
                float::decode(cx.isa, m, panel, index, place, to);
            }
        };
        float::multiply(cx.isa, m.inputs, x, width, tile, decode, y);
    }

    /// Puts a block's products with rows `start` on where they belong.
    fn finish(&self, block: usize, start: usize, y: &[[f32; ROWS]], up: Option<&[[f32; ROWS]]>) {
        let [Some(source), _] = &self.sources else { return };
        let task = Finish {
            cx: self.cx,
            part: source.part,
            epilogue: self.op.epilogue,
            first: block * ROWS,
            start,
            y,
            up,
        };
        simd::run(self.cx.isa, task);
    }
}

impl<'a> Source<'a> {
    fn new(cx: &Run<'_>, part: &'a Part) -> Source<'a> {
        let kernel = match cx.plan.config.activations {
            Activations::Int8 => Kernel::find(part.weight.format, cx.isa.isa()),
            Activations::F32 => None,
        };
        Source { part, kernel }
    }

    /// Panel `half` of a block with its scales decoded. Where a matrix ends within a block, its last panel stands in for
    /// the one that is missing.
    fn panel<'b>(
        &self,
        cx: &Run<'b>,
        block: usize,
        half: usize,
        scratch: &mut &'b mut [f32],
    ) -> Panel<'b> {
        let m = &self.part.weight;
        let bytes = m.panel(cx.file, (block * PAIR + half).min(m.panels() - 1));
        let Encoding::Blocks(_, codec) = &m.format.encoding else {
            return Panel { tiles: bytes, ..Panel::default() };
        };
        let n = m.inputs.div_ceil(GROUP) * (GROUP / codec.group);
        let mut take = |n: usize| cut(scratch, n * PANEL).as_chunks_mut::<PANEL>().0;
        let scales = take(n);
        let minima = take(if codec.minimum { n } else { 0 });
        scales::decode(cx.isa, codec, bytes, m.inputs, scales, minima);
        Panel {
            tiles: &bytes[m.format.scale_bytes(m.inputs, PANEL)..],
            scales,
            minima: codec.minimum.then_some(minima),
        }
    }
}
