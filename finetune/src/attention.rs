//! Softmax attention within each sequence of a pack, forwards and backwards, in tiles of queries (Dao et al. 2022,
//! arXiv:2205.14135): the scores of a tile are all that is ever held, and only their logarithms are kept.

use core::ops::Range;

use inkstone_cpu::train::{Precision, To, View, rows};
use inkstone_model::LayerSpec;
use rayon::prelude::*;

use crate::compute::multiply_here;

/// Queries that are scored at once.
const TILE: usize = 64;

/// Which tokens ask.
#[derive(Debug, Clone, Default)]
pub struct Queries {
    /// The token that each row of queries stands at, ascending.
    pub tokens: Vec<usize>,
    /// The tokens and the rows of each sequence.
    sequences: Vec<(Range<usize>, Range<usize>)>,
}

/// Queries, keys and values, rotated; row by row, heads side by side.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The layer's numbers.
    pub spec: &'a LayerSpec,
    /// What products are computed in.
    pub precision: Precision,
    /// Who asks.
    pub queries: &'a Queries,
    /// `queries × heads · width`.
    pub q: &'a [f32],
    /// `tokens × kv_heads · width`.
    pub k: &'a [f32],
    /// `tokens × kv_heads · width`.
    pub v: &'a [f32],
}

/// What the backward pass reads besides.
#[derive(Debug, Clone, Copy)]
pub struct Outputs<'a> {
    /// What [`forward`] gave.
    pub y: &'a [f32],
    /// The logarithms it gave: `heads × queries`.
    pub logs: &'a [f32],
    /// The gradient of `y`.
    pub dy: &'a [f32],
}

impl Queries {
    /// Every token of `sequences` asks, or the `picked` ones.
    #[must_use]
    pub fn new(sequences: &[Range<usize>], picked: Option<&[usize]>) -> Queries {
        let all = || sequences.iter().cloned().flatten().collect();
        let tokens: Vec<usize> = picked.map_or_else(all, <[usize]>::to_vec);
        let rows = |sequence: &Range<usize>| {
            let first = tokens.partition_point(|token| *token < sequence.start);
            let end = tokens.partition_point(|token| *token < sequence.end);
            (sequence.clone(), first..end)
        };
        let sequences = sequences.iter().map(rows).collect();
        Queries { tokens, sequences }
    }

    /// Rows of queries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether nobody asks.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }
}

/// A tile: its rows of queries, and the tokens that the first and the last of them see between them.
struct Tile {
    rows: Range<usize>,
    keys: Range<usize>,
    start: usize,
}

impl Inputs<'_> {
    fn tiles(&self) -> impl Iterator<Item = Tile> {
        self.queries.sequences.iter().flat_map(|(tokens, rows)| {
            rows.clone().step_by(TILE).map(|first| {
                let end = (first + TILE).min(rows.end);
                let (asks, last) = (self.queries.tokens[first], self.queries.tokens[end - 1]);
                Tile {
                    rows: first..end,
                    keys: self.first_seen(tokens.start, asks)..last + 1,
                    start: tokens.start,
                }
            })
        })
    }

    fn first_seen(&self, start: usize, token: usize) -> usize {
        let window = self
            .spec
            .window
            .map_or(usize::MAX, |window| window as usize);
        start.max((token + 1).saturating_sub(window))
    }

    /// What row `row` of a tile sees, counted from the tile's first key.
    fn seen(&self, tile: &Tile, row: usize) -> Range<usize> {
        let token = self.queries.tokens[row];
        let first = self.first_seen(tile.start, token);
        first - tile.keys.start..token + 1 - tile.keys.start
    }

    fn width(&self) -> usize {
        self.spec.head_width as usize
    }

    fn stride(&self) -> usize {
        self.width() * self.spec.heads as usize
    }

    /// Rows of one head of queries, or of what has their shape.
    fn of_queries<'a>(&self, x: &'a [f32], head: usize, rows: &Range<usize>) -> View<'a> {
        let x = &x[rows.start * self.stride() + head * self.width()..];
        View::strided(x, rows.len(), self.width(), self.stride())
    }

    /// Rows of the keys or values that `head` reads.
    fn of_keys<'a>(&self, x: &'a [f32], head: usize, tokens: &Range<usize>) -> View<'a> {
        let heads = self.spec.kv_heads as usize;
        let head = head / (self.spec.heads as usize / heads);
        let stride = self.width() * heads;
        let x = &x[tokens.start * stride + head * self.width()..];
        View::strided(x, tokens.len(), self.width(), stride)
    }
}

/// `y`, `queries × heads · width`, and the logarithms of the sums of softmax, `heads × queries`.
pub fn forward(inputs: &Inputs<'_>, y: &mut [f32], logs: &mut [f32]) {
    let (width, queries) = (inputs.width(), inputs.queries.len());
    let mut by_head = vec![0.0; y.len()];
    by_head
        .par_chunks_mut(queries * width)
        .zip(logs.par_chunks_mut(queries))
        .enumerate()
        .for_each(|(head, (y, logs))| {
            let mut scores = Vec::new();
            for tile in inputs.tiles() {
                let keys = tile.keys.len();
                score(inputs, head, &tile, &mut scores);
                for (row, scores) in tile.rows.clone().zip(scores.chunks_exact_mut(keys)) {
                    let seen = inputs.seen(&tile, row);
                    scores[..seen.start].fill(0.0);
                    scores[seen.end..].fill(0.0);
                    let (scale, cap) = (inputs.spec.score_scale, inputs.spec.score_cap);
                    logs[row] = rows::softmax(&mut scores[seen], scale, cap);
                }
                let p = View::new(&scores, tile.rows.len(), keys);
                let v = inputs.of_keys(inputs.v, head, &tile.keys);
                inputs.put(p, v, &mut y[tile.rows.start * width..], width, false);
            }
        });
    side_by_side(&by_head, width, queries, y);
}

/// Gradients of queries, keys and values, in their shapes; what stands there is replaced.
pub fn backward(
    inputs: &Inputs<'_>,
    outputs: Outputs<'_>,
    dq: &mut [f32],
    dk: &mut [f32],
    dv: &mut [f32],
) {
    let (width, queries) = (inputs.width(), inputs.queries.len());
    let heads = inputs.spec.heads as usize;
    let tokens = dk.len() / (width * inputs.spec.kv_heads as usize);
    let plane = || vec![0.0; heads * tokens * width];
    let (mut dq_heads, mut dk_heads, mut dv_heads) = (vec![0.0; dq.len()], plane(), plane());
    dq_heads
        .par_chunks_mut(queries * width)
        .zip(dk_heads.par_chunks_mut(tokens * width))
        .zip(dv_heads.par_chunks_mut(tokens * width))
        .enumerate()
        .for_each(|(head, ((dq, dk), dv))| {
            head_back(inputs, outputs, head, [dq, dk, dv]);
        });
    side_by_side(&dq_heads, width, queries, dq);
    let group = heads / inputs.spec.kv_heads as usize;
    for (by_head, to) in [(dk_heads, dk), (dv_heads, dv)] {
        let mut sums = Vec::with_capacity(to.len());
        for group in by_head.chunks_exact(group * tokens * width) {
            let first = sums.len();
            sums.extend_from_slice(&group[..tokens * width]);
            for head in group[tokens * width..].chunks_exact(tokens * width) {
                rows::add_scaled(&mut sums[first..], head, 1.0);
            }
        }
        side_by_side(&sums, width, tokens, to);
    }
}

fn head_back(
    inputs: &Inputs<'_>,
    outputs: Outputs<'_>,
    head: usize,
    [dq, dk, dv]: [&mut [f32]; 3],
) {
    let (width, queries) = (inputs.width(), inputs.queries.len());
    let (scale, cap) = (inputs.spec.score_scale, inputs.spec.score_cap);
    let (mut p, mut dp, mut slopes) = (Vec::new(), Vec::new(), Vec::new());
    for tile in inputs.tiles() {
        let keys = tile.keys.len();
        score(inputs, head, &tile, &mut p);
        let dy = inputs.of_queries(outputs.dy, head, &tile.rows);
        let v = inputs.of_keys(inputs.v, head, &tile.keys);
        dp.clear();
        dp.resize(tile.rows.len() * keys, 0.0);
        inputs.put(dy, v.transposed(), &mut dp, keys, false);
        slopes.resize(if cap.is_some() { keys } else { 0 }, 0.0);
        for (index, row) in tile.rows.clone().enumerate() {
            let seen = inputs.seen(&tile, row);
            let line = index * keys..(index + 1) * keys;
            for x in [&mut p[line.clone()], &mut dp[line.clone()]] {
                x[..seen.start].fill(0.0);
                x[seen.end..].fill(0.0);
            }
            let log = outputs.logs[head * queries + row];
            let p = &mut p[line.clone()][seen.clone()];
            let slopes = if cap.is_some() {
                &mut slopes[seen.clone()]
            } else {
                &mut [][..]
            };
            rows::softmax_again(p, scale, cap, log, slopes);
            let at = row * inputs.stride() + head * width;
            let along = rows::dot(&outputs.dy[at..][..width], &outputs.y[at..][..width]);
            let slopes = cap.map(|_| &*slopes);
            // The products with values want probabilities, those with keys want gradients of scores.
            rows::softmax_back(p, &mut dp[line][seen], along, scale, slopes);
        }
        let p = View::new(&p, tile.rows.len(), keys);
        let ds = View::new(&dp, tile.rows.len(), keys);
        let q = inputs.of_queries(inputs.q, head, &tile.rows);
        let k = inputs.of_keys(inputs.k, head, &tile.keys);
        inputs.put(
            p.transposed(),
            dy,
            &mut dv[tile.keys.start * width..],
            width,
            true,
        );
        inputs.put(ds, k, &mut dq[tile.rows.start * width..], width, false);
        inputs.put(
            ds.transposed(),
            q,
            &mut dk[tile.keys.start * width..],
            width,
            true,
        );
    }
}

/// Products of a tile's queries with its keys, unscaled.
fn score(inputs: &Inputs<'_>, head: usize, tile: &Tile, scores: &mut Vec<f32>) {
    scores.clear();
    scores.resize(tile.rows.len() * tile.keys.len(), 0.0);
    let q = inputs.of_queries(inputs.q, head, &tile.rows);
    let k = inputs.of_keys(inputs.k, head, &tile.keys);
    inputs.put(q, k.transposed(), scores, tile.keys.len(), false);
}

impl Inputs<'_> {
    /// `left · right`, into `data` or added to it.
    fn put(&self, left: View<'_>, right: View<'_>, data: &mut [f32], stride: usize, add: bool) {
        let to = To {
            data,
            rows: left.rows(),
            stride,
            add,
        };
        multiply_here(self.precision, left, right, to);
    }
}

/// From `heads × rows × width` to `rows × heads · width`.
fn side_by_side(by_head: &[f32], width: usize, rows: usize, to: &mut [f32]) {
    let heads = to.len() / (rows * width).max(1);
    to.par_chunks_mut(heads * width)
        .enumerate()
        .for_each(|(row, to)| {
            for (head, to) in to.chunks_exact_mut(width).enumerate() {
                to.copy_from_slice(&by_head[(head * rows + row) * width..][..width]);
            }
        });
}
