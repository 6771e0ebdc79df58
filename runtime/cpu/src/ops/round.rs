//! The rounded form of slots whose rows integer formats multiply.
#![allow(unsafe_code)]

use inkstone_model::Slot;
use inkstone_quant::GROUP;
use inkstone_quant::activation::{groups, quantize_group};

use super::Run;
use crate::simd::{self, Simd, Task};

/// Rounds `x`, elements `first` on of a slot's row, if the slot keeps codes. `first` is a multiple of 32, and `x` ends
/// with a group or with the row.
///
/// # Safety
/// Until the next barrier no other worker reads or writes the codes of these groups.
pub(super) unsafe fn row(cx: &Run<'_>, slot: Slot, row: usize, first: usize, x: &[f32]) {
    let place = cx.plan.slot(slot);
    if !place.rounded {
        return;
    }
    let (n, at) = (groups(x.len()), row * groups(place.width) + first / GROUP);
    // SAFETY: the caller's promise.
    let codes = unsafe { cx.arena.write(place.codes + at * GROUP, n * GROUP) };
    // SAFETY: the caller's promise.
    let scales = unsafe { cx.arena.write(place.scales + at * size_of::<f32>(), n) };
    // SAFETY: the caller's promise.
    let sums = unsafe { cx.arena.write(place.sums + at * 2 * size_of::<i32>(), n * 2) };
    simd::run(cx.isa, Round { x, codes, scales, sums });
}

/// As [`inkstone_quant::activation::quantize`].
struct Round<'a> {
    x: &'a [f32],
    codes: &'a mut [i8],
    scales: &'a mut [f32],
    sums: &'a mut [i32],
}

impl Task for Round<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let (codes, _) = self.codes.as_chunks_mut::<GROUP>();
        let (sums, _) = self.sums.as_chunks_mut::<2>();
        let outputs = codes.iter_mut().zip(self.scales).zip(sums);
        for (x, ((codes, scale), sums)) in self.x.chunks(GROUP).zip(outputs) {
            // A whole group has a length that the compiler knows.
            *scale = match x.as_array::<GROUP>() {
                Some(x) => quantize_group(x, codes),
                None => quantize_group(x, codes),
            };
            for (sum, half) in sums.iter_mut().zip(codes.as_chunks::<16>().0) {
                *sum = half.iter().map(|&c| i32::from(c)).sum();
            }
        }
    }
}
