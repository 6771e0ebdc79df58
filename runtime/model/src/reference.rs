//! The executable specification of the operations: dull, scalar, never optimised.
//!
//! Every other CPU backend must give the same bits. Rounded forms are made where they are read, keys and values are
//! kept as the numbers that their stored form stands for.

use alloc::vec;
use alloc::vec::Vec;
use core::ops::Range;

use inkstone_quant::activation::{groups, quantize, quantize_to};
use inkstone_quant::{ActRow, hadamard, math, reference};

use crate::backend::{Backend, Batch, Fault, Wanted};
use crate::cache::{Cache, Kv, TILE};
use crate::op::*;
use crate::plan::{Activations, Plan, SLOTS, Slot};
use crate::spec::Activation;
use crate::weights::{Matrix, Stored};

/// The reference backend over the bytes of a file.
pub struct Reference<W> {
    plan: Plan,
    ops: Vec<Op>,
    file: W,
    slots: Vec<Vec<f32>>,
    /// By layer, then by sequence.
    layers: Vec<Kept>,
}

/// Keys and values of a layer, `[head][position][dimension]`: numbers, or int8 codes with their scales.
struct Kept {
    cache: Cache,
    k: Vec<f32>,
    v: Vec<f32>,
    k_scales: Vec<f32>,
    v_scales: Vec<f32>,
}

impl<W: Stored> Reference<W> {
    /// A backend for `plan`, whose operations are `ops`, over the file they were made from.
    pub fn new(plan: Plan, ops: impl IntoIterator<Item = Op>, file: W) -> Reference<W> {
        let ops: Vec<Op> = ops.into_iter().collect();
        let slots = (0..SLOTS)
            .map(|s| vec![0.0; plan.slots[s].rows * plan.slots[s].width])
            .collect();
        let caches = ops.iter().filter_map(|op| match op {
            Op::Attend(attend) => Some(attend.cache),
            _ => None,
        });
        let of_all = |cache: Cache| (0..plan.config.sequences).map(move |s| Kept::new(cache.of(s)));
        let layers = caches.flat_map(of_all).collect();
        Reference {
            plan,
            ops,
            file,
            slots,
            layers,
        }
    }

    fn row(&self, slot: Slot, row: usize) -> &[f32] {
        let width = self.plan.slot(slot).width;
        &self.slots[slot as usize][row * width..][..width]
    }

    fn row_mut(&mut self, slot: Slot, row: usize) -> &mut [f32] {
        let width = self.plan.slot(slot).width;
        &mut self.slots[slot as usize][row * width..][..width]
    }

    fn embed(&mut self, op: &Embed, batch: &Batch<'_>) {
        for (t, &token) in batch.tokens.iter().enumerate() {
            let mut x = vec![0.0; op.table.inputs];
            op.table.row(self.file.bytes(), token as usize, &mut x);
            for (to, x) in self.row_mut(op.to, t).iter_mut().zip(x) {
                *to = x * op.scale;
            }
        }
    }

    fn norm(&mut self, op: &Norm, batch: &Batch<'_>) {
        let (count, wanted) = match op.rows {
            Rows::Wanted => (batch.wanted_rows(), true),
            Rows::All | Rows::Packed => (batch.tokens.len(), false),
        };
        for row in 0..count {
            let from = if wanted { batch.wanted_token(row) } else { row };
            let n = op.gain.inputs;
            let mut x = self.row(op.from, from)[..n].to_vec();
            rms_norm(&mut x, op.eps, |i| op.gain.element(self.file.bytes(), i));
            for (to, y) in self.row_mut(op.to, row).iter_mut().zip(x) {
                match op.then {
                    Then::Store => *to = y,
                    Then::Add => *to += y,
                }
            }
        }
    }

    fn linear(&mut self, op: &Linear, batch: &Batch<'_>) {
        let count = if op.rows == Rows::Packed {
            batch.wanted_rows()
        } else {
            batch.tokens.len()
        };
        for row in 0..count {
            let mut products: Vec<Vec<f32>> = op
                .parts()
                .map(|part| self.product(part, self.row(op.from, row)))
                .collect();
            for (part, y) in op.parts().zip(&mut products) {
                if let Some(plus) = part.plus {
                    let plus = self.row(plus, row);
                    y.iter_mut().zip(plus).for_each(|(y, x)| *y += *x);
                }
            }
            match op.epilogue {
                Epilogue::Store => {}
                Epilogue::Add => {
                    let held = self.row(op.parts().next().expect("a linear has a part").to, row);
                    products[0].iter_mut().zip(held).for_each(|(y, x)| *y += *x);
                }
                Epilogue::Gate(activation) => {
                    let up = products.pop().expect("a gate has two parts");
                    let gate = |x| match activation {
                        Activation::Silu => math::silu(x),
                        Activation::GeluTanh => math::gelu_tanh(x),
                    };
                    products[0]
                        .iter_mut()
                        .zip(up)
                        .for_each(|(g, u)| *g = gate(*g) * u);
                }
                Epilogue::Logits { scale, cap } => products[0]
                    .iter_mut()
                    .for_each(|y| *y = capped(*y * scale, cap)),
            }
            for (part, y) in op.parts().zip(&products) {
                self.row_mut(part.to, row)[..y.len()].copy_from_slice(y);
            }
        }
    }

    fn product(&self, part: &Part, x: &[f32]) -> Vec<f32> {
        let w = &part.weight;
        let x = &x[..w.inputs];
        let n = groups(w.inputs);
        let (mut codes, mut scales, mut sums) = (vec![0; n * 32], vec![0.0; n], vec![0; n * 2]);
        quantize(x, &mut codes, &mut scales, &mut sums);
        let a = ActRow {
            codes: &codes,
            scales: &scales,
            sums: &sums,
        };
        let rounding = self.plan.config.activations == Activations::Int8 && w.format.is_integer();
        let mut weights = vec![0.0; w.inputs];
        let one = |row: usize| {
            let panel = w.panel(self.file.bytes(), row / w.panel_rows);
            let y = if rounding {
                reference::dot(
                    w.format,
                    panel,
                    w.panel_rows,
                    row % w.panel_rows,
                    w.inputs,
                    a,
                )
            } else {
                w.format
                    .row(panel, w.panel_rows, row % w.panel_rows, &mut weights);
                reference::dot_f32(&weights, x)
            };
            part.bias
                .map_or(y, |bias| y + bias.element(self.file.bytes(), row))
        };
        (0..w.rows).map(one).collect()
    }

    fn rope(&mut self, op: &Rope, batch: &Batch<'_>, layer: usize) {
        let width = op.cache.width;
        for t in 0..batch.tokens.len() {
            let (position, kept) = self.at(batch, t, layer);
            for head in 0..op.heads {
                let mut q = self.row(op.q, t)[head * width..][..width].to_vec();
                self.turn(&mut q, op, op.q_norm, position);
                self.row_mut(op.q, t)[head * width..][..width].copy_from_slice(&q);
            }
            for head in 0..op.cache.heads {
                let mut k = self.row(op.k, t)[head * width..][..width].to_vec();
                self.turn(&mut k, op, op.k_norm, position);
                let v = self.row(op.v, t)[head * width..][..width].to_vec();
                self.layers[kept].append(head, position, k, v);
            }
        }
    }

    /// A token's position, and which of the kept caches is its sequence's.
    fn at(&self, batch: &Batch<'_>, token: usize, layer: usize) -> (usize, usize) {
        let (place, sequences) = (batch.place(token), self.plan.config.sequences as usize);
        let kept = layer * sequences + place.sequence as usize;
        (place.position as usize, kept)
    }

    /// Norm, then rotation, of one head.
    fn turn(&self, x: &mut [f32], op: &Rope, norm: Option<Matrix>, position: usize) {
        if let Some(gain) = norm {
            rms_norm(x, op.eps, |i| gain.element(self.file.bytes(), i));
        }
        let half = x.len() / 2;
        for i in 0..half {
            let (sin, cos) =
                math::sin_cos(position as f32 * op.table.element(self.file.bytes(), i));
            let (a, b) = (x[i], x[half + i]);
            x[i] = a * cos - b * sin;
            x[half + i] = b * cos + a * sin;
        }
    }

    fn attend(&mut self, op: &Attend, batch: &Batch<'_>, layer: usize) {
        let width = op.cache.width;
        for t in 0..batch.tokens.len() {
            let (position, kept) = self.at(batch, t, layer);
            for head in 0..op.heads {
                let q = self.row(op.q, t)[head * width..][..width].to_vec();
                let kv_head = head / (op.heads / op.cache.heads);
                let y = self.layers[kept].attend(op, &q, kv_head, position);
                self.row_mut(op.to, t)[head * width..][..width].copy_from_slice(&y);
            }
        }
    }
}

impl Kept {
    fn new(cache: Cache) -> Kept {
        let cells = cache.heads * cache.positions;
        let plane = || vec![0.0; cells * cache.width];
        Kept {
            cache,
            k: plane(),
            v: plane(),
            k_scales: vec![0.0; cells],
            v_scales: vec![0.0; cells],
        }
    }

    fn append(&mut self, head: usize, position: usize, mut k: Vec<f32>, mut v: Vec<f32>) {
        let cell = self.cache.scale(head, position);
        let (at, width) = (cell * self.cache.width, self.cache.width);
        if self.cache.kv == Kv::Int4 {
            hadamard::rotate(&mut k);
            hadamard::rotate(&mut v);
        }
        self.k_scales[cell] = stored(self.cache.kv, &mut k);
        self.v_scales[cell] = stored(self.cache.kv, &mut v);
        self.k[at..at + width].copy_from_slice(&k);
        self.v[at..at + width].copy_from_slice(&v);
    }

    fn attend(&self, op: &Attend, q: &[f32], kv_head: usize, position: usize) -> Vec<f32> {
        let first = op.window.map_or(0, |w| (position + 1).saturating_sub(w));
        let mut q = q.to_vec();
        let q_scale = match op.cache.kv {
            Kv::Int8 => stored(Kv::Int8, &mut q),
            Kv::Int4 => {
                hadamard::rotate(&mut q);
                stored(Kv::Int8, &mut q)
            }
            Kv::F16 => {
                q.iter_mut().for_each(|q| *q = math::short(*q));
                1.0
            }
            Kv::F32 => 1.0,
        };
        let mut running: Option<(f32, f32, Vec<f32>)> = None;
        for tile in first / TILE..=position / TILE {
            let visible = first.max(tile * TILE)..(position + 1).min((tile + 1) * TILE);
            let (m, s, o) = self.tile(op, &q, q_scale, kv_head, tile, visible);
            running = Some(match running {
                None => (m, s, o),
                Some(before) => combine(before, (m, s, o)),
            });
        }
        let (_, s, o) = running.expect("a position sees itself");
        let mut o: Vec<f32> = o.iter().map(|o| o / s).collect();
        if op.cache.kv == Kv::Int4 {
            hadamard::rotate(&mut o);
        }
        o
    }

    fn tile(
        &self,
        op: &Attend,
        q: &[f32],
        q_scale: f32,
        kv_head: usize,
        tile: usize,
        visible: Range<usize>,
    ) -> (f32, f32, Vec<f32>) {
        let width = self.cache.width;
        let mut scores = [f32::NEG_INFINITY; TILE];
        for position in visible.clone() {
            let cell = self.cache.scale(kv_head, position);
            // Of codes every partial sum is an integer below 2²⁴: the same as an integer dot.
            let dot = reference::dot_f32(&self.k[cell * width..][..width], q);
            let score = match op.cache.kv {
                Kv::Int8 | Kv::Int4 => (dot * (q_scale * self.k_scales[cell])) * op.scale,
                Kv::F32 | Kv::F16 => dot * op.scale,
            };
            scores[position - tile * TILE] = capped(score, op.cap);
        }
        let m = math::max(&scores);
        let mut p = [0.0; TILE];
        for position in visible.clone() {
            p[position - tile * TILE] = math::exp(scores[position - tile * TILE] - m);
        }
        let mut o = vec![0.0; width];
        for position in visible {
            let cell = self.cache.scale(kv_head, position);
            let p = p[position - tile * TILE];
            let p = match op.cache.kv {
                Kv::Int8 | Kv::Int4 => math::short(p * self.v_scales[cell]),
                Kv::F16 => math::short(p),
                Kv::F32 => p,
            };
            o.iter_mut()
                .zip(&self.v[cell * width..][..width])
                .for_each(|(o, v)| *o += p * *v);
        }
        (m, math::sum(&p, |p| p), o)
    }
}

/// Joins the partial sums of two spans of positions, the earlier one first.
fn combine(before: (f32, f32, Vec<f32>), after: (f32, f32, Vec<f32>)) -> (f32, f32, Vec<f32>) {
    let ((m0, s0, o0), (m1, s1, o1)) = (before, after);
    let (m, a, b) = if m1 > m0 {
        (m1, math::exp(m0 - m1), 1.0)
    } else {
        (m0, 1.0, math::exp(m1 - m0))
    };
    (
        m,
        s0 * a + s1 * b,
        o0.iter().zip(o1).map(|(x, y)| x * a + y * b).collect(),
    )
}

/// Replaces `x` by what its stored form keeps: numbers, or codes whose scale is returned (1 otherwise).
fn stored(kv: Kv, x: &mut [f32]) -> f32 {
    match kv {
        Kv::F32 => 1.0,
        Kv::F16 => {
            x.iter_mut()
                .for_each(|x| *x = math::f16(math::f16_bits(*x)));
            1.0
        }
        Kv::Int8 | Kv::Int4 => {
            let mut codes = vec![0; x.len()];
            let scale = match kv {
                Kv::Int4 => quantize_to::<7>(x, &mut codes),
                _ => quantize_to::<127>(x, &mut codes),
            };
            x.iter_mut().zip(codes).for_each(|(x, c)| *x = f32::from(c));
            scale
        }
    }
}

fn rms_norm(x: &mut [f32], eps: f32, gain: impl Fn(usize) -> f32) {
    let mean = math::sum(x, |x| x * x) / x.len() as f32;
    let factor = 1.0 / math::sqrt(mean + eps);
    for (i, x) in x.iter_mut().enumerate() {
        *x = (*x * factor) * gain(i);
    }
}

fn capped(x: f32, cap: Option<f32>) -> f32 {
    cap.map_or(x, |cap| cap * math::tanh(x / cap))
}

impl<W: Stored> Backend for Reference<W> {
    fn run(&mut self, batch: &Batch<'_>) -> Result<(), Fault> {
        if !batch.fits(&self.plan) {
            return Err(Fault::BadBatch);
        }
        let mut layer = 0;
        for op in self.ops.clone() {
            if batch
                .stop
                .is_some_and(|stop| stop.load(core::sync::atomic::Ordering::Relaxed))
            {
                return Err(Fault::Cancelled);
            }
            match &op {
                Op::Embed(op) => self.embed(op, batch),
                Op::Norm(op) => self.norm(op, batch),
                Op::Linear(op) => self.linear(op, batch),
                Op::Rope(op) => self.rope(op, batch, layer),
                Op::Attend(op) => {
                    self.attend(op, batch, layer);
                    layer += 1;
                }
            }
        }
        let not_finite = |row: &usize| self.row(Slot::Logits, *row).iter().any(|x| !x.is_finite());
        match (0..batch.wanted_rows()).find(not_finite) {
            Some(row) if batch.wanted != Wanted::None => Err(Fault::NotFinite { row: row as u32 }),
            _ => Ok(()),
        }
    }

    fn logits(&mut self, rows: Range<usize>) -> &mut [f32] {
        let width = self.plan.slot(Slot::Logits).width;
        &mut self.slots[Slot::Logits as usize][rows.start * width..rows.end * width]
    }

    fn read(&self, slot: Slot, row: usize, out: &mut [f32]) {
        out.copy_from_slice(&self.row(slot, row)[..out.len()]);
    }

    fn save(&self, positions: u32, sink: &mut dyn FnMut(&[u8]) -> bool) -> bool {
        self.layers.iter().all(|layer| {
            let (planes, scales) = layer.saved(positions);
            let numbers = |x: &[f32], range: &Range<usize>, sink: &mut dyn FnMut(&[u8]) -> bool| {
                x[range.clone()].iter().all(|x| sink(&x.to_le_bytes()))
            };
            planes
                .iter()
                .all(|r| numbers(&layer.k, r, sink) && numbers(&layer.v, r, sink))
                && scales
                    .iter()
                    .all(|r| numbers(&layer.k_scales, r, sink) && numbers(&layer.v_scales, r, sink))
        })
    }

    fn load(&mut self, positions: u32, source: &mut dyn FnMut(&mut [u8]) -> bool) -> bool {
        self.layers.iter_mut().all(|layer| {
            let (planes, scales) = layer.saved(positions);
            let numbers =
                |x: &mut [f32], range: &Range<usize>, source: &mut dyn FnMut(&mut [u8]) -> bool| {
                    x[range.clone()].iter_mut().all(|x| {
                        let mut bytes = [0; 4];
                        let more = source(&mut bytes);
                        *x = f32::from_le_bytes(bytes);
                        more
                    })
                };
            planes
                .iter()
                .all(|r| numbers(&mut layer.k, r, source) && numbers(&mut layer.v, r, source))
                && scales.iter().all(|r| {
                    numbers(&mut layer.k_scales, r, source)
                        && numbers(&mut layer.v_scales, r, source)
                })
        })
    }
}

impl Kept {
    /// Ranges, one a head, of elements and of scales that hold positions below `positions`.
    fn saved(&self, positions: u32) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
        let held = (positions as usize).min(self.cache.positions);
        let cells = |head: usize| head * self.cache.positions..head * self.cache.positions + held;
        let scales: Vec<_> = (0..self.cache.heads).map(cells).collect();
        let width = self.cache.width;
        (
            scales
                .iter()
                .map(|r| r.start * width..r.end * width)
                .collect(),
            scales,
        )
    }
}
