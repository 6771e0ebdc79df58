//! Matrices over the rows of a slot. Workers share out blocks of 32 output rows.
#![allow(unsafe_code)]

use inkstone_model::op::{Epilogue, Linear, Part};
use inkstone_model::{Activation, Activations, Slot};
use inkstone_quant::activation::groups;
use inkstone_quant::{Encoding, GROUP, PANEL, math};

use super::{Run, float, norm, round};
use crate::arena::{cut, share};
use crate::kernels::{Job, Kernel, PANELS, Panel, ROWS, Rows};
use crate::scales;
use crate::simd::{self, Simd, Task};
use crate::team::Worker;

/// Products of a block with some rows.
type Products = [[f32; ROWS]];

/// Rows of activations that a block is multiplied with at once, at most.
const TOKENS: usize = 128;

/// Numbers of scratch that are needed: scales of a block of each part, a tile, products of one row.
pub(super) fn scratch(op: &Linear) -> usize {
    let scales = |part: &Part| match &part.weight.format.encoding {
        Encoding::Float(_) => 0,
        Encoding::Blocks(_, codec) => {
            let groups = part.weight.inputs.div_ceil(GROUP) * (GROUP / codec.group);
            groups * PANEL * PANELS * (1 + usize::from(codec.minimum))
        }
    };
    let scales = op.parts().map(scales);
    let scales = if is_gate(op) {
        scales.sum()
    } else {
        scales.max().unwrap_or(0)
    };
    scales + GROUP * ROWS + 2 * ROWS
}

pub(super) fn run(cx: &Run<'_>, op: &Linear, worker: &Worker<'_>) {
    let rows = cx.rows(op.rows);
    if rows == 0 {
        return;
    }
    let kernels = op.parts.map(|part| part.and_then(|part| kernel(cx, &part)));
    // SAFETY: once in this operation.
    let scratch = unsafe { cx.scratch(worker.index) };
    for unit in share(units(op), worker.index, worker.count) {
        let (index, block) = locate(op, unit);
        let part = |index: usize| op.parts[index].as_ref().map(|p| (p, kernels[index]));
        let gate = if is_gate(op) { part(1) } else { None };
        let first = part(index).expect("a block was located in it");
        block_of(cx, op, rows, block, [Some(first), gate], &mut *scratch);
    }
}

/// The kernel for a part's format; none where plain numbers are multiplied.
fn kernel(cx: &Run<'_>, part: &Part) -> Option<&'static Kernel> {
    match cx.plan.config.activations {
        Activations::Int8 => Kernel::find(part.weight.format, cx.isa.isa()),
        Activations::F32 => None,
    }
}

fn is_gate(op: &Linear) -> bool {
    matches!(op.epilogue, Epilogue::Gate(_))
}

fn blocks(part: &Part) -> usize {
    part.weight.rows.div_ceil(ROWS)
}

/// Blocks of all parts; gate and up count as one.
fn units(op: &Linear) -> usize {
    if is_gate(op) {
        op.parts().take(1).map(blocks).sum()
    } else {
        op.parts().map(blocks).sum()
    }
}

/// Part and block of a unit.
fn locate(op: &Linear, mut unit: usize) -> (usize, usize) {
    for (index, part) in op.parts.iter().enumerate() {
        let n = part.as_ref().map_or(0, blocks);
        if unit < n {
            return (index, unit);
        }
        unit -= n;
    }
    unreachable!("units are counted from the same parts")
}

/// A part and the kernel of its format.
type Source<'a> = (&'a Part, Option<&'static Kernel>);

/// One block of output rows for all rows of activations.
fn block_of<'a>(
    cx: &Run<'a>,
    op: &'a Linear,
    rows: usize,
    block: usize,
    sources: [Option<Source<'a>>; 2],
    mut scratch: &'a mut [f32],
) {
    let sources = sources.map(|s| s.map(|source| Block::new(cx, source, block, &mut scratch)));
    let [Some(first), second] = &sources else {
        unreachable!("a block has a part")
    };
    let tile = float::tile(&mut scratch);
    let (products, _) = scratch.as_chunks_mut::<ROWS>();
    let (y, other) = products.split_at_mut(products.len() / 2);
    let at_once = y.len().min(TOKENS);
    for start in (0..rows).step_by(at_once) {
        let n = at_once.min(rows - start);
        let y = &mut y[..n];
        first.multiply(cx, op.from, start, tile, y);
        if let (Some(second), Epilogue::Gate(activation)) = (second, op.epilogue) {
            let up = &mut other[..n];
            second.multiply(cx, op.from, start, tile, up);
            simd::run(
                cx.isa,
                Gate {
                    y: y.as_flattened_mut(),
                    up: up.as_flattened(),
                    activation,
                },
            );
        }
        if let Epilogue::Logits { scale, cap } = op.epilogue {
            simd::run(
                cx.isa,
                Logits {
                    y: y.as_flattened_mut(),
                    scale,
                    cap,
                },
            );
        }
        for (t, y) in y.iter().enumerate() {
            first.store(cx, op, start + t, y);
        }
    }
}

/// Two panels of a matrix, ready to be multiplied.
struct Block<'a> {
    part: &'a Part,
    kernel: Option<&'static Kernel>,
    /// Its first output row.
    first: usize,
    /// One or two panels' bytes.
    panels: [Option<&'a [u8]>; PANELS],
    scales: [&'a scales::Groups; PANELS],
    minima: [Option<&'a scales::Groups>; PANELS],
    bias: [f32; ROWS],
}

impl<'a> Block<'a> {
    fn new(
        cx: &Run<'a>,
        (part, kernel): Source<'a>,
        block: usize,
        scratch: &mut &'a mut [f32],
    ) -> Block<'a> {
        let m = &part.weight;
        let first = block * ROWS;
        let panel = |i: usize| {
            let index = block * PANELS + i;
            (index < m.panels()).then(|| m.panel(cx.file, index))
        };
        let mut made = Block {
            part,
            kernel,
            first,
            panels: [panel(0), panel(1)],
            scales: [&[]; PANELS],
            minima: [None; PANELS],
            bias: [0.0; ROWS],
        };
        made.decode(cx, scratch);
        if let Some(bias) = &part.bias {
            let bias = &norm::vector(cx.file, bias)[first..];
            made.bias
                .iter_mut()
                .zip(bias)
                .for_each(|(to, b)| *to = f32::from_le_bytes(*b));
        }
        made
    }

    /// Decodes the panels' scales, where there are any.
    fn decode(&mut self, cx: &Run<'_>, scratch: &mut &'a mut [f32]) {
        let m = &self.part.weight;
        let Encoding::Blocks(_, codec) = &m.format.encoding else {
            return;
        };
        let n = m.inputs.div_ceil(GROUP) * (GROUP / codec.group);
        let mut take = |n: usize| cut(scratch, n * PANEL).as_chunks_mut::<PANEL>().0;
        for (i, panel) in self.panels.iter().enumerate() {
            let Some(panel) = panel else { continue };
            let scales = take(n);
            let minima = take(if codec.minimum { n } else { 0 });
            scales::decode(cx.isa, codec, panel, m.inputs, scales, minima);
            self.scales[i] = scales;
            self.minima[i] = codec.minimum.then_some(minima);
        }
    }

    /// Products with rows `start ..` of a slot, one for each of `y`, bias added.
    fn multiply(
        &self,
        cx: &Run<'_>,
        from: Slot,
        start: usize,
        tile: &mut float::Tile,
        y: &mut Products,
    ) {
        match self.kernel {
            Some(kernel) => self.multiply_codes(cx, kernel, from, start, y),
            None => {
                let (width, m) = (cx.plan.slot(from).width, &self.part.weight);
                // SAFETY: `from` was written before the last barrier, and this operation does not write it.
                let x = unsafe { cx.read(from, start, 0, y.len() * width) };
                let decode = |tile: usize, to: &mut float::Tile| {
                    for (place, panel) in self.panels.iter().enumerate() {
                        let Some(panel) = panel else { continue };
                        let source = float::Source {
                            matrix: m,
                            panel,
                            scales: self.scales[place],
                            minima: self.minima[place],
                            place,
                        };
                        float::decode(cx.isa, source, tile, to);
                    }
                };
                float::multiply(cx.isa, m.inputs, x, width, tile, decode, y);
            }
        }
        if self.part.bias.is_some() {
            for y in y {
                y.iter_mut()
                    .zip(&self.bias)
                    .for_each(|(y, bias)| *y += bias);
            }
        }
    }

    fn multiply_codes(
        &self,
        cx: &Run<'_>,
        kernel: &Kernel,
        from: Slot,
        start: usize,
        y: &mut Products,
    ) {
        let (m, place) = (&self.part.weight, cx.plan.slot(from));
        let skip = m.format.scale_bytes(m.inputs, PANEL);
        let panel = |i: usize| Panel {
            tiles: self.panels[i].map_or(&[], |bytes| &bytes[skip..]),
            scales: self.scales[i],
            minima: self.minima[i],
        };
        let (panels, width) = ([panel(0), panel(1)], groups(place.width));
        let (count, at) = (y.len(), start * width);
        // SAFETY: `from` was written before the last barrier, and this operation does not write it.
        let codes = unsafe {
            cx.arena
                .read(place.codes + at * GROUP, count * width * GROUP)
        };
        // SAFETY: as above.
        let scales = unsafe {
            cx.arena
                .read(place.scales + at * size_of::<f32>(), count * width)
        };
        // SAFETY: as above.
        let sums = unsafe {
            cx.arena
                .read(place.sums + at * 2 * size_of::<i32>(), count * width * 2)
        };
        let there = self.panels.iter().flatten().count();
        let rows = Rows {
            count,
            groups: width,
            codes,
            scales,
            sums,
        };
        let job = Job {
            panels: &panels[..there],
            tiles: m.inputs.div_ceil(GROUP),
            rows,
        };
        kernel.multiply_on(cx.isa, &job, y);
    }

    /// Puts the products of one row where they belong, rounded where the slot keeps codes.
    fn store(&self, cx: &Run<'_>, op: &Linear, row: usize, y: &[f32; ROWS]) {
        let n = (self.part.weight.rows - self.first).min(ROWS);
        // SAFETY: blocks of output rows are shared out.
        let to = unsafe { cx.write(self.part.to, row, self.first, n) };
        if op.epilogue == Epilogue::Add {
            to.iter_mut().zip(y).for_each(|(to, y)| *to += y);
        } else {
            to.copy_from_slice(&y[..n]);
        }
        // SAFETY: blocks of output rows are shared out, each of them one group of codes.
        unsafe { round::row(cx, self.part.to, row, self.first, to) };
    }
}

struct Gate<'a> {
    y: &'a mut [f32],
    up: &'a [f32],
    activation: Activation,
}

impl Task for Gate<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let pairs = self.y.iter_mut().zip(self.up);
        match self.activation {
            Activation::Silu => pairs.for_each(|(y, up)| *y = math::silu(*y) * up),
            Activation::GeluTanh => pairs.for_each(|(y, up)| *y = math::gelu_tanh(*y) * up),
        }
    }
}

struct Logits<'a> {
    y: &'a mut [f32],
    scale: f32,
    cap: Option<f32>,
}

impl Task for Logits<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Logits { y, scale, cap } = self;
        match cap {
            None => y.iter_mut().for_each(|y| *y *= scale),
            Some(cap) => y
                .iter_mut()
                .for_each(|y| *y = cap * math::tanh(*y * scale / cap)),
        }
    }
}
