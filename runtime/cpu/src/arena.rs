//! One block of bytes that all workers share, seen as typed slices.
//!
//! Two workers must never hold overlapping slices of which one is mutable. What keeps them apart: between two
//! barriers an operation writes rows, heads or panels of outputs that [`share`] gives to one worker each, its scratch
//! belongs to the worker alone, and what it reads was written before the last barrier.
#![allow(unsafe_code)]

use core::marker::PhantomData;
use core::ops::Range;

/// Alignment of an arena and of every buffer in it.
pub(crate) const ALIGNMENT: usize = 64;

/// Numbers that any bytes are a value of.
///
/// # Safety
/// Every bit pattern is a value, there is no padding.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: an integer.
unsafe impl Plain for u8 {}
// SAFETY: an integer.
unsafe impl Plain for i8 {}
// SAFETY: an integer.
unsafe impl Plain for u16 {}
// SAFETY: an integer.
unsafe impl Plain for i32 {}
// SAFETY: every bit pattern is a float.
unsafe impl Plain for f32 {}
// SAFETY: an array of a plain type has its size and its values.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// A block of bytes, borrowed for as long as `'a`.
#[derive(Clone, Copy)]
pub(crate) struct Arena<'a> {
    start: *mut u8,
    bytes: usize,
    borrow: PhantomData<&'a mut [u8]>,
}

// SAFETY: it is only an address; slices are made under the rule above.
unsafe impl Send for Arena<'_> {}
// SAFETY: it is only an address; slices are made under the rule above.
unsafe impl Sync for Arena<'_> {}

impl<'a> Arena<'a> {
    pub(crate) fn new(bytes: &'a mut [u8]) -> Arena<'a> {
        Arena {
            start: bytes.as_mut_ptr(),
            bytes: bytes.len(),
            borrow: PhantomData,
        }
    }

    fn check<T>(&self, offset: usize, count: usize) {
        let end = count
            .checked_mul(size_of::<T>())
            .and_then(|n| n.checked_add(offset));
        assert!(
            end.is_some_and(|end| end <= self.bytes),
            "a buffer within the arena"
        );
        let address = (self.start as usize).wrapping_add(offset);
        assert!(
            address.is_multiple_of(align_of::<T>()),
            "a buffer at a multiple of its numbers' size"
        );
    }

    /// `count` numbers from byte `offset` on.
    ///
    /// # Safety
    /// Until the next barrier no worker writes them.
    #[inline]
    pub(crate) unsafe fn read<T: Plain>(&self, offset: usize, count: usize) -> &'a [T] {
        self.check::<T>(offset, count);
        // SAFETY: the range was checked to lie within the arena.
        let start = unsafe { self.start.add(offset) };
        // SAFETY: in range and aligned as checked, and the caller promises that nobody writes there.
        unsafe { core::slice::from_raw_parts(start.cast(), count) }
    }

    /// `count` numbers from byte `offset` on, to be written.
    ///
    /// # Safety
    /// Until the next barrier nobody else reads or writes them.
    #[allow(clippy::mut_from_ref)]
    #[inline]
    pub(crate) unsafe fn write<T: Plain>(&self, offset: usize, count: usize) -> &'a mut [T] {
        self.check::<T>(offset, count);
        // SAFETY: the range was checked to lie within the arena.
        let start = unsafe { self.start.add(offset) };
        // SAFETY: in range and aligned as checked, and the caller promises that nobody else is there.
        unsafe { core::slice::from_raw_parts_mut(start.cast(), count) }
    }
}

/// `count` numbers from byte `offset` of a block on.
pub(crate) fn numbers(bytes: &mut [u8], offset: usize, count: usize) -> &mut [f32] {
    // SAFETY: the view is made from the only reference there is.
    unsafe { Arena::new(bytes).write(offset, count) }
}

/// The bytes of numbers that are not needed as such.
pub(crate) fn quads_of(numbers: &mut [f32]) -> &mut [[i8; 4]] {
    let (start, count) = (numbers.as_mut_ptr(), numbers.len());
    // SAFETY: four bytes take the place of each number, every bit pattern is a value of both, and they need no alignment.
    unsafe { core::slice::from_raw_parts_mut(start.cast(), count) }
}

/// The bytes of numbers.
pub(crate) fn bytes_of(numbers: &mut [f32]) -> &mut [u8] {
    let (start, bytes) = (numbers.as_mut_ptr(), size_of_val(numbers));
    // SAFETY: as above.
    unsafe { core::slice::from_raw_parts_mut(start.cast(), bytes) }
}

/// The part of `units` that falls to worker `index` of `count`: contiguous, each unit to exactly one.
pub(crate) fn share(units: usize, index: usize, count: usize) -> Range<usize> {
    let start = |index: usize| units / count * index + (units % count).min(index);
    start(index)..start(index + 1)
}

/// Cuts `n` values off the front.
pub(crate) fn cut<'a, T>(from: &mut &'a mut [T], n: usize) -> &'a mut [T] {
    let (front, rest) = core::mem::take(from).split_at_mut(n);
    *from = rest;
    front
}

#[cfg(test)]
mod tests {
    use super::share;

    #[test]
    fn shares_cover_every_unit_once() {
        for units in 0..40 {
            for count in 1..9 {
                let mut next = 0;
                for index in 0..count {
                    let range = share(units, index, count);
                    assert_eq!(range.start, next);
                    assert!(range.len() <= units.div_ceil(count));
                    next = range.end;
                }
                assert_eq!(next, units);
            }
        }
    }
}
