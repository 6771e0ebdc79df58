//! Where a kernel stands in its job: what it walks through tile by tile, without a bound to check at each step.
#![allow(unsafe_code)]

use inkstone_quant::{GROUP, PANEL};

use super::Job;

/// Pointers to the current tile of `P` panels and `T` rows. Beyond the last tile they are not followed.
pub(super) struct At<const P: usize, const T: usize> {
    /// Codes of weights.
    pub(super) tiles: [*const u8; P],
    /// Scales of the tile's first group.
    pub(super) scales: [*const f32; P],
    /// Minima of the tile's first group; all panels of a job have them, or none.
    pub(super) minima: Option<[*const f32; P]>,
    /// Codes of activations.
    pub(super) codes: [*const i8; T],
    /// Scales of activations.
    pub(super) scales_a: [*const f32; T],
    /// Two sums of activations.
    sums: [*const i32; T],
}

impl<const P: usize, const T: usize> At<P, T> {
    /// The first tile of panels `0 .. P`, and of rows `first .. first + T`.
    #[inline(always)]
    pub(super) fn new(job: &Job<'_>, first: usize) -> At<P, T> {
        let (panels, rows) = (&job.panels[..P], &job.rows);
        let cell = |t: usize| (first + t) * rows.groups;
        let minima = panels[0].minima.is_some();
        At {
            tiles: core::array::from_fn(|p| panels[p].tiles.as_ptr()),
            scales: core::array::from_fn(|p| panels[p].scales.as_ptr().cast()),
            minima: minima.then(|| {
                core::array::from_fn(|p| panels[p].minima.map_or(&[][..], |m| m).as_ptr().cast())
            }),
            codes: core::array::from_fn(|t| rows.codes.as_ptr().wrapping_add(cell(t) * GROUP)),
            scales_a: core::array::from_fn(|t| rows.scales.as_ptr().wrapping_add(cell(t))),
            sums: core::array::from_fn(|t| rows.sums.as_ptr().wrapping_add(cell(t) * 2)),
        }
    }

    /// Sums of the codes of the first and of the second half of the group, for each row.
    ///
    /// # Safety
    /// Not beyond the last tile.
    #[inline(always)]
    pub(super) unsafe fn sums(&self) -> [[i32; T]; 2] {
        // Closures would not be inlined into functions of other instruction sets, here and below.
        let mut sums = [[0; T]; 2];
        for (t, from) in self.sums.iter().enumerate() {
            // SAFETY: the caller's promise: a row has two sums for each tile.
            sums[0][t] = unsafe { **from };
            // SAFETY: as above.
            sums[1][t] = unsafe { *from.add(1) };
        }
        sums
    }

    /// On to the next tile: `bytes` of codes and `groups` of scales further.
    #[inline(always)]
    pub(super) fn step(&mut self, bytes: usize, groups: usize) {
        for p in 0..P {
            self.tiles[p] = self.tiles[p].wrapping_add(bytes);
            self.scales[p] = self.scales[p].wrapping_add(groups * PANEL);
        }
        if let Some(minima) = &mut self.minima {
            for minima in minima {
                *minima = minima.wrapping_add(groups * PANEL);
            }
        }
        for t in 0..T {
            self.codes[t] = self.codes[t].wrapping_add(GROUP);
            self.scales_a[t] = self.scales_a[t].wrapping_add(1);
            self.sums[t] = self.sums[t].wrapping_add(2);
        }
    }
}

/// Sums of whole groups.
#[inline(always)]
pub(super) fn both<const T: usize>(low: &[i32; T], high: &[i32; T]) -> [i32; T] {
    let mut sums = *low;
    for t in 0..T {
        sums[t] += high[t];
    }
    sums
}
