//! Where a code stands: panels of output rows, in them tiles of 32 inputs, in them bit planes of 32-bit lanes.
//!
//! A tile of `rows` rows × 32 inputs holds, for a plane of `w` bits, `w` vectors of `rows` lanes × 4 bytes. Byte `b` of
//! lane `r` carries inputs `4q + b` of row `r`, one quad `q` for each `w` bits of the byte. Sixteen rows make one
//! 64-byte vector; one row makes the row-major form of the same layout, used for matrices that are only looked up.

use crate::GROUP;

/// Quads of four inputs in a tile.
pub const QUADS: usize = GROUP / 4;

/// Vector and shift of quad `q` in a plane of `width` bits (8, 4, 2 or 1).
#[inline(always)]
pub const fn place(width: usize, q: usize) -> (usize, usize) {
    match width {
        8 => (q, 0),
        4 => (q % 4, 4 * (q / 4)),
        2 => (q / 4, 2 * (q % 4)),
        _ => (0, q),
    }
}

/// Bytes of one plane of a tile.
#[inline(always)]
pub const fn plane_bytes(width: usize, rows: usize) -> usize {
    width * rows * 4
}

/// `n` rounded up to a multiple of `step`; `None` on overflow.
#[inline]
pub fn round_up(n: u64, step: u64) -> Option<u64> {
    n.div_ceil(step).checked_mul(step)
}
