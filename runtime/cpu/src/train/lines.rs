//! Numbers that begin where a line of the cache does: vectors and matrix registers read and write whole lines.
#![allow(unsafe_code)]

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::slice;
use std::vec::Vec;

/// Words of a line.
pub(super) const LANES: usize = 16;

/// A line: sixteen numbers, or as many pairs of bf16.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [u32; LANES]);

/// A vector of numbers, or of words, that begins a line.
#[derive(Debug, Clone, Default)]
pub struct Lines<T> {
    lines: Vec<Line>,
    len: usize,
    numbers: PhantomData<T>,
}

/// What fills lines: four bytes of which any are valid.
pub trait Word: sealed::Word {}
impl Word for f32 {}
impl Word for u32 {}

mod sealed {
    pub trait Word: Copy {}
    impl Word for f32 {}
    impl Word for u32 {}
}

impl<T: Word> Lines<T> {
    /// `len` zeros.
    #[must_use]
    pub fn zeros(len: usize) -> Lines<T> {
        let mut lines = Lines {
            lines: Vec::new(),
            len: 0,
            numbers: PhantomData,
        };
        lines.resize(len);
        lines
    }

    /// Makes it `len` long; what is new may be zero or what once stood there.
    pub fn resize(&mut self, len: usize) {
        self.lines.resize(len.div_ceil(LANES), Line([0; LANES]));
        self.len = len;
    }
}

impl Lines<u32> {
    /// Its bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: a word is as many bytes, all of which are written.
        unsafe { slice::from_raw_parts(self.lines.as_ptr().cast(), self.len * size_of::<u32>()) }
    }

    /// Its bytes, to be written.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and any bytes are a word.
        unsafe {
            slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len * size_of::<u32>())
        }
    }
}

impl<T: Word> Deref for Lines<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: there are as many words, and any of them is a `T`.
        unsafe { slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl<T: Word> DerefMut for Lines<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and any `T` is a word.
        unsafe { slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}
