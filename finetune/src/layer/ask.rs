//! What is done to a tile of tokens before attention: a norm, queries, keys and values, and what is done to their heads.

use inkstone_cpu::train::{Left, Lines, To, View, multiply, rows};
use inkstone_model::{Layer, LayerSpec, Linear};
use rayon::prelude::*;

use super::{At, Found, Kept, Pass, norm_rows, part};
use crate::attention;
use crate::compute::{Rows, gather};
use crate::linear::{Gradients, Ready, learn};
use crate::weight::{Factor, Way, Weight};

/// The matrices of this part of a layer, for one direction.
pub(super) struct Ask<'a> {
    layer: &'a Layer<Weight>,
    spec: &'a LayerSpec,
    pass: &'a Pass<'a>,
    q: Ready<'a>,
    k: Ready<'a>,
    v: Ready<'a>,
    /// Whether the gradient of the input is wanted.
    wanted: bool,
}

/// A tile of tokens on its way forwards, and where goes what is kept.
struct Forward<'a> {
    at: At,
    q: &'a mut [f32],
    k: &'a mut [f32],
    v: &'a mut [f32],
    raw_q: &'a mut [f32],
    raw_k: &'a mut [f32],
    /// What adapters make of their inputs.
    thin: [&'a mut [f32]; 3],
}

/// A tile of tokens on its way back: gradients.
struct Backward<'a> {
    at: At,
    dq: &'a mut [f32],
    dk: &'a mut [f32],
    dv: &'a mut [f32],
    dx: &'a mut [f32],
}

impl<'a> Ask<'a> {
    pub(super) fn new(
        layer: &'a Layer<Weight>,
        spec: &'a LayerSpec,
        pass: &'a Pass<'a>,
        way: Way,
        wanted: bool,
    ) -> Ask<'a> {
        let ready = |w: &'a Linear<Weight>| Ready::new(w.as_ref(), pass.reader, way, wanted);
        let a = &layer.attention;
        Ask {
            layer,
            spec,
            pass,
            q: ready(&a.q),
            k: ready(&a.k),
            v: ready(&a.v),
            wanted,
        }
    }

    fn heads(&self) -> [Heads<'a>; 2] {
        let (a, spec) = (&self.layer.attention, self.spec);
        [
            Heads::new(self.pass, a.q_norm.as_ref(), spec.head_width, spec.heads),
            Heads::new(self.pass, a.k_norm.as_ref(), spec.head_width, spec.kv_heads),
        ]
    }

    /// Queries, keys and values.
    pub(super) fn forward(&self, kept: &mut Kept) {
        let (queries, tokens) = (self.pass.queries.len(), self.pass.positions.len());
        let a = &self.layer.attention;
        let [u_q, u_k, u_v, ..] = &mut kept.thin;
        let mut u_q = Rows::new(u_q, queries, self.q.rank());
        let mut u_k = Rows::new(u_k, tokens, self.k.rank());
        let mut u_v = Rows::new(u_v, tokens, self.v.rank());
        let mut q = Rows::new(&mut kept.q, queries, a.q.weight.rows);
        let mut k = Rows::new(&mut kept.k, tokens, a.k.weight.rows);
        let mut v = Rows::new(&mut kept.v, tokens, a.v.weight.rows);
        let [raw_q, raw_k] = &mut kept.raw;
        let [asks, all] = self.heads().map(|heads| heads.raw_width());
        let mut raw_q = Rows::new(raw_q, queries, asks);
        let mut raw_k = Rows::new(raw_k, tokens, all);
        let tiles = self.pass.tiles().map(|at| {
            let (queries, tokens) = (at.queries.len(), at.tokens.len());
            Forward {
                at,
                q: q.take(queries),
                k: k.take(tokens),
                v: v.take(tokens),
                raw_q: raw_q.take(queries),
                raw_k: raw_k.take(tokens),
                thin: [u_q.take(queries), u_k.take(tokens), u_v.take(tokens)],
            }
        });
        let tiles: Vec<_> = tiles.collect();
        let x = &kept.x;
        tiles.into_par_iter().for_each(|tile| self.tile(x, tile));
    }

    fn tile(&self, x: &[f32], tile: Forward<'_>) {
        let (pass, gain, at) = (self.pass, &self.layer.mixer_norm, &tile.at);
        let form = pass.reader.form;
        let [asks, all] = self.heads();
        let tokens = pass.norm(x, gain, |row| at.tokens.start + row);
        let tokens = Left::from_rows(form, at.tokens.len(), gain.inputs, tokens);
        let picked = pass.picks.then(|| {
            let picked = pass.norm(x, gain, |row| pass.token(at.queries.start + row));
            Left::from_rows(form, at.queries.len(), gain.inputs, picked)
        });
        let asking = picked.as_ref().unwrap_or(&tokens);
        let [u_q, u_k, u_v] = tile.thin;
        self.q.forward(asking, tile.q, u_q, false);
        asks.forward(tile.q, tile.raw_q, |row| pass.token(at.queries.start + row));
        self.k.forward(&tokens, tile.k, u_k, false);
        all.forward(tile.k, tile.raw_k, |row| at.tokens.start + row);
        self.v.forward(&tokens, tile.v, u_v, false);
    }

    fn gains(&self) -> [Option<&'a Weight>; 3] {
        let a = &self.layer.attention;
        let norm = Some(&self.layer.mixer_norm).filter(|_| self.wanted);
        [a.q_norm.as_ref(), a.k_norm.as_ref(), norm]
    }

    /// The gradient of the layer's input, or nothing where it is not wanted, from that of the residual, of which there is
    /// a row for each query, and those of queries, keys and values.
    pub(super) fn backward(
        &self,
        kept: &Kept,
        mut d_mid: Lines<f32>,
        room: &mut attention::Room,
        gradients: &mut Gradients,
    ) -> Lines<f32> {
        let (queries, tokens) = (self.pass.queries.len(), self.pass.positions.len());
        let (a, width) = (&self.layer.attention, self.layer.mixer_norm.inputs);
        let mut d_x = Lines::default();
        if self.wanted && !self.pass.picks {
            d_x = core::mem::take(&mut d_mid);
        }
        let mut dx = Rows::new(&mut d_x, tokens, usize::from(self.wanted) * width);
        let mut rows_of_q = Rows::new(&mut room.dq, queries, a.q.weight.rows);
        let mut rows_of_k = Rows::new(&mut room.dk, tokens, a.k.weight.rows);
        let mut rows_of_v = Rows::new(&mut room.dv, tokens, a.v.weight.rows);
        let tiles = self.pass.tiles().map(|at| {
            let (queries, tokens) = (at.queries.len(), at.tokens.len());
            Backward {
                at,
                dq: rows_of_q.take(queries),
                dk: rows_of_k.take(tokens),
                dv: rows_of_v.take(tokens),
                dx: dx.take(tokens),
            }
        });
        let tiles: Vec<_> = tiles.collect();
        let each = tiles.into_par_iter();
        let found = each.map(|tile| self.tile_back(kept, &d_mid, tile));
        let found: Vec<_> = found.collect();
        let matrices = [&self.q, &self.k, &self.v];
        Found::join(&found, matrices, self.gains(), gradients);
        self.learn(kept, [&room.dq, &room.dk, &room.dv], gradients);
        d_x
    }

    fn tile_back(&self, kept: &Kept, d_mid: &[f32], tile: Backward<'_>) -> Found<3, 3> {
        let (pass, gain, at) = (self.pass, &self.layer.mixer_norm, &tile.at);
        let (precision, width) = (pass.reader.form.precision, gain.inputs);
        let (queries, tokens) = (pass.queries.len(), pass.positions.len());
        let mut found = Found::new(self.gains());
        let [asks, all] = self.heads();
        let [of_q, of_k, of_x] = &mut found.gains;
        let raw = part(&kept.raw[0], &at.queries, queries);
        asks.backward(raw, tile.dq, |row| pass.token(at.queries.start + row), of_q);
        let raw = part(&kept.raw[1], &at.tokens, tokens);
        all.backward(raw, tile.dk, |row| at.tokens.start + row, of_k);

        let [thin_q, thin_k, thin_v] = &mut found.thin;
        let [u_q, u_k, u_v, ..] = &kept.thin;
        let (a, n, asking) = (&self.layer.attention, at.tokens.len(), at.queries.len());
        let mut q = self.q.back(asking, part(u_q, &at.queries, queries), thin_q);
        let mut k = self.k.back(n, part(u_k, &at.tokens, tokens), thin_k);
        let mut v = self.v.back(n, part(u_v, &at.tokens, tokens), thin_v);
        // No token of the tile may ask.
        if asking > 0 {
            q.put(
                0..a.q.weight.rows,
                View::new(tile.dq, asking, a.q.weight.rows),
            );
            q.lower();
        }
        for (back, dy, w) in [(&mut k, tile.dk, &a.k), (&mut v, tile.dv, &a.v)] {
            let outputs = w.weight.rows;
            back.put(0..outputs, View::new(dy, n, outputs));
            back.lower();
        }
        if self.q.adapted() || self.k.adapted() || self.v.adapted() {
            let normed = |rows: usize, token: &dyn Fn(usize) -> usize| {
                Factor::from_rows(precision, (rows, width), pass.norm(&kept.x, gain, token))
            };
            let x = normed(n, &|row| at.tokens.start + row);
            k.learn(0..width, x.right());
            v.learn(0..width, x.right());
            if asking > 0 {
                let token = |row| pass.token(at.queries.start + row);
                let picked = pass.picks.then(|| normed(asking, &token));
                q.learn(0..width, picked.as_ref().unwrap_or(&x).right());
            }
        }
        if !self.wanted {
            return found;
        }
        let mut d_normed = Lines::zeros(n * width);
        let mut terms = [k.terms(0..width), v.terms(0..width)].concat();
        if pass.picks {
            multiply(&terms, To::rows(&mut d_normed, width));
            let mut d_asking = Lines::zeros(asking * width);
            multiply(&q.terms(0..width), To::rows(&mut d_asking, width));
            let each = at.queries.clone().zip(d_asking.chunks_exact(width));
            for (row, d_asking) in each {
                let to = (pass.token(row) - at.tokens.start) * width;
                rows::add_scaled(&mut d_normed[to..][..width], d_asking, 1.0);
                tile.dx[to..][..width].copy_from_slice(&d_mid[row * width..][..width]);
            }
        } else {
            terms.extend(q.terms(0..width));
            multiply(&terms, To::rows(&mut d_normed, width));
        }
        let x = part(&kept.x, &at.tokens, tokens);
        pass.norm_back(x, gain, &d_normed, tile.dx, of_x);
        found
    }

    /// Whole matrices, from all rows.
    fn learn(&self, kept: &Kept, [dq, dk, dv]: [&[f32]; 3], gradients: &mut Gradients) {
        let (a, pass, width) = (
            &self.layer.attention,
            self.pass,
            self.layer.mixer_norm.inputs,
        );
        if ![&a.q, &a.k, &a.v]
            .iter()
            .any(|w| w.weight.trained().is_some())
        {
            return;
        }
        let (precision, normed) = (
            pass.reader.form.precision,
            norm_rows(&kept.x, &self.layer.mixer_norm, pass),
        );
        learn(a.k.as_ref(), precision, &normed, dk, gradients);
        learn(a.v.as_ref(), precision, &normed, dv, gradients);
        let picked = pass
            .picks
            .then(|| gather(&normed, width, &pass.queries.tokens));
        let asking = picked.as_deref().unwrap_or(&normed);
        learn(a.q.as_ref(), precision, asking, dq, gradients);
    }
}

/// What is done to the heads of queries or keys: perhaps a norm, then a rotation.
struct Heads<'a> {
    pass: &'a Pass<'a>,
    gain: Option<&'a Weight>,
    width: usize,
    heads: usize,
}

impl<'a> Heads<'a> {
    fn new(pass: &'a Pass<'a>, gain: Option<&'a Weight>, width: u32, heads: u32) -> Heads<'a> {
        Heads {
            pass,
            gain,
            width: width as usize,
            heads: heads as usize,
        }
    }

    /// Numbers of a row before the norm, where there is one.
    fn raw_width(&self) -> usize {
        self.gain.map_or(0, |_| self.width * self.heads)
    }

    /// The heads before their norm, where they have one, go to `raw`.
    fn forward(&self, x: &mut [f32], raw: &mut [f32], token: impl Fn(usize) -> usize) {
        if let Some(gain) = self.gain {
            raw.copy_from_slice(x);
            let mut norm = self.pass.norm(raw, gain, |head| head);
            let heads = x.chunks_exact_mut(self.width).enumerate();
            heads.for_each(|(head, to)| norm(head, to));
        }
        self.each(x, |head, row| {
            self.pass.angles.turn(head, self.pass.positions[token(row)])
        });
    }

    /// `dx`, the gradient of what [`Self::forward`] made, becomes that of what it was given.
    fn backward(
        &self,
        raw: &[f32],
        dx: &mut [f32],
        token: impl Fn(usize) -> usize,
        d_gain: &mut [f32],
    ) {
        let positions = self.pass.positions;
        self.each(dx, |head, row| {
            self.pass.angles.turn_back(head, positions[token(row)])
        });
        if let Some(gain) = self.gain {
            let mut d_raw = Lines::zeros(dx.len());
            self.pass.norm_back(raw, gain, dx, &mut d_raw, d_gain);
            dx.copy_from_slice(&d_raw);
        }
    }

    fn each(&self, x: &mut [f32], work: impl Fn(&mut [f32], usize)) {
        let rows = x.chunks_exact_mut(self.heads * self.width).enumerate();
        for (row, x) in rows {
            x.chunks_exact_mut(self.width)
                .for_each(|head| work(head, row));
        }
    }
}
