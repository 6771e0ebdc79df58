//! Loops of the instructions that kernels multiply with.
#![allow(unsafe_code)]

use core::arch::x86_64::*;
use core::hint::black_box;

use super::Products;
use crate::isa::{Isa, Ready};
use crate::kernels::amx;

/// Sums side by side: enough to hide the latency of an instruction.
const SUMS: usize = 12;

pub(super) fn probe(isa: Ready) -> Option<Products> {
    let (bytes, run): (u64, fn(u64) -> i32) = match isa.isa() {
        // SAFETY: the instructions are there, as `Ready` proves.
        Isa::Avx512 => (64, |turns| unsafe { avx512(turns) }),
        Isa::Amx => {
            return Some(Products {
                each: amx::OPERATIONS,
                // SAFETY: the registers are there, as `Ready` proves.
                run: |turns| unsafe { amx::turn(turns) },
            });
        }
        // SAFETY: the instructions are there, as `Ready` proves.
        Isa::Avx2 => (32, |turns| unsafe { avx2(turns) }),
        _ => return None,
    };
    let each = SUMS as u64 * bytes * 2;
    Some(Products { each, run })
}

#[target_feature(enable = "avx512f,avx512vnni")]
fn avx512(turns: u64) -> i32 {
    let (w, a) = black_box((_mm512_set1_epi8(3), _mm512_set1_epi8(1)));
    let mut sums = [_mm512_setzero_si512(); SUMS];
    for _ in 0..turns {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, w, a);
        }
    }
    let all = sums
        .into_iter()
        .fold(_mm512_setzero_si512(), |a, b| _mm512_add_epi32(a, b));
    _mm512_reduce_add_epi32(all)
}

#[target_feature(enable = "avx2")]
fn avx2(turns: u64) -> i32 {
    let (w, a, ones) = black_box((
        _mm256_set1_epi8(3),
        _mm256_set1_epi8(1),
        _mm256_set1_epi16(1),
    ));
    let mut sums = [_mm256_setzero_si256(); SUMS];
    for _ in 0..turns {
        for sum in &mut sums {
            // What depends on the sum cannot be moved out of the loop.
            let pairs = _mm256_maddubs_epi16(_mm256_xor_si256(w, *sum), a);
            *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(pairs, ones));
        }
    }
    let all = sums
        .into_iter()
        .fold(_mm256_setzero_si256(), |a, b| _mm256_add_epi32(a, b));
    _mm256_extract_epi32::<0>(all)
}
