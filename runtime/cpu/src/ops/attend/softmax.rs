//! From a tile's scores to what they weigh, for the heads of some tokens at once.
//!
//! Step after step for all rows: what one waits for does not hold the others up.

use core::ops::Range;

use inkstone_model::cache::TILE;
use inkstone_quant::math;

/// The largest score so far, and the sum of `exp(score − largest)`.
pub(super) type Sum = [f32; 2];

/// Turns dots into `exp(score − max)`, +0 out of sight; gives each row's largest score and sum. A token has `heads` rows
/// and sees one of the ranges. Rows are used as far as whole vectors hold what is visible: what is left out would add +0.
#[inline(always)]
pub(super) fn softmax(
    rows: &mut [[f32; TILE]],
    heads: usize,
    visible: &[Range<usize>],
    scale: f32,
    cap: Option<f32>,
    sums: &mut [Sum],
) {
    for (rows, visible) in rows.chunks_exact_mut(heads).zip(visible) {
        for x in rows {
            score(&mut x[..used(visible)], scale, cap);
            hide(x, visible, f32::NEG_INFINITY);
        }
    }
    for (rows, (visible, sums)) in rows
        .chunks_exact(heads)
        .zip(visible.iter().zip(sums.chunks_exact_mut(heads)))
    {
        for (x, sum) in rows.iter().zip(sums) {
            // Its order is free, up to the sign of a zero, which `exp` does not see.
            sum[0] = math::max(&x[..used(visible)]);
        }
    }
    for (rows, (visible, sums)) in rows
        .chunks_exact_mut(heads)
        .zip(visible.iter().zip(sums.chunks_exact(heads)))
    {
        for (x, sum) in rows.iter_mut().zip(sums) {
            for x in &mut x[..used(visible)] {
                *x = math::exp(*x - sum[0]);
            }
            hide(x, visible, 0.0);
        }
    }
    for (rows, (visible, sums)) in rows
        .chunks_exact(heads)
        .zip(visible.iter().zip(sums.chunks_exact_mut(heads)))
    {
        for (x, sum) in rows.iter().zip(sums) {
            sum[1] = math::sum(&x[..used(visible)], |p| p);
        }
    }
}

/// Numbers of a row that hold what is visible.
#[inline(always)]
fn used(visible: &Range<usize>) -> usize {
    visible.end.next_multiple_of(math::LANES)
}

#[inline(always)]
fn score(x: &mut [f32], scale: f32, cap: Option<f32>) {
    for x in &mut *x {
        *x *= scale;
    }
    let Some(cap) = cap else { return };
    for x in x {
        *x = cap * math::tanh(*x / cap);
    }
}

/// Replaces what is out of sight in the used part of a row.
#[inline(always)]
fn hide(x: &mut [f32; TILE], visible: &Range<usize>, by: f32) {
    if visible.start > 0 {
        x[..visible.start].fill(by);
    }
    let used = used(visible);
    if visible.end < used {
        x[visible.end..used].fill(by);
    }
}

/// Adds what later positions gave to the sums of some rows; of each row, the factors of what was there and of what they
/// gave.
///
/// The smaller of two largest scores is less by as much whichever it is: one exponential, of all rows at once.
#[inline(always)]
pub(super) fn join(sums: &mut [Sum], given: &[Sum], factors: &mut [[f32; 2]]) {
    for (factors, (sum, given)) in factors.iter_mut().zip(sums.iter().zip(given)) {
        let more = given[0] > sum[0];
        let less = if more {
            sum[0] - given[0]
        } else {
            given[0] - sum[0]
        };
        *factors = [math::exp(less); 2];
    }
    for (factors, (sum, given)) in factors.iter_mut().zip(sums.iter_mut().zip(given)) {
        let ([largest, total], less) = (*sum, factors[0]);
        if given[0] > largest {
            factors[1] = 1.0;
            *sum = [given[0], total * less + given[1]];
        } else {
            factors[0] = 1.0;
            *sum = [largest, total + given[1] * less];
        }
    }
}
