//! How a group of activations is rounded where an instruction set has no way of its own.

use inkstone_quant::GROUP;

/// As [`super::Simd::round`], in steps that compilers find vectors in.
#[inline(always)]
pub(super) fn round(x: &[f32; GROUP], codes: &mut [i8; GROUP]) -> (f32, [i32; 2]) {
    /// Adding 1.5 · 2²³ leaves the nearest even integer in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let mut largest = [0_u32; 16];
    for x in x.as_chunks::<16>().0 {
        for (largest, x) in largest.iter_mut().zip(x) {
            *largest = (x.to_bits() & 0x7fff_ffff).max(*largest);
        }
    }
    let amax = f32::from_bits(largest.into_iter().fold(0, u32::max));
    let inverse = 127.0 / amax;
    if !(amax.is_finite() && inverse.is_finite()) {
        codes.fill(0);
        return (amax / 127.0, [0; 2]);
    }
    for (code, x) in codes.iter_mut().zip(x) {
        let bits = (x * inverse + ROUND).to_bits() as i32;
        *code = (bits - ROUND.to_bits() as i32).clamp(-127, 127) as i8;
    }
    let (halves, _) = codes.as_chunks();
    (amax / 127.0, [sum(&halves[0]), sum(&halves[1])])
}

/// A closure of these would not be compiled for the instruction set that calls it.
#[inline(always)]
fn sum(codes: &[i8; GROUP / 2]) -> i32 {
    let mut sum = 0;
    for code in codes {
        sum += i32::from(*code);
    }
    sum
}
