//! What is done to a tile of queries after attention: its output, the residual and the feed-forward.
//!
//! The gated vector is made strip by strip of its columns, so that what is multiplied next is still near.

use core::ops::Range;

use inkstone_cpu::train::{Left, Lines, Precision, To, View, multiply, rows};
use inkstone_model::{Layer, Linear};
use rayon::prelude::*;

use super::{Found, Kept, Pass, norm_rows, part, strips, tiles};
use crate::compute::{Rows, stride};
use crate::linear::{Gradients, Ready, learn};
use crate::saved;
use crate::weight::{Factor, Way, Weight};

/// The matrices of this part of a layer, for one direction.
pub(super) struct Answer<'a> {
    layer: &'a Layer<Weight>,
    pass: &'a Pass<'a>,
    o: Ready<'a>,
    gate: Ready<'a>,
    up: Ready<'a>,
    down: Ready<'a>,
    width: usize,
    hidden: usize,
}

/// A tile of queries on its way forwards, and where goes what is kept.
struct Forward<'a> {
    rows: Range<usize>,
    mid: &'a mut [f32],
    gate: saved::Rows<'a>,
    up: saved::Rows<'a>,
    y: &'a mut [f32],
    branches: [&'a mut [f32]; 2],
    /// What adapters make of their inputs: o, gate, up, down.
    thin: [&'a mut [f32]; 4],
}

/// A tile of queries on its way back.
struct Backward<'a> {
    rows: Range<usize>,
    /// The gradient of the output, then that of the residual between the branches.
    dy: &'a mut [f32],
    d_attended: &'a mut [f32],
    whole: Whole<&'a mut [f32]>,
}

/// What whole matrices learn from: gradients of outputs, and the gated vector; empty where they don't.
#[derive(Default)]
struct Whole<T> {
    o: T,
    gate: T,
    up: T,
    down: T,
    gated: T,
}

/// Columns of the gated vector that are made at once: right factors can be cut there. The `gemm` crate lays out both
/// factors at each product, and wants more.
fn strip(precision: Precision) -> usize {
    match precision {
        Precision::F32 => 512,
        Precision::Bf16 => 128,
    }
}

/// Strips of the gate, of what it is multiplied with, and of the product.
struct Strips {
    columns: usize,
    gate: Lines<f32>,
    up: Lines<f32>,
    gated: Lines<f32>,
}

impl Strips {
    fn new(precision: Precision, rows: usize) -> Strips {
        let columns = strip(precision);
        let strip = || Lines::zeros(rows * stride(columns));
        Strips {
            columns,
            gate: strip(),
            up: strip(),
            gated: strip(),
        }
    }

    /// Numbers from a row to the next.
    fn stride(&self) -> usize {
        stride(self.columns)
    }

    /// As many columns of a strip.
    fn view<'a>(&self, strip: &'a [f32], columns: usize) -> View<'a> {
        View::strided(strip, strip.len() / self.stride(), columns, self.stride())
    }

    /// A strip into its place among whole rows, of which there may be none.
    fn copy(&self, strip: &[f32], columns: &Range<usize>, to: &mut [f32]) {
        let from = self.view(strip, columns.len());
        let width = to.len() / from.rows();
        for (row, to) in to.chunks_exact_mut(width.max(1)).enumerate() {
            to[columns.clone()].copy_from_slice(from.row(row));
        }
    }
}

impl<'a> Answer<'a> {
    pub(super) fn new(layer: &'a Layer<Weight>, pass: &'a Pass<'a>, way: Way) -> Answer<'a> {
        let ready = |w: &'a Linear<Weight>| Ready::new(w.as_ref(), pass.reader, way, true);
        Answer {
            layer,
            pass,
            o: ready(&layer.attention.o),
            gate: ready(&layer.ffn.gate),
            up: ready(&layer.ffn.up),
            down: ready(&layer.ffn.down),
            width: layer.ffn_norm.inputs,
            hidden: layer.ffn.gate.weight.rows,
        }
    }

    fn matrices(&self) -> [&Ready<'a>; 4] {
        [&self.o, &self.gate, &self.up, &self.down]
    }

    /// Norms after the branches.
    fn posts(&self) -> [Option<&'a Weight>; 2] {
        [&self.layer.mixer_post_norm, &self.layer.ffn_post_norm].map(Option::as_ref)
    }

    /// The layer's output.
    pub(super) fn forward(&self, kept: &mut Kept) -> Lines<f32> {
        let (queries, width, hidden) = (self.pass.queries.len(), self.width, self.hidden);
        let precision = self.pass.reader.form.precision;
        let [.., o, gate, up, down] = &mut kept.thin;
        let mut ranks = self.matrices().map(Ready::rank).into_iter();
        let mut thin = [o, gate, up, down].map(|u| {
            let rank = ranks.next().unwrap_or_default();
            Rows::new(u, queries, rank)
        });
        let [first, second] = &mut kept.branches;
        let [post_first, post_second] = self.posts().map(|post| post.map_or(0, |_| width));
        let mut first = Rows::new(first, queries, post_first);
        let mut second = Rows::new(second, queries, post_second);
        let mut gate = kept.gate.rows(precision, queries, hidden);
        let mut up = kept.up.rows(precision, queries, hidden);
        let mut mid = Rows::new(&mut kept.mid, queries, width);
        let mut to_y = Lines::default();
        let mut y = Rows::new(&mut to_y, queries, width);
        let tiles = tiles(queries).map(|rows| {
            let n = rows.len();
            Forward {
                rows,
                mid: mid.take(n),
                gate: gate.take(n),
                up: up.take(n),
                y: y.take(n),
                branches: [first.take(n), second.take(n)],
                thin: thin.each_mut().map(|thin| thin.take(n)),
            }
        });
        let tiles: Vec<_> = tiles.collect();
        let (x, attended) = (&kept.x, &kept.attended);
        let each = tiles.into_par_iter();
        each.for_each(|tile| self.tile(x, attended, tile));
        to_y
    }

    fn tile(&self, x: &[f32], attended: &[f32], mut tile: Forward<'_>) {
        let (pass, width) = (self.pass, self.width);
        let (form, n) = (pass.reader.form, tile.rows.len());
        let [first, second] = tile.branches;
        let [u_o, u_gate, u_up, u_down] = tile.thin;
        for (row, mid) in tile.rows.clone().zip(tile.mid.chunks_exact_mut(width)) {
            mid.copy_from_slice(&x[pass.token(row) * width..][..width]);
        }
        let attended = part(attended, &tile.rows, pass.queries.len());
        let attended = Left::new(form, View::new(attended, n, attended.len() / n));
        self.join(0, &attended, [tile.mid, u_o, first]);

        let normed = pass.norm(tile.mid, &self.layer.ffn_norm, |row| row);
        let normed = Left::from_rows(form, n, width, normed);
        let to_gate = self.gate.lift(&normed, u_gate);
        let to_up = self.up.lift(&normed, u_up);
        let mut gated = Left::empty(form, n, self.hidden);
        let mut s = Strips::new(form.precision, n);
        let stride = s.stride();
        for columns in strips(self.hidden, s.columns) {
            let to = To::rows(&mut s.gate, stride);
            let at = columns.clone();
            self.gate.outputs(&normed, to_gate.as_ref(), at, to);
            let to = To::rows(&mut s.up, stride);
            let at = columns.clone();
            self.up.outputs(&normed, to_up.as_ref(), at, to);
            rows::gate(pass.activation, &s.gate, &s.up, &mut s.gated);
            tile.gate.put(columns.start, s.view(&s.gate, columns.len()));
            tile.up.put(columns.start, s.view(&s.up, columns.len()));
            gated.put(columns.start, s.view(&s.gated, columns.len()));
        }
        tile.y.copy_from_slice(tile.mid);
        self.join(1, &gated, [tile.y, u_down, second]);
    }

    /// Adds a branch to the residual, through a norm of its own where there is one; then what went into it is kept.
    fn join(&self, index: usize, x: &Left<'_>, [residual, u, branch]: [&mut [f32]; 3]) {
        let matrix = [&self.o, &self.down][index];
        let Some(post) = self.posts()[index] else {
            return matrix.forward(x, residual, u, true);
        };
        matrix.forward(x, branch, u, false);
        let mut normed = vec![0.0; self.width];
        let mut norm = self.pass.norm(branch, post, |row| row);
        for (row, residual) in residual.chunks_exact_mut(self.width).enumerate() {
            norm(row, &mut normed);
            rows::add_scaled(residual, &normed, 1.0);
        }
    }

    fn gains(&self) -> [Option<&'a Weight>; 3] {
        let [first, second] = self.posts();
        [first, Some(&self.layer.ffn_norm), second]
    }

    /// Writes the gradient of what was attended; `dy` becomes that of the residual between the branches.
    pub(super) fn backward(
        &self,
        kept: &Kept,
        dy: &mut Lines<f32>,
        to_attended: &mut Lines<f32>,
        gradients: &mut Gradients,
    ) {
        let (queries, width, hidden) = (self.pass.queries.len(), self.width, self.hidden);
        let (o, ffn) = (&self.layer.attention.o, &self.layer.ffn);
        let learns = |w: &Linear<Weight>| usize::from(w.weight.trained().is_some());
        let mut all = Whole::<Lines<f32>>::default();
        let mut whole = Whole {
            o: Rows::new(&mut all.o, queries, learns(o) * width),
            gate: Rows::new(&mut all.gate, queries, learns(&ffn.gate) * hidden),
            up: Rows::new(&mut all.up, queries, learns(&ffn.up) * hidden),
            down: Rows::new(&mut all.down, queries, learns(&ffn.down) * width),
            gated: Rows::new(&mut all.gated, queries, learns(&ffn.down) * hidden),
        };
        let mut d_attended = Rows::new(to_attended, queries, o.weight.inputs);
        let mut d_residual = Rows::new(dy, queries, width);
        let tiles = tiles(queries).map(|rows| {
            let n = rows.len();
            Backward {
                rows,
                dy: d_residual.take(n),
                d_attended: d_attended.take(n),
                whole: Whole {
                    o: whole.o.take(n),
                    gate: whole.gate.take(n),
                    up: whole.up.take(n),
                    down: whole.down.take(n),
                    gated: whole.gated.take(n),
                },
            }
        });
        let tiles: Vec<_> = tiles.collect();
        let each = tiles.into_par_iter().map(|mut tile| {
            let mut found = Found::new(self.gains());
            self.feed_forward_back(kept, &mut tile, &mut found);
            self.attended_back(kept, &mut tile, &mut found);
            found
        });
        let found: Vec<_> = each.collect();
        Found::join(&found, self.matrices(), self.gains(), gradients);
        self.learn(kept, &all, gradients);
    }

    fn feed_forward_back(&self, kept: &Kept, tile: &mut Backward<'_>, found: &mut Found<4, 3>) {
        let (pass, width, n) = (self.pass, self.width, tile.rows.len());
        let precision = pass.reader.form.precision;
        let [_, thin_gate, thin_up, thin_down] = &mut found.thin;
        let [_, gain, post_gain] = &mut found.gains;
        let of = |x| part(x, &tile.rows, pass.queries.len());
        let d_branch = self.join_back(1, tile.dy, of(&kept.branches[1]), post_gain);
        let d_branch = d_branch.as_deref().unwrap_or(tile.dy);
        let whole = &mut tile.whole;
        whole.down.copy_from_slice(&d_branch[..whole.down.len()]);

        let mut down = self.down.back(n, of(&kept.thin[6]), thin_down);
        let mut gate = self.gate.back(n, of(&kept.thin[4]), thin_gate);
        let mut up = self.up.back(n, of(&kept.thin[5]), thin_up);
        down.put(0..width, View::new(d_branch, n, width));
        down.lower();
        let mut s = Strips::new(precision, n);
        let stride = s.stride();
        for columns in strips(self.hidden, s.columns) {
            multiply(&down.terms(columns.clone()), To::rows(&mut s.gated, stride));
            let rows = tile.rows.clone();
            kept.gate
                .get(rows.clone(), columns.clone(), &mut s.gate, stride);
            kept.up.get(rows, columns.clone(), &mut s.up, stride);
            // Its gradient becomes the gated vector.
            rows::gate_back(pass.activation, &mut s.gate, &mut s.up, &mut s.gated);
            if self.down.adapted() {
                let gated = Factor::new(precision, s.view(&s.gated, columns.len()));
                down.learn(columns.clone(), gated.right());
            }
            gate.put(columns.clone(), s.view(&s.gate, columns.len()));
            up.put(columns.clone(), s.view(&s.up, columns.len()));
            s.copy(&s.gated, &columns, whole.gated);
            s.copy(&s.gate, &columns, whole.gate);
            s.copy(&s.up, &columns, whole.up);
        }

        let mid = of(&kept.mid);
        for back in [&mut gate, &mut up] {
            back.lower();
        }
        if self.gate.adapted() || self.up.adapted() {
            let normed = pass.norm(mid, &self.layer.ffn_norm, |row| row);
            let normed = Factor::from_rows(precision, (n, width), normed);
            gate.learn(0..width, normed.right());
            up.learn(0..width, normed.right());
        }
        let mut d_normed = Lines::zeros(n * width);
        let terms = [gate.terms(0..width), up.terms(0..width)].concat();
        multiply(&terms, To::rows(&mut d_normed, width));
        pass.norm_back(mid, &self.layer.ffn_norm, &d_normed, tile.dy, gain);
    }

    fn attended_back(&self, kept: &Kept, tile: &mut Backward<'_>, found: &mut Found<4, 3>) {
        let (width, inputs) = (self.width, self.layer.attention.o.weight.inputs);
        let (precision, n) = (self.pass.reader.form.precision, tile.rows.len());
        let of = |x| part(x, &tile.rows, self.pass.queries.len());
        let branch = of(&kept.branches[0]);
        let d_branch = self.join_back(0, tile.dy, branch, &mut found.gains[0]);
        let d_branch = d_branch.as_deref().unwrap_or(tile.dy);
        let whole = &mut tile.whole;
        whole.o.copy_from_slice(&d_branch[..whole.o.len()]);
        let mut back = self.o.back(n, of(&kept.thin[3]), &mut found.thin[0]);
        back.put(0..width, View::new(d_branch, n, width));
        back.lower();
        if self.o.adapted() {
            let attended = View::new(of(&kept.attended), n, inputs);
            back.learn(0..inputs, Factor::new(precision, attended).right());
        }
        multiply(&back.terms(0..inputs), To::rows(tile.d_attended, inputs));
    }

    /// The gradient of a branch from that of the residual it was added to, where there is a norm between them.
    fn join_back(
        &self,
        index: usize,
        d_residual: &[f32],
        branch: &[f32],
        d_gain: &mut [f32],
    ) -> Option<Lines<f32>> {
        let post = self.posts()[index]?;
        let mut d_branch = Lines::zeros(branch.len());
        self.pass
            .norm_back(branch, post, d_residual, &mut d_branch, d_gain);
        Some(d_branch)
    }

    /// Whole matrices, from all rows.
    fn learn(&self, kept: &Kept, whole: &Whole<Lines<f32>>, gradients: &mut Gradients) {
        let (precision, ffn) = (self.pass.reader.form.precision, &self.layer.ffn);
        let o = self.layer.attention.o.as_ref();
        learn(o, precision, &kept.attended, &whole.o, gradients);
        learn(
            ffn.down.as_ref(),
            precision,
            &whole.gated,
            &whole.down,
            gradients,
        );
        if [&ffn.gate, &ffn.up]
            .iter()
            .any(|w| w.weight.trained().is_some())
        {
            let normed = norm_rows(&kept.mid, &self.layer.ffn_norm, self.pass);
            learn(
                ffn.gate.as_ref(),
                precision,
                &normed,
                &whole.gate,
                gradients,
            );
            learn(ffn.up.as_ref(), precision, &normed, &whole.up, gradients);
        }
    }
}
