//! Which bytes of a cache hold the positions that count.

use core::ops::Range;

use inkstone_model::Cache;
use inkstone_model::cache::KEY_LANES;

/// Bytes of all positions below `positions`, of a ring all it holds: for each head its keys, values and their scales.
///
/// Blocks of sixteen keys come whole; of the last one, positions that do not count are left out.
pub(crate) fn pieces(cache: &Cache, positions: usize) -> impl Iterator<Item = Range<usize>> {
    let held = positions.min(cache.positions);
    (0..cache.heads).flat_map(move |head| head_pieces(*cache, head, held))
}

fn head_pieces(cache: Cache, head: usize, held: usize) -> impl Iterator<Item = Range<usize>> {
    let element = cache.kv.bytes();
    let span = move |start: usize, first: usize, count: usize, size: usize| {
        start + first * size..start + (first + count) * size
    };
    let whole = held - held % KEY_LANES;
    let width = cache.key_width();
    let keys = span(cache.k, cache.key(head, 0, 0), whole * width, element);
    let together = cache.kv.together();
    let lanes = (held - whole) * cache.key_lane();
    let rest = (0..cache.width.div_ceil(together))
        .filter(move |_| lanes > 0)
        .map(move |d| {
            span(
                cache.k,
                cache.key(head, whole, d * together),
                lanes,
                element,
            )
        });
    let values = span(
        cache.v,
        cache.value(head, 0),
        held * cache.value_width(),
        element,
    );
    let scales =
        [cache.k_scales, cache.v_scales].map(|start| span(start, cache.scale(head, 0), held, 4));
    let scales = scales.into_iter().filter(move |_| cache.kv.codes());
    core::iter::once(keys)
        .chain(rest)
        .chain([values])
        .chain(scales)
}
