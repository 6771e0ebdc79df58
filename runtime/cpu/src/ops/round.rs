//! The rounded form of slots whose rows integer formats multiply.
#![allow(unsafe_code)]

use inkstone_model::Slot;
use inkstone_quant::GROUP;
use inkstone_quant::activation::groups;

use super::Run;
use crate::simd::{self, Simd, Task};

/// Rounds `x`, elements `first` on of a slot's row, if the slot keeps codes. `first` is a multiple of 32, and `x` ends
/// with a group or with the row.
///
/// # Safety
/// Until the next barrier no other worker reads or writes the codes of these groups.
pub(super) unsafe fn row(cx: &Run<'_>, slot: Slot, row: usize, first: usize, x: &[f32]) {
    // SAFETY: the caller's promise.
    if let Some(codes) = unsafe { Codes::new(cx, slot, row, first, x.len()) } {
        simd::run(cx.isa, Round { x, codes });
    }
}

/// The rounded form of some groups of a slot's row.
pub(super) struct Codes<'a> {
    codes: &'a mut [[i8; GROUP]],
    scales: &'a mut [f32],
    sums: &'a mut [[i32; 2]],
}

impl<'a> Codes<'a> {
    /// Those of `count` elements from `first` on, a multiple of 32; none where the slot keeps no codes.
    ///
    /// # Safety
    /// Until the next barrier no other worker reads or writes the codes of these groups.
    #[inline(always)]
    pub(super) unsafe fn new(
        cx: &'a Run<'_>,
        slot: Slot,
        row: usize,
        first: usize,
        count: usize,
    ) -> Option<Codes<'a>> {
        let place = cx.plan.slot(slot);
        if !place.rounded {
            return None;
        }
        let (n, at) = (groups(count), row * groups(place.width) + first / GROUP);
        Some(Codes {
            // SAFETY: the caller's promise.
            codes: unsafe { cx.arena.write(place.codes + at * GROUP, n) },
            // SAFETY: the caller's promise.
            scales: unsafe { cx.arena.write(place.scales + at * size_of::<f32>(), n) },
            // SAFETY: the caller's promise.
            sums: unsafe { cx.arena.write(place.sums + at * size_of::<[i32; 2]>(), n) },
        })
    }

    /// Rounds group `index`.
    #[inline(always)]
    pub(super) fn group(self, index: usize, x: &[f32; GROUP]) -> Codes<'a> {
        let codes = &mut self.codes[index];
        self.scales[index] = quantize(x, codes);
        let (halves, _) = codes.as_chunks::<16>();
        self.sums[index] = [sum(&halves[0]), sum(&halves[1])];
        self
    }
}

/// Of the codes of half a group. A closure of these would not be compiled for the instruction set that calls it.
#[inline(always)]
fn sum(codes: &[i8; GROUP / 2]) -> i32 {
    let mut sum = 0;
    for code in codes {
        sum += i32::from(*code);
    }
    sum
}

/// As [`inkstone_quant::activation::quantize`].
struct Round<'a> {
    x: &'a [f32],
    codes: Codes<'a>,
}

impl Task for Round<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (whole, rest) = self.x.as_chunks::<GROUP>();
        let mut codes = self.codes;
        for (index, x) in whole.iter().enumerate() {
            codes = codes.group(index, x);
        }
        if !rest.is_empty() {
            // What is missing is zero: it changes no maximum, and its codes are zeros.
            let mut group = [0.0; GROUP];
            group[..rest.len()].copy_from_slice(rest);
            codes.group(whole.len(), &group);
        }
    }
}

/// As [`inkstone_quant::activation::quantize_group`] of a whole group, in steps that compilers find vectors in.
#[inline(always)]
fn quantize(x: &[f32; GROUP], codes: &mut [i8; GROUP]) -> f32 {
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
        return amax / 127.0;
    }
    for (code, x) in codes.iter_mut().zip(x) {
        let bits = (x * inverse + ROUND).to_bits() as i32;
        *code = (bits - ROUND.to_bits() as i32).clamp(-127, 127) as i8;
    }
    amax / 127.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use inkstone_quant::activation::quantize_group;

    #[test]
    fn a_group_is_rounded_as_defined() {
        let mut state = 1_u32;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state
        };
        for case in 0..20_000 {
            // Any bits, or numbers of one size whose quotients meet ties.
            let x: [f32; GROUP] = core::array::from_fn(|i| match case % 3 {
                0 => f32::from_bits(next()),
                1 => (next() >> 24) as f32 - 127.5 + (i % 2) as f32 / 2.0,
                _ => f32::from_bits(next() & 0x81ff_ffff),
            });
            let (mut got, mut want) = ([1; GROUP], [2; GROUP]);
            let scales = (quantize(&x, &mut got), quantize_group(&x, &mut want));
            assert_eq!(got, want, "{x:?}");
            assert!(
                scales.0.to_bits() == scales.1.to_bits() || scales.0.is_nan() && scales.1.is_nan()
            );
        }
    }
}
