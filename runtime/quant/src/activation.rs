//! Activations as int8 groups of 32 with an f32 scale each.

use crate::GROUP;
use crate::math::round_even;

/// One rounded row; `codes` is padded with zeros to whole groups.
#[derive(Clone, Copy, Debug)]
pub struct ActRow<'a> {
    /// Codes, −127 ..= 127.
    pub codes: &'a [i8],
    /// One scale a group of 32.
    pub scales: &'a [f32],
    /// Sums of codes, one for each 16 inputs.
    pub sums: &'a [i32],
}

/// Groups in a row of `n` inputs.
pub const fn groups(n: usize) -> usize {
    n.div_ceil(GROUP)
}

/// Rounds one row: `codes` holds `32 · groups`, `scales` `groups`, `sums` `2 · groups` elements.
pub fn quantize(x: &[f32], codes: &mut [i8], scales: &mut [f32], sums: &mut [i32]) {
    let outputs = codes
        .chunks_mut(GROUP)
        .zip(scales.iter_mut().zip(sums.chunks_mut(2)));
    for (x, (codes, (scale, sums))) in x.chunks(GROUP).zip(outputs) {
        *scale = quantize_group(x, codes);
        for (sum, half) in sums.iter_mut().zip(codes.chunks(GROUP / 2)) {
            *sum = half.iter().map(|&c| i32::from(c)).sum();
        }
    }
}

/// Rounds up to 32 inputs and returns the scale `amax / 127`; missing inputs become zero codes.
///
/// Codes are `rne(x · (127 / amax))` clamped to ±127; where `amax` is zero or not finite, or `127 / amax` is not
/// finite, they are zeros: a NaN or infinity then reaches the result through the scale.
#[inline(always)]
pub fn quantize_group(x: &[f32], codes: &mut [i8]) -> f32 {
    quantize_to::<127>(x, codes)
}

/// As [`quantize_group`], with codes of at most `LARGEST`.
#[inline(always)]
pub fn quantize_to<const LARGEST: i8>(x: &[f32], codes: &mut [i8]) -> f32 {
    let largest = f32::from(LARGEST);
    // As integers, magnitudes order like the floats, with NaN above infinity, the same on every target.
    let amax = f32::from_bits(x.iter().fold(0, |m, v| m.max(v.to_bits() & 0x7fff_ffff)));
    let inverse = largest / amax;
    codes.fill(0);
    if amax.is_finite() && inverse.is_finite() {
        for (code, &v) in codes.iter_mut().zip(x) {
            *code = round_even(v * inverse).clamp(-largest, largest) as i8;
        }
    }
    amax / largest
}
