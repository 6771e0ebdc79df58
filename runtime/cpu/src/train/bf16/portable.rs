//! The instruction in plain arithmetic: for processors that lack it, and to try the rest with.

use super::{LANES, Line, Pairs};

/// Every processor has it.
#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Pairs for Portable {
    type Sums = [f32; LANES];
    type Factors = [u32; LANES];

    #[inline(always)]
    fn zero(self) -> Self::Sums {
        [0.0; LANES]
    }

    #[inline(always)]
    fn load(self, line: &Line) -> Self::Factors {
        line.0
    }

    #[inline(always)]
    fn splat(self, pair: u32) -> Self::Factors {
        [pair; LANES]
    }

    #[inline(always)]
    fn add(self, mut sums: Self::Sums, x: Self::Factors, w: Self::Factors) -> Self::Sums {
        let low = |pair: u32| f32::from_bits(pair << 16);
        let high = |pair: u32| f32::from_bits(pair & 0xffff_0000);
        for ((sum, x), w) in sums.iter_mut().zip(x).zip(w) {
            *sum = (*sum + high(x) * high(w)) + low(x) * low(w);
        }
        sums
    }

    #[inline(always)]
    fn store(self, sums: Self::Sums, to: &mut [f32], add: bool) {
        for (to, sum) in to.iter_mut().zip(sums) {
            *to = if add { *to + sum } else { sum };
        }
    }
}
