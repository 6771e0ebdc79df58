//! Matrices over the rows of a slot. Workers take blocks of 32 output rows, each as many as it is fast.
//!
//! Few rows of activations: the weights' way from memory is what takes time, so that a worker reads its piece as it lies
//! there. Many rows: a block is multiplied with all of them while it lies in the cache.
#![allow(unsafe_code)]

use core::ops::Range;

use inkstone_model::Activations;
use inkstone_model::op::{Epilogue, Linear, Part};
use inkstone_quant::activation::groups;
use inkstone_quant::{Encoding, GROUP, PANEL};

use super::finish::{Block, Finish};
use super::{Run, float, room};
use crate::arena::{bytes_of, cut, share};
use crate::kernels::{Job, Kernel, Panel, Rows, ask};
use crate::scales::Decoder;
use crate::simd;
use crate::team::Worker;

/// Panels of a block.
const PAIR: usize = 2;

/// Output rows of a block: one group of rounded activations of what comes next.
pub(super) const ROWS: usize = PAIR * PANEL;

/// Rows of activations that a block is multiplied with at once, at most: their products stay near, and a block is
/// unpacked once for all of a usual batch.
const TOKENS: usize = 128;

/// Rows of activations up to which weights are streamed, at most ([`ask::Streams`]), and of products that are held then.
const FEW: usize = if cfg!(feature = "small") { 8 } else { 24 };

/// Blocks that are streamed before their products are looked at, at most.
const AT_ONCE: usize = 8;

/// Numbers of scratch that are needed: scales of all panels that are multiplied at once, a tile of plain weights, and
/// products of a row with two blocks.
pub(super) fn scratch(op: &Linear, streamed: bool) -> usize {
    let panel = |part: &Part| scale_numbers(part) + room(&part.weight, streamed);
    let panel = op.parts().map(panel).max().unwrap_or(0);
    panel * 2 * PAIR + GROUP * ROWS + 2 * ROWS
}

/// Scales and minima of a panel.
fn scale_numbers(part: &Part) -> usize {
    let minimum = Decoder::of(part.weight.format).is_some_and(|decoder| decoder.minimum());
    groups_of(part) * PANEL * (1 + usize::from(minimum))
}

/// Groups of weights in a row, those of the padding included; none where weights have no scales.
fn groups_of(part: &Part) -> usize {
    match &part.weight.format.encoding {
        Encoding::Float(_) => 0,
        Encoding::Blocks(_, codec) => part.weight.inputs.div_ceil(GROUP) * (GROUP / codec.group),
    }
}

pub(super) fn run(cx: &Run<'_>, op: &Linear, worker: &Worker<'_>) {
    if cx.rows(op.rows) == 0 {
        return;
    }
    // SAFETY: once in this operation.
    let scratch = unsafe { cx.scratch(worker.index) };
    let all: usize = parts(op).map(blocks).sum();
    // Streams are as long as they can be, and as many for each worker where all are as fast.
    let few = ask::streams(cx.isa.isa()).rows.min(FEW);
    let pieces = if cx.rows(op.rows) <= few {
        all.div_ceil(AT_ONCE).next_multiple_of(worker.count)
    } else {
        all
    };
    while let Some(piece) = worker.take(pieces) {
        for task in shares(cx, op, share(all, piece, pieces)) {
            if task.rows <= few && task.sources().all(|source| source.kernel.is_some()) {
                task.stream(scratch);
            } else {
                task.blocks
                    .clone()
                    .for_each(|block| task.multiply(block, worker.count, scratch));
            }
        }
    }
}

/// The parts that have blocks of their own; an up is worked on with its gate.
fn parts(op: &Linear) -> impl Iterator<Item = &Part> {
    let gate = matches!(op.epilogue, Epilogue::Gate(_));
    op.parts().take(if gate { 1 } else { 3 })
}

/// What some blocks of all parts are of each.
fn shares<'a>(
    cx: &'a Run<'a>,
    op: &'a Linear,
    own: Range<usize>,
) -> impl Iterator<Item = Share<'a>> {
    let gate = matches!(op.epilogue, Epilogue::Gate(_));
    let mut start = 0;
    parts(op).map(move |part| {
        let end = start + blocks(part);
        let of_part = own.start.clamp(start, end) - start..own.end.clamp(start, end) - start;
        start = end;
        let up = op.parts[1].as_ref().filter(|_| gate);
        Share {
            cx,
            op,
            rows: cx.rows(op.rows),
            blocks: of_part,
            sources: [
                Some(Source::new(cx, part)),
                up.map(|up| Source::new(cx, up)),
            ],
        }
    })
}

fn blocks(part: &Part) -> usize {
    part.weight.rows.div_ceil(ROWS)
}

/// A part and how its panels are read.
#[derive(Clone, Copy)]
struct Source<'a> {
    part: &'a Part,
    /// None where plain numbers are multiplied.
    kernel: Option<&'static Kernel>,
    /// None where weights have no scales.
    decoder: Option<Decoder>,
    panels: usize,
    /// Bytes of a panel before its tiles.
    skip: usize,
    /// See [`room`].
    room: usize,
    /// See [`groups_of`].
    groups: usize,
}

/// What a worker does of a part; gate and up are done together.
struct Share<'a> {
    cx: &'a Run<'a>,
    op: &'a Linear,
    /// Rows of activations.
    rows: usize,
    blocks: Range<usize>,
    sources: [Option<Source<'a>>; 2],
}

impl<'a> Share<'a> {
    fn sources(&self) -> impl Iterator<Item = Source<'a>> {
        self.sources.into_iter().flatten()
    }

    /// Panel after panel as they lie in memory, some blocks at a time.
    fn stream(&self, scratch: &mut [f32]) {
        let rows = self.codes(0..self.rows);
        let at_once = (FEW / self.rows).min(AT_ONCE);
        let mut products = [[[0.0; ROWS]; FEW]; 2];
        for first in self.blocks.clone().step_by(at_once) {
            let blocks = first..self.blocks.end.min(first + at_once);
            for (source, products) in self.sources().zip(&mut products) {
                source.stream(self.cx, rows, blocks.clone(), products, scratch);
            }
            let [y, up] = &mut products;
            let of_blocks = y
                .chunks_exact_mut(self.rows)
                .zip(up.chunks_exact_mut(self.rows));
            for (block, (y, up)) in blocks.zip(of_blocks) {
                self.finish(block, 0, y, up);
            }
        }
    }

    /// A block with all rows of activations; the worker's next is likely `ahead` blocks further.
    fn multiply(&self, block: usize, ahead: usize, scratch: &mut [f32]) {
        let mut scratch = &mut scratch[..];
        let blocks = self.sources.map(|source| {
            source.map(|source| {
                let last = source.panels - 1;
                // Where a matrix ends within a block, its last panel stands in for the one that is missing.
                let panel = |half| {
                    let index = last.min(block * PAIR + half);
                    let next = source.bytes(self.cx, index + ahead * PAIR);
                    let panel = source.panel(self.cx, index, &mut scratch);
                    Panel { next, ..panel }
                };
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
                let Some((source, panels)) = source else {
                    continue;
                };
                match source.kernel {
                    Some(kernel) => {
                        let out = y[..n].as_flattened_mut().as_chunks_mut().0;
                        let rows = self.codes(start..start + n);
                        let job = Job {
                            panels,
                            tiles: source.tiles(),
                            rows,
                        };
                        kernel.multiply_on(self.cx.isa, &job, out);
                    }
                    None => self.multiply_floats(source, panels, start, tile, &mut y[..n]),
                }
            }
            self.finish(block, start, &mut y[..n], &mut up[..n]);
        }
    }

    /// The codes of some rows of activations.
    fn codes(&self, rows: Range<usize>) -> Rows<'a> {
        let (arena, place) = (self.cx.arena, self.cx.plan.slot(self.op.from));
        let width = groups(place.width);
        let (cell, cells) = (rows.start * width, rows.len() * width);
        // SAFETY: `from` was written before the last barrier, and this operation does not write it.
        let codes = unsafe { arena.read(place.codes + cell * GROUP, cells * GROUP) };
        // SAFETY: as above.
        let scales = unsafe { arena.read(place.scales + cell * size_of::<f32>(), cells) };
        // SAFETY: as above.
        let sums = unsafe { arena.read(place.sums + cell * 2 * size_of::<i32>(), cells * 2) };
        Rows {
            count: rows.len(),
            groups: width,
            codes,
            scales,
            sums,
        }
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
    fn finish(&self, block: usize, start: usize, y: &mut [[f32; ROWS]], up: &mut [[f32; ROWS]]) {
        let [Some(source), second] = &self.sources else {
            return;
        };
        let task = Finish {
            block: Block {
                cx: self.cx,
                first: block * ROWS,
                start,
            },
            epilogue: self.op.epilogue,
            part: source.part,
            y,
            up: second.map(|second| (second.part, up)),
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
        let m = &part.weight;
        Source {
            part,
            kernel,
            decoder: Decoder::of(m.format),
            panels: m.panels(),
            skip: m.format.scale_bytes(m.inputs, PANEL),
            room: room(m, cx.plan.config.streamed),
            groups: groups_of(part),
        }
    }

    /// Tiles of a panel.
    fn tiles(&self) -> usize {
        self.part.weight.inputs.div_ceil(GROUP)
    }

    /// Products of all panels of some blocks, a row after the other in each block.
    fn stream(
        &self,
        cx: &Run<'_>,
        rows: Rows<'_>,
        blocks: Range<usize>,
        products: &mut [[f32; ROWS]; FEW],
        scratch: &mut [f32],
    ) {
        let Some(kernel) = self.kernel else { return };
        let panels = blocks.start * PAIR..self.panels.min(blocks.end * PAIR);
        let mut out = [[0.0; PANEL]; FEW];
        for (i, panel) in panels.enumerate() {
            let mut scratch = &mut scratch[..];
            self.ask(cx, panel, i == 0);
            let panel = self.panel(cx, panel, &mut scratch);
            let job = Job {
                panels: &[panel],
                tiles: self.tiles(),
                rows,
            };
            kernel.multiply_on(cx.isa, &job, &mut out);
            let products = &mut products[i / PAIR * rows.count..][..rows.count];
            for (to, out) in products.iter_mut().zip(out) {
                to.as_chunks_mut::<PANEL>().0[i % PAIR] = out;
            }
        }
    }

    /// Asks for what a kernel does not: the scales that lie before tiles, and the first tiles of all.
    fn ask(&self, cx: &Run<'_>, panel: usize, first: bool) {
        let bytes = self.bytes(cx, panel);
        if ask::streams(cx.isa.isa()).asked && !bytes.is_empty() {
            let start = if first { 0 } else { ask::AHEAD };
            ask::far(
                bytes.as_ptr().wrapping_add(start),
                ask::AHEAD + self.skip - start,
            );
        }
    }

    /// The bytes of a panel if they are in memory.
    fn bytes<'b>(&self, cx: &Run<'b>, index: usize) -> &'b [u8] {
        if cfg!(feature = "small") || self.room > 0 || index >= self.panels {
            return &[];
        }
        self.part.weight.panel(cx.file, index)
    }

    /// A panel with its scales decoded.
    fn panel<'b>(&self, cx: &Run<'b>, index: usize, scratch: &mut &'b mut [f32]) -> Panel<'b> {
        let m = &self.part.weight;
        let room = cut(scratch, self.room);
        let bytes = m.fetch(cx.file, index, bytes_of(room), cx.unread);
        let Some(decoder) = self.decoder else {
            return Panel {
                tiles: bytes,
                ..Panel::default()
            };
        };
        let mut take = |n: usize| cut(scratch, n * PANEL).as_chunks_mut::<PANEL>().0;
        let scales = take(self.groups);
        let minima = take(if decoder.minimum() { self.groups } else { 0 });
        decoder.decode(cx.isa, bytes, m.inputs, scales, minima);
        Panel {
            tiles: &bytes[self.skip..],
            scales,
            minima: decoder.minimum().then_some(minima),
            ..Panel::default()
        }
    }
}
