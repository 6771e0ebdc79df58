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
pub(crate) struct Codes<'a> {
    pub(crate) codes: &'a mut [[i8; GROUP]],
    pub(crate) scales: &'a mut [f32],
    pub(crate) sums: &'a mut [[i32; 2]],
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
    pub(super) fn group<S: Simd>(&mut self, simd: S, index: usize, x: &[f32; GROUP]) {
        let (scale, sums) = simd.round(x, &mut self.codes[index]);
        self.scales[index] = scale;
        self.sums[index] = sums;
    }
}

/// As [`inkstone_quant::activation::quantize`].
pub(crate) struct Round<'a> {
    pub(crate) x: &'a [f32],
    pub(crate) codes: Codes<'a>,
}

impl Task for Round<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (whole, rest) = self.x.as_chunks::<GROUP>();
        let mut codes = self.codes;
        for (index, x) in whole.iter().enumerate() {
            codes.group(simd, index, x);
        }
        if !rest.is_empty() {
            // What is missing is zero: it changes no maximum, and its codes are zeros.
            let mut group = [0.0; GROUP];
            group[..rest.len()].copy_from_slice(rest);
            codes.group(simd, whole.len(), &group);
        }
    }
}
