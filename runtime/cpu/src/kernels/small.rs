//! Integer products where there are no vectors and little memory: tiles are read as they are, a word at a time.
//!
//! Two 16-bit products at once are an instruction of Arm's DSP extension (`smlad`), and plain Rust elsewhere.

use inkstone_quant::codes::Levels;
use inkstone_quant::{Codes, PANEL};

use super::portable::{QUADS, Unpack};

/// Dots of the quads from `first` on with each row.
#[inline(always)]
pub(super) fn dot<C: Unpack>(tile: &[u8], first: usize, codes: &[[i8; 4]]) -> [i32; PANEL] {
    let (words, _) = tile.as_chunks::<4>();
    if const { matches!(C::CODES.levels, Levels::Table(_)) } {
        let codes = codes.try_into().expect("tables have one scale a tile");
        looked_up(words, const { &pairs(C::CODES) }, codes)
    } else {
        bytes::<C>(words, first, codes)
    }
}

/// The levels of both nibbles of a byte, the low one in the low half of a word.
const fn pairs(codes: &Codes) -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (low, high) = (codes.level(byte as u8 & 15), codes.level(byte as u8 >> 4));
        table[byte] = pair(low as i16, high as i16);
        byte += 1;
    }
    table
}

const fn pair(low: i16, high: i16) -> u32 {
    low as u16 as u32 | (high as u16 as u32) << 16
}

/// Byte `b` of vector `v` holds input `b` of quads `v` and `v + 4`.
#[inline(never)]
fn looked_up(words: &[[u8; 4]], levels: &[u32; 256], codes: &[[i8; 4]; QUADS]) -> [i32; PANEL] {
    let mut inputs = [[0; 4]; QUADS / 2];
    for (v, inputs) in inputs.iter_mut().enumerate() {
        for (b, input) in inputs.iter_mut().enumerate() {
            *input = pair(i16::from(codes[v][b]), i16::from(codes[v + QUADS / 2][b]));
        }
    }
    let mut sums = [0; PANEL];
    for (words, inputs) in words.as_chunks::<PANEL>().0.iter().zip(&inputs) {
        for (sum, word) in sums.iter_mut().zip(words) {
            let word = u32::from_le_bytes(*word);
            let level = |b: u32| levels[(word >> (8 * b)) as usize & 255];
            *sum = two_products(level(0), inputs[0], *sum);
            *sum = two_products(level(1), inputs[1], *sum);
            *sum = two_products(level(2), inputs[2], *sum);
            *sum = two_products(level(3), inputs[3], *sum);
        }
    }
    sums
}

/// Linear levels: unsigned products, corrected once for what the code of zero is.
#[inline(always)]
fn bytes<C: Unpack>(words: &[[u8; 4]], first: usize, codes: &[[i8; 4]]) -> [i32; PANEL] {
    let total: i32 = codes.as_flattened().iter().map(|c| i32::from(*c)).sum();
    let mut sums = [-total * const { C::CODES.bias() }; PANEL];
    for (i, codes) in codes.iter().enumerate() {
        let [a, b, c, d] = codes.map(i16::from);
        let (even, odd) = (pair(a, c), pair(b, d));
        for (row, sum) in sums.iter_mut().enumerate() {
            let quad = quad::<C>(words, row, first + i);
            *sum = two_products(even_bytes(quad), even, *sum);
            *sum = two_products(even_bytes(quad >> 8), odd, *sum);
        }
    }
    sums
}

/// The codes of a row's quad, a byte each: see `inkstone_quant::layout`.
#[inline(always)]
fn quad<C: Unpack>(words: &[[u8; 4]], row: usize, q: usize) -> u32 {
    let word = |vector: usize| u32::from_le_bytes(words[vector * PANEL + row]);
    let low = || word(q % 4) >> (4 * (q / 4)) & 0x0f0f_0f0f;
    match const { C::CODES.bits() } {
        8 => word(q),
        6 => low() | (word(4 + q / 4) >> (2 * (q % 4)) & 0x0303_0303) << 4,
        5 => low() | (word(4) >> q & 0x0101_0101) << 4,
        _ => low(),
    }
}

#[cfg(all(target_arch = "arm", feature = "dsp"))]
use dsp::{even_bytes, two_products};
#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
use plain::{even_bytes, two_products};

#[cfg(not(all(target_arch = "arm", feature = "dsp")))]
mod plain {
    /// `sum` and the products of the signed halves of two words.
    #[inline(always)]
    pub(super) fn two_products(a: u32, b: u32, sum: i32) -> i32 {
        let product = |shift: u32| i32::from((a >> shift) as i16) * i32::from((b >> shift) as i16);
        sum + product(0) + product(16)
    }

    /// Bytes 0 and 2 as the halves of a word.
    #[inline(always)]
    pub(super) fn even_bytes(x: u32) -> u32 {
        x & 0x00ff_00ff
    }
}

#[cfg(all(target_arch = "arm", feature = "dsp"))]
mod dsp {
    //! Instructions of the DSP extension, which the compiler finds by itself in few of these places.
    #![allow(unsafe_code)]

    use core::arch::asm;

    /// `sum` and the products of the signed halves of two words.
    #[inline(always)]
    pub(super) fn two_products(a: u32, b: u32, sum: i32) -> i32 {
        let out;
        // SAFETY: the feature says that the processor has the instruction, which touches registers only.
        unsafe {
            asm!("smlad {out}, {a}, {b}, {sum}", out = lateout(reg) out, a = in(reg) a, b = in(reg) b,
                sum = in(reg) sum, options(pure, nomem, nostack, preserves_flags));
        }
        out
    }

    /// Bytes 0 and 2 as the halves of a word.
    #[inline(always)]
    pub(super) fn even_bytes(x: u32) -> u32 {
        let out;
        // SAFETY: the feature says that the processor has the instruction, which touches registers only.
        unsafe {
            asm!("uxtb16 {out}, {x}", out = lateout(reg) out, x = in(reg) x,
                options(pure, nomem, nostack, preserves_flags));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::{eight, five, four, six};

    #[test]
    fn a_tile_read_as_it_is_gives_the_dots_of_its_levels() {
        check::<eight::portable::Bytes>();
        check::<four::portable::Signed>();
        check::<four::portable::Unsigned>();
        check::<four::portable::Table>();
        check::<five::portable::Signed>();
        check::<five::portable::Unsigned>();
        check::<six::portable::Signed>();
    }

    fn check<C: Unpack>() {
        let tile: std::vec::Vec<u8> = (0..C::CODES.tile_bytes(PANEL))
            .map(|i| (i as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0])
            .collect();
        let code = |i: usize| ((i as u32 + 7).wrapping_mul(2_246_822_519) >> 24) as i8;
        let codes: [[i8; 4]; QUADS] =
            core::array::from_fn(|q| core::array::from_fn(|b| code(4 * q + b).max(-127)));
        let level = |row, input| C::CODES.level(C::CODES.get(&tile, PANEL, row, input));
        let sum = |row: usize, quads: core::ops::Range<usize>| -> i32 {
            let inputs = quads.flat_map(|q| (0..4).map(move |b| (q, b)));
            inputs
                .map(|(q, b)| level(row, 4 * q + b) * i32::from(codes[q][b]))
                .sum()
        };
        let whole: [i32; PANEL] = core::array::from_fn(|row| sum(row, 0..QUADS));
        assert_eq!(dot::<C>(&tile, 0, &codes), whole, "{}", C::CODES.name);
        if matches!(C::CODES.levels, Levels::Linear { .. }) {
            let half: [i32; PANEL] = core::array::from_fn(|row| sum(row, 4..QUADS));
            assert_eq!(dot::<C>(&tile, 4, &codes[4..]), half, "{}", C::CODES.name);
        }
    }
}
