//! Softmax attention within each sequence of a pack, forwards and backwards, in tiles of queries (Dao et al. 2022,
//! arXiv:2205.14135): the scores of a tile are all that is ever held, and only their logarithms are kept. Keys and values
//! are made ready once for all heads and tiles that read them.

use core::ops::Range;

use inkstone_cpu::train::{Left, Lines, Precision, Right, To, View, multiply, rows};
use inkstone_model::LayerSpec;
use rayon::prelude::*;

use crate::compute::{Rows, stride};
use crate::weight::Factor;

/// Queries that are scored at once.
const TILE: usize = 64;
/// Keys begin and end at multiples of it: right factors are cut there ([`Right::part`]).
const KEYS: usize = 64;

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
    /// The logarithms it gave: `queries × heads`.
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

/// A tile: its rows of queries, their sequence, and the keys that some of them see, counted from where that starts.
struct Tile {
    rows: Range<usize>,
    sequence: usize,
    start: usize,
    keys: Range<usize>,
}

impl Inputs<'_> {
    fn tiles(&self) -> impl Iterator<Item = Tile> {
        let sequences = self.queries.sequences.iter().enumerate();
        sequences.flat_map(move |(sequence, (tokens, rows))| {
            rows.clone().step_by(TILE).map(move |first| {
                let end = (first + TILE).min(rows.end);
                let (asks, last) = (self.queries.tokens[first], self.queries.tokens[end - 1]);
                let begin = self.first_seen(tokens.start, asks) - tokens.start;
                let end_of_keys = (last + 1 - tokens.start).next_multiple_of(KEYS);
                Tile {
                    rows: first..end,
                    sequence,
                    start: tokens.start,
                    keys: begin / KEYS * KEYS..end_of_keys.min(tokens.len()),
                }
            })
        })
    }

    /// Keys or values of each sequence and each of their heads, made ready by `ready`.
    fn prepared<'a>(
        &self,
        x: &'a [f32],
        ready: impl Fn(View<'a>) -> View<'a> + Sync,
    ) -> Vec<Factor<'a>> {
        let heads = self.spec.kv_heads as usize;
        let stride = self.width() * heads;
        let each = (0..self.queries.sequences.len() * heads).into_par_iter();
        let each = each.map(|index| {
            let tokens = &self.queries.sequences[index / heads].0;
            let x = &x[tokens.start * stride + index % heads * self.width()..];
            let x = View::strided(x, tokens.len(), self.width(), stride);
            Factor::new(self.precision, ready(x))
        });
        each.collect()
    }

    /// Which of [`Self::prepared`] the head of a tile reads.
    fn of<'a>(&self, prepared: &'a [Factor<'_>], tile: &Tile, head: usize) -> Right<'a> {
        let heads = self.spec.kv_heads as usize;
        let head = head / (self.spec.heads as usize / heads);
        prepared[tile.sequence * heads + head].right()
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
        let first = first - tile.start - tile.keys.start;
        first..token + 1 - tile.start - tile.keys.start
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
}

/// `y`, `queries × heads · width`, and the logarithms of the sums of softmax, `queries × heads`.
pub fn forward(inputs: &Inputs<'_>, y: &mut Lines<f32>, logs: &mut Lines<f32>) {
    let (queries, heads) = (inputs.queries.len(), inputs.spec.heads as usize);
    let (keys, values) = rayon::join(
        || inputs.prepared(inputs.k, View::transposed),
        || inputs.prepared(inputs.v, |v| v),
    );
    let mut y = Rows::new(y, queries, inputs.stride());
    let mut logs = Rows::new(logs, queries, heads);
    let tiles = inputs.tiles().map(|tile| {
        let rows = tile.rows.len();
        (tile, y.take(rows), logs.take(rows))
    });
    // The last ones of a sequence have the most to do: threads take them first, so that they end together.
    let tiles: Vec<_> = tiles.collect();
    let each = tiles.into_iter().rev().par_bridge();
    each.for_each(|(tile, y, logs)| tile_forward(inputs, [&keys, &values], &tile, y, logs));
}

/// All heads of a tile.
fn tile_forward(
    inputs: &Inputs<'_>,
    [keys, values]: [&[Factor<'_>]; 2],
    tile: &Tile,
    y: &mut [f32],
    logs: &mut [f32],
) {
    let (width, heads) = (inputs.width(), inputs.spec.heads as usize);
    let (scale, cap) = (inputs.spec.score_scale, inputs.spec.score_cap);
    let (count, stride) = (tile.keys.len(), stride(tile.keys.len()));
    let mut scores = Lines::zeros(tile.rows.len() * stride);
    for head in 0..heads {
        let q = Left::new(
            inputs.precision,
            inputs.of_queries(inputs.q, head, &tile.rows),
        );
        let k = inputs
            .of(keys, tile, head)
            .part(0..width, tile.keys.clone());
        multiply(&[(&q, k)], To::rows(&mut scores, stride));
        let each = tile.rows.clone().zip(scores.chunks_exact_mut(stride));
        for ((row, scores), logs) in each.zip(logs.chunks_exact_mut(heads)) {
            let seen = inputs.seen(tile, row);
            scores[..seen.start].fill(0.0);
            scores[seen.end..].fill(0.0);
            logs[head] = rows::softmax(&mut scores[seen], scale, cap);
        }
        let p = View::strided(&scores, tile.rows.len(), count, stride);
        let p = Left::new(inputs.precision, p);
        let v = inputs
            .of(values, tile, head)
            .part(tile.keys.clone(), 0..width);
        multiply(
            &[(&p, v)],
            To::rows(&mut y[head * width..], inputs.stride()),
        );
    }
}

/// Keys and values as the way back wants them.
struct Prepared<'a> {
    /// `width × keys`.
    keys: Vec<Factor<'a>>,
    /// `keys × width`.
    keys_across: Vec<Factor<'a>>,
    /// `width × keys`.
    values: Vec<Factor<'a>>,
}

impl<'a> Prepared<'a> {
    fn new(inputs: &Inputs<'a>) -> Prepared<'a> {
        let across = || inputs.prepared(inputs.k, |k| k);
        let values = || inputs.prepared(inputs.v, View::transposed);
        let (keys, (keys_across, values)) = rayon::join(
            || inputs.prepared(inputs.k, View::transposed),
            || rayon::join(across, values),
        );
        Prepared {
            keys,
            keys_across,
            values,
        }
    }
}

/// Gradients of queries, keys and values, in their shapes, and what they are made of: memory that a layer leaves to the
/// next.
#[derive(Debug, Default)]
pub struct Room {
    /// Of queries.
    pub dq: Lines<f32>,
    /// Of keys.
    pub dk: Lines<f32>,
    /// Of values.
    pub dv: Lines<f32>,
    /// Head after head: of queries `queries × width`, of keys and values `width × tokens`, rows [`stride`] apart.
    by_head: [Lines<f32>; 3],
    /// `Σ dy·y` of each query and head.
    along: Lines<f32>,
}

/// Writes the gradients of queries, keys and values.
pub fn backward(inputs: &Inputs<'_>, outputs: Outputs<'_>, room: &mut Room) {
    let (width, queries) = (inputs.width(), inputs.queries.len());
    let heads = inputs.spec.heads as usize;
    let tokens = inputs.k.len() / (width * inputs.spec.kv_heads as usize);
    let Room {
        dq,
        dk,
        dv,
        by_head: [dq_heads, dk_heads, dv_heads],
        along,
    } = room;
    along.resize(queries * heads);
    let (prepared, ()) = rayon::join(
        || Prepared::new(inputs),
        || rows::dots(outputs.dy, outputs.y, width, along),
    );
    let (plane, tiles) = (width * stride(tokens), inputs.tiles().collect::<Vec<_>>());
    dq_heads.resize(inputs.q.len());
    dk_heads.resize((heads + 1) * plane);
    dv_heads.resize((heads + 1) * plane);
    // The last head is cut in two, so that two threads end together though heads are odd.
    let (low, high) = tiles.split_at(half(&tiles));
    let (whole, last) = dq_heads.split_at_mut((heads - 1) * queries * width);
    let (dq_low, dq_high) = last.split_at_mut(low.last().map_or(0, |tile| tile.rows.end) * width);
    let whole = whole.chunks_exact_mut(queries * width);
    let pieces = whole.enumerate().map(|(head, dq)| (head, &tiles[..], dq));
    let pieces = pieces.chain([(heads - 1, high, dq_high), (heads - 1, low, dq_low)]);
    pieces
        .zip(dk_heads.chunks_exact_mut(plane))
        .zip(dv_heads.chunks_exact_mut(plane))
        .par_bridge()
        .for_each(|(((head, tiles, dq), dk), dv)| {
            let of = Piece { along, head, tiles };
            head_back(inputs, outputs, &prepared, of, [dq, dk, dv]);
        });
    dq.resize(inputs.q.len());
    side_by_side(dq_heads, width, queries, dq);
    let group = heads / inputs.spec.kv_heads as usize;
    for (by_head, to) in [(dk_heads, dk), (dv_heads, dv)] {
        to.resize(inputs.k.len());
        sums_side_by_side(by_head, [width, tokens, group], to);
    }
}

/// Some tiles of a head.
#[derive(Clone, Copy)]
struct Piece<'a> {
    along: &'a [f32],
    head: usize,
    tiles: &'a [Tile],
}

/// How many tiles, from the first on, have about half of the work.
fn half(tiles: &[Tile]) -> usize {
    let work = |tile: &Tile| tile.rows.len() * tile.keys.len();
    let all: usize = tiles.iter().map(work).sum();
    let up_to = tiles.iter().scan(0, |done, tile| {
        *done += work(tile);
        Some(*done)
    });
    up_to.take_while(|done| 2 * done <= all).count()
}

/// One head of some tiles. Gradients of keys and values have rows and columns exchanged, so that what the products read
/// need not be.
fn head_back(
    inputs: &Inputs<'_>,
    outputs: Outputs<'_>,
    prepared: &Prepared<'_>,
    piece: Piece<'_>,
    [dq, dk, dv]: [&mut [f32]; 3],
) {
    let (width, precision) = (inputs.width(), inputs.precision);
    let from_row_to_row = dk.len() / width;
    dk.fill(0.0);
    dv.fill(0.0);
    let (mut p, mut ds) = (Lines::default(), Lines::default());
    let first_row = piece.tiles.first().map_or(0, |tile| tile.rows.start);
    for tile in piece.tiles {
        let (n, count) = (tile.rows.len(), tile.keys.len());
        let (stride, head) = (stride(count), piece.head);
        let q = inputs.of_queries(inputs.q, head, &tile.rows);
        let dy = inputs.of_queries(outputs.dy, head, &tile.rows);
        for (x, prepared, to) in [(q, &prepared.keys, &mut p), (dy, &prepared.values, &mut ds)] {
            let right = inputs
                .of(prepared, tile, head)
                .part(0..width, tile.keys.clone());
            to.resize(n * stride);
            multiply(&[(&Left::new(precision, x), right)], To::rows(to, stride));
        }
        softmax_back(
            inputs,
            [outputs.logs, piece.along],
            head,
            tile,
            &mut p,
            &mut ds,
        );
        let first = tile.start + tile.keys.start;
        for (x, right, to) in [(dy, &p, &mut *dv), (q, &ds, &mut *dk)] {
            let right = Factor::new(precision, View::strided(right, n, count, stride));
            let to = To {
                data: &mut to[first..],
                rows: width,
                stride: from_row_to_row,
                add: true,
            };
            multiply(
                &[(&Left::new(precision, x.transposed()), right.right())],
                to,
            );
        }
        let ds = Left::new(precision, View::strided(&ds, n, count, stride));
        let k = inputs.of(&prepared.keys_across, tile, head);
        let k = k.part(tile.keys.clone(), 0..width);
        multiply(
            &[(&ds, k)],
            To::rows(
                &mut dq[(tile.rows.start - first_row) * width..][..n * width],
                width,
            ),
        );
    }
}

/// `p` become probabilities of a tile's scores, and `ds`, their gradients, those of the scores.
fn softmax_back(
    inputs: &Inputs<'_>,
    [logs, along]: [&[f32]; 2],
    head: usize,
    tile: &Tile,
    p: &mut [f32],
    ds: &mut [f32],
) {
    let (heads, count) = (inputs.spec.heads as usize, tile.keys.len());
    let stride = stride(count);
    let (scale, cap) = (inputs.spec.score_scale, inputs.spec.score_cap);
    let mut slopes = vec![0.0; if cap.is_some() { count } else { 0 }];
    let each = p.chunks_exact_mut(stride).zip(ds.chunks_exact_mut(stride));
    for (row, (p, ds)) in tile.rows.clone().zip(each) {
        let seen = inputs.seen(tile, row);
        for x in [&mut *p, &mut *ds] {
            x[..seen.start].fill(0.0);
            x[seen.end..].fill(0.0);
        }
        let slopes = if cap.is_some() {
            &mut slopes[seen.clone()]
        } else {
            &mut [][..]
        };
        let [log, along] = [logs, along].map(|x| x[row * heads + head]);
        rows::softmax_again(&mut p[seen.clone()], scale, cap, log, slopes);
        let slopes = cap.map(|_| &*slopes);
        // The products with values want probabilities, those with keys want gradients of scores.
        rows::softmax_back(&p[seen.clone()], &mut ds[seen], along, scale, slopes);
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

/// From `heads × width × rows`, rows [`stride`] apart, to `rows × heads / group · width`: the sums of `group` heads each,
/// of the last one in two pieces.
fn sums_side_by_side(by_head: &[f32], [width, rows, group]: [usize; 3], to: &mut [f32]) {
    /// Rows and columns that are exchanged at once: a line of the cache is read of each column, and written of each row.
    const BLOCK: usize = 16;
    let all = to.len() / rows.max(1);
    to.par_chunks_mut(BLOCK * all)
        .enumerate()
        .for_each(|(index, to)| {
            for first in (0..all).step_by(BLOCK) {
                let columns = first..all.min(first + BLOCK);
                let mut block = [[0.0; BLOCK]; BLOCK];
                for (column, sums) in columns.clone().zip(&mut block) {
                    let last = usize::from(column / width == all / width - 1);
                    for member in 0..group + last {
                        let head = column / width * group + member;
                        let row = head * width + column % width;
                        let from = &by_head[row * stride(rows)..][..rows];
                        let from = from[index * BLOCK..].iter();
                        sums.iter_mut().zip(from).for_each(|(sum, x)| *sum += x);
                    }
                }
                for (row, to) in to.chunks_exact_mut(all).enumerate() {
                    for (to, sums) in to[columns.clone()].iter_mut().zip(&block) {
                        *to = sums[row];
                    }
                }
            }
        });
}
