//! Four vectors of 128 bits, of WebAssembly, which has no f16: they are made of integers.
#![allow(unsafe_code)]

use core::arch::wasm32::*;
use core::array::from_fn;

use super::{LANES, Simd};

/// Needs nothing: a module without the instructions would not hold this.
#[derive(Clone, Copy)]
pub(crate) struct Simd128;

/// Sixteen lanes of 32 bits.
type Vectors = [v128; 4];

impl Simd for Simd128 {
    type F = Vectors;
    type I = Vectors;
    const ACCUMULATORS: usize = 2;
    const DEAR_F16: bool = true;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [f32x4_splat(x); 4]
    }

    #[inline(always)]
    fn load(self, x: &[f32; LANES]) -> Self::F {
        // SAFETY: the reference is to as many bytes as are read.
        from_fn(|i| unsafe { v128_load(x[4 * i..].as_ptr().cast()) })
    }

    #[inline(always)]
    fn load_f16(self, x: &[u16; LANES]) -> Self::F {
        // SAFETY: the reference is to as many bytes as are read.
        widen([0, 8].map(|i| unsafe { v128_load(x[i..].as_ptr().cast()) }))
    }

    #[inline(always)]
    fn load_f16_bytes(self, x: &[[u8; 2]; LANES]) -> Self::F {
        // SAFETY: the reference is to as many bytes as are read.
        widen([0, 8].map(|i| unsafe { v128_load(x[i..].as_ptr().cast()) }))
    }

    #[inline(always)]
    fn load_i8(self, x: &[i8; LANES]) -> Self::F {
        // SAFETY: the reference is to as many bytes as are read.
        let words = [0, 8].map(|i| unsafe { i16x8_load_extend_i8x8(x[i..].as_ptr()) });
        self.to_f32(from_fn(|i| {
            if i % 2 == 0 {
                i32x4_extend_low_i16x8(words[i / 2])
            } else {
                i32x4_extend_high_i16x8(words[i / 2])
            }
        }))
    }

    #[inline(always)]
    fn store(self, x: Self::F, to: &mut [f32; LANES]) {
        for (x, to) in x.into_iter().zip(to.as_chunks_mut::<4>().0) {
            // SAFETY: the reference is to as many bytes as are written.
            unsafe { v128_store(to.as_mut_ptr().cast(), x) };
        }
    }

    #[inline(always)]
    fn store_f16(self, x: Self::F, to: &mut [u16; LANES]) {
        let [a, b, c, d] = x.map(narrow);
        let halves = [u16x8_narrow_i32x4(a, b), u16x8_narrow_i32x4(c, d)];
        for (half, to) in halves.into_iter().zip(to.as_chunks_mut::<8>().0) {
            // SAFETY: the reference is to as many bytes as are written.
            unsafe { v128_store(to.as_mut_ptr().cast(), half) };
        }
    }

    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        from_fn(|i| f32x4_add(a[i], b[i]))
    }

    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        from_fn(|i| f32x4_mul(a[i], b[i]))
    }

    #[inline(always)]
    fn add_exact(self, sum: Self::F, a: Self::F, b: Self::F) -> Self::F {
        self.add(sum, self.mul(a, b))
    }

    #[inline(always)]
    fn zero(self) -> Self::I {
        [i32x4_splat(0); 4]
    }

    #[inline(always)]
    fn dot(self, sum: Self::I, k: &[[i8; 4]; LANES], q: [i8; 4]) -> Self::I {
        let [q_even, q_odd] = split(i32x4_splat(i32::from_le_bytes(q.map(|q| q as u8))));
        from_fn(|i| {
            // SAFETY: four lanes of `k` are 16 bytes.
            let [even, odd] = split(unsafe { v128_load(k[4 * i..].as_ptr().cast()) });
            let sum = i32x4_add(sum[i], i32x4_dot_i16x8(even, q_even));
            i32x4_add(sum, i32x4_dot_i16x8(odd, q_odd))
        })
    }

    #[inline(always)]
    fn to_f32(self, x: Self::I) -> Self::F {
        x.map(|x| f32x4_convert_i32x4(x))
    }
}

/// Signed bytes 0, 2 … in 16 bits, and bytes 1, 3 ….
#[inline(always)]
fn split(bytes: v128) -> [v128; 2] {
    [i16x8_shr(i16x8_shl(bytes, 8), 8), i16x8_shr(bytes, 8)]
}

/// f16 to f32, exact.
#[inline(always)]
fn widen(halves: [v128; 2]) -> Vectors {
    from_fn(|i| {
        let half = halves[i / 2];
        let wide = if i % 2 == 0 {
            i32x4_extend_low_i16x8(half)
        } else {
            i32x4_extend_high_i16x8(half)
        };
        // Exponent and fraction where those of an f32 are. What the exponent lacks is a product, which holds for
        // denormals too.
        let bits = v128_and(i32x4_shl(wide, 13), i32x4_splat(0x0fff_e000));
        let number = f32x4_mul(bits, f32x4_splat(f32::from_bits((127 + 112) << 23)));
        // Infinities and NaNs have all bits of the exponent.
        let special = i32x4_gt(bits, i32x4_splat(0x0f7f_ffff));
        let number = v128_or(number, v128_and(special, i32x4_splat(0x7f80_0000)));
        v128_or(number, v128_and(wide, i32x4_splat(i32::MIN)))
    })
}

/// f32 to the bits of f16 in the low half of each lane, to nearest, ties to even.
#[inline(always)]
fn narrow(x: v128) -> v128 {
    let sign = v128_and(x, i32x4_splat(i32::MIN));
    // NaN stays NaN.
    let x = f32x4_min(f32x4_abs(x), f32x4_splat(65504.0));
    // The last bit that stays is rounded to by what comes below it: half of it less one, and one more where it is odd.
    let odd = v128_and(u32x4_shr(x, 13), i32x4_splat(1));
    let rounded = i32x4_add(i32x4_add(x, odd), i32x4_splat(0x0fff - (112 << 23)));
    // Below the least normal f16 the sum with a half ends where a denormal f16 does.
    let small = i32x4_sub(f32x4_add(x, f32x4_splat(0.5)), f32x4_splat(0.5));
    let denormal = f32x4_lt(x, f32x4_splat(f32::from_bits(113 << 23)));
    let half = v128_bitselect(small, u32x4_shr(rounded, 13), denormal);
    let half = v128_bitselect(i32x4_splat(0x7e00), half, f32x4_ne(x, x));
    v128_or(half, u32x4_shr(sign, 16))
}
