//! Every instruction set gives the bits of the portable form.

use core::array::from_fn;
use std::vec::Vec;

use inkstone_quant::GROUP;
use inkstone_quant::activation::quantize_group;

use super::{LANES, Portable, Simd, Task, run};
use crate::isa::{ISAS, Ready};

/// Bits of a number; all NaNs are one.
fn bits(x: f32) -> u32 {
    if x.is_nan() { u32::MAX } else { x.to_bits() }
}

fn stored<S: Simd>(simd: S, x: S::F) -> [u32; LANES] {
    let mut to = [0.0; LANES];
    simd.store(x, &mut to);
    to.map(bits)
}

/// Numbers of every f16, from both forms they are read in.
struct Halves;

impl Task for Halves {
    type Out = Vec<[u32; LANES]>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Out {
        let rows = (0..=u16::MAX).step_by(LANES);
        let each = rows.flat_map(|first| {
            let halves: [u16; LANES] = from_fn(|i| first + i as u16);
            let bytes = halves.map(u16::to_le_bytes);
            [simd.load_f16(&halves), simd.load_f16_bytes(&bytes)].map(|x| stored(simd, x))
        });
        each.collect()
    }
}

/// f16 of numbers at, beside and between all f16, of infinities and NaNs, and of what is out of range.
struct Rounded;

impl Task for Rounded {
    type Out = Vec<[u16; LANES]>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Out {
        // Steps of less than half an f16's, and never in step with it.
        let rows = (0..=u32::MAX).step_by(LANES * 0x0e3f);
        let each = rows.map(|first| {
            let ties = |i: usize| (first >> 12 << 12).wrapping_add((i as u32 >> 1) * 0x0800);
            let x = from_fn(|i| f32::from_bits(ties(i).wrapping_add(i as u32 & 1)));
            let mut to = [0; LANES];
            simd.store_f16(simd.load(&x), &mut to);
            to.map(|half| {
                if half & 0x7fff > 0x7c00 {
                    u16::MAX
                } else {
                    half
                }
            })
        });
        each.collect()
    }
}

/// Sums and products, of numbers and of codes.
struct Arithmetic;

impl Task for Arithmetic {
    type Out = Vec<[u32; LANES]>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Out {
        let mut all = Vec::new();
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        let mut noise = move || {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed
        };
        for ends in [false, true] {
            // Never −128.
            let code = move |noise: u64| match (ends, noise & 1) {
                (true, 0) => -127,
                (true, _) => 127,
                _ => (noise % 255) as u8 as i8 | 1,
            };
            let mut sum = simd.zero();
            for _ in 0..200 {
                let [a, b]: [[f32; LANES]; 2] =
                    from_fn(|_| from_fn(|_| f32::from_bits(noise() as u32)));
                let (x, y) = (simd.load(&a), simd.load(&b));
                let k = from_fn(|_| from_fn(|_| code(noise())));
                let q: [i8; 4] = from_fn(|_| code(noise()));
                sum = simd.dot(sum, &k, q);
                let codes = from_fn(|_| noise() as i8);
                all.extend(
                    [
                        simd.add(x, y),
                        simd.mul(x, y),
                        simd.splat(a[0]),
                        simd.to_f32(sum),
                        simd.load_i8(&codes),
                    ]
                    .map(|x| stored(simd, x)),
                );
            }
        }
        all
    }
}

/// Rounded groups of any bits, and of numbers whose quotients meet ties.
struct Groups;

impl Task for Groups {
    type Out = Vec<([i8; GROUP], u32, [i32; 2])>;

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) -> Self::Out {
        let each = groups().map(|x| {
            let mut codes = [1; GROUP];
            let (scale, sums) = simd.round(&x, &mut codes);
            (codes, bits(scale), sums)
        });
        each.collect()
    }
}

fn groups() -> impl Iterator<Item = [f32; GROUP]> {
    let mut state = 1_u32;
    (0..20_000).map(move |case| {
        from_fn(|i| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match case % 3 {
                0 => f32::from_bits(state),
                1 => (state >> 24) as f32 - 127.5 + (i % 2) as f32 / 2.0,
                _ => f32::from_bits(state & 0x81ff_ffff),
            }
        })
    })
}

/// `task` on every instruction set as in the portable form.
fn equal<T: Task<Out: PartialEq>>(task: impl Fn() -> T) {
    let want = task().run(Portable);
    for (name, isa) in ISAS {
        let Ok(ready) = Ready::new(*isa) else {
            continue;
        };
        assert!(run(ready, task()) == want, "{name}");
    }
}

#[test]
fn every_f16_is_read_alike() {
    equal(|| Halves);
}

#[test]
fn f16_are_rounded_alike() {
    equal(|| Rounded);
}

#[test]
fn sums_and_products_are_alike() {
    equal(|| Arithmetic);
}

#[test]
fn groups_are_rounded_as_defined() {
    equal(|| Groups);
    for (x, (codes, scale, sums)) in groups().zip(Groups.run(Portable)) {
        let mut want = [2; GROUP];
        let want_scale = quantize_group(&x, &mut want);
        assert_eq!((codes, scale), (want, bits(want_scale)), "{x:?}");
        let halves = [&want[..GROUP / 2], &want[GROUP / 2..]];
        assert_eq!(
            sums,
            halves.map(|half| half.iter().map(|c| i32::from(*c)).sum())
        );
    }
}
