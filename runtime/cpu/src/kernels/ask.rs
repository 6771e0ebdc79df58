//! Memory is asked for what will be read, so that it is near by then. A hint: nothing is read, and addresses may be any.
#![allow(unsafe_code)]

use crate::isa::Isa;

/// Bytes ahead of a tile that kernels ask for where they multiply one panel: the second cache fetches more lines at a time
/// than the first.
pub(crate) const AHEAD: usize = 8192;

/// Bytes ahead of a tile that they want in the first cache.
#[cfg(all(target_arch = "x86_64", feature = "std"))]
const NEAR: usize = 2048;

/// Bytes that come at once.
const LINE: usize = 64;

/// How the weights of a matrix are best read where rows of activations are few.
pub(crate) struct Streams {
    /// Whether kernels ask. To ask for kernels that do not is slower than not to: processors that look ahead by themselves
    /// are led astray.
    pub(crate) asked: bool,
    /// Rows of activations up to which panels are read one after the other, as they lie.
    pub(crate) rows: usize,
}

/// Those of an instruction set's kernels. AMX wants two panels for sixteen rows.
pub(crate) const fn streams(isa: Isa) -> Streams {
    let (asked, rows) = match isa {
        Isa::Avx2 | Isa::Avx512 => (true, 24),
        Isa::Amx => (true, 2),
        _ => (false, 2),
    };
    Streams { asked, rows }
}

/// Asks for what a kernel wants to find ahead of a tile of `bytes` bytes, which are constant.
#[cfg(all(target_arch = "x86_64", feature = "std"))]
#[inline(always)]
pub(super) fn ahead(tile: *const u8, bytes: usize) {
    use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    let mut line = 0;
    while line < bytes {
        second_cache(tile.wrapping_add(AHEAD + line));
        #[allow(unused_unsafe, reason = "later compilers have it safe")]
        // SAFETY: a hint, which reads nothing.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(tile.wrapping_add(NEAR + line).cast());
        }
        line += LINE;
    }
}

/// Asks the second cache for `bytes` bytes from `from` on.
pub(crate) fn far(from: *const u8, bytes: usize) {
    for line in (0..bytes).step_by(LINE) {
        second_cache(from.wrapping_add(line));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn second_cache(line: *const u8) {
    use core::arch::x86_64::{_MM_HINT_T1, _mm_prefetch};
    #[allow(unused_unsafe, reason = "later compilers have it safe")]
    // SAFETY: a hint, which reads nothing.
    unsafe {
        _mm_prefetch::<_MM_HINT_T1>(line.cast());
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn second_cache(_: *const u8) {}
