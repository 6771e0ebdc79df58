//! Integer products with AMX: `tdpbssd` of sixteen rows of activations with a panel, as it lies once it is unpacked.
//!
//! A matrix register takes the sums of one group. They go to memory, whence vectors add them to the accumulators: at
//! two panels that takes about twice as long as the products do. Few rows are left to `vpdpbusd`.
#![allow(unsafe_code)]

use core::arch::asm;
use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use inkstone_quant::{GROUP, PANEL};

use super::avx512::{self, Unpack};
use super::{Job, Kernel, PANELS, Panel, Products};
use crate::isa::Isa;

/// Rows of activations that a matrix register holds.
const ROWS: usize = 16;

/// Rows of activations from which on matrix registers are worth their while.
const MANY: usize = 4;

/// Tiles of weights between two looks at the accumulators.
const AT_ONCE: usize = 4;

pub(super) const fn kernel<C: Unpack>(group: usize) -> Kernel {
    let run = if group == GROUP {
        run::<C, 1>
    } else {
        run::<C, 2>
    };
    Kernel {
        codes: C::CODES,
        group,
        isa: Isa::Amx,
        run,
    }
}

/// Levels of the tiles of each panel, `[quad][row][input of the quad]`.
type Levels = [[[__m512i; GROUP / 4]; PANELS]; AT_ONCE];

/// Sums of a group, of each panel: `[row of activations][row of weights]`.
#[repr(align(64))]
struct Sums([[[i32; PANEL]; ROWS]; PANELS]);

/// Those of some tiles.
type Step = [Sums; 2 * AT_ONCE];

/// # Safety
/// The processor has the instructions, the system allows them, and the job fits the kernel.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn run<C: Unpack, const PARTS: usize>(job: &Job<'_>, out: &mut [Products]) {
    let mut many = 0;
    if let [a, b] = job.panels {
        let rest = job.rows.count % ROWS;
        many = job.rows.count - if rest < MANY { rest } else { 0 };
        if many > 0 {
            // SAFETY: the caller's promise; as many rows are there.
            unsafe { multiply::<C, PARTS>(job, [a, b], many, out) };
        }
    }
    // SAFETY: the caller's promise.
    unsafe {
        match PARTS {
            1 => avx512::run_from::<C, false>(job, many, out),
            _ => avx512::run_from::<C, true>(job, many, out),
        }
    }
}

/// Products of the first `count` rows.
///
/// # Safety
/// As [`run`], and the job has as many rows.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn multiply<C: Unpack, const PARTS: usize>(
    job: &Job<'_>,
    panels: [&Panel<'_>; PANELS],
    count: usize,
    out: &mut [Products],
) {
    let mut levels = MaybeUninit::<Levels>::uninit();
    let mut sums = MaybeUninit::<Step>::uninit();
    let (levels, sums) = (levels.as_mut_ptr(), sums.as_mut_ptr());
    let minima = panels[0].minima.is_some();
    let mut shape = 0;
    for tile in (0..job.tiles).step_by(AT_ONCE) {
        let tiles = AT_ONCE.min(job.tiles - tile);
        for t in 0..tiles {
            for (p, panel) in panels.iter().enumerate() {
                let bytes = const { C::CODES.tile_bytes(PANEL) };
                let from = panel.tiles[(tile + t) * bytes..][..bytes].as_ptr();
                // SAFETY: a whole tile lies there, and the place is one of the array's.
                unsafe { unpack::<C>(from, (*levels)[t][p].as_mut_ptr()) };
            }
        }
        for first in (0..count).step_by(ROWS) {
            let rows = ROWS.min(count - first);
            if rows != shape {
                configure::<PARTS>(rows);
                shape = rows;
            }
            for step in 0..tiles * PARTS {
                let (t, part) = (step / PARTS, step % PARTS);
                let cell = first * job.rows.groups + tile + t;
                let a = &job.rows.codes[cell * GROUP + part * (GROUP / PARTS)..];
                let quads = part * (GROUP / 4 / PARTS);
                // SAFETY: rows are as far apart as said, and all places are within their arrays.
                unsafe {
                    let b = [
                        (*levels)[t][0].as_ptr().add(quads),
                        (*levels)[t][1].as_ptr().add(quads),
                    ];
                    let to = &raw mut (*sums)[step];
                    products(a.as_ptr(), job.rows.groups * GROUP, b, to);
                }
            }
            let fold = Fold {
                job,
                panels,
                tile,
                tiles,
                first,
                sums,
            };
            let out = out[first * PANELS..][..rows * PANELS].as_chunks_mut().0;
            // SAFETY: the caller's promise, in each branch.
            unsafe {
                match (minima, tiles) {
                    (false, AT_ONCE) => fold.run::<PARTS, AT_ONCE, false>(out),
                    (false, _) => fold.run::<PARTS, 0, false>(out),
                    (true, AT_ONCE) => fold.run::<PARTS, AT_ONCE, true>(out),
                    (true, _) => fold.run::<PARTS, 0, true>(out),
                }
            }
        }
    }
    // SAFETY: the registers are there; nothing in them is needed any more.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
}

/// # Safety
/// `tile` points to a whole tile, `to` to the levels of one.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
unsafe fn unpack<C: Unpack>(tile: *const u8, to: *mut __m512i) {
    let bias = _mm512_set1_epi8(const { C::CODES.bias() as i8 });
    // SAFETY: the caller's promise.
    unsafe {
        let quads = [
            C::quad::<0>(tile),
            C::quad::<1>(tile),
            C::quad::<2>(tile),
            C::quad::<3>(tile),
            C::quad::<4>(tile),
            C::quad::<5>(tile),
            C::quad::<6>(tile),
            C::quad::<7>(tile),
        ];
        for (q, quad) in quads.into_iter().enumerate() {
            // Every level fits a signed byte.
            to.add(q).write(_mm512_sub_epi8(quad, bias));
        }
    }
}

/// Sums of two panels, activations, levels of two panels, and two more sums.
fn configure<const PARTS: usize>(rows: usize) {
    let (rows, inputs) = (rows as u8, (GROUP / PARTS) as u8);
    let bytes = [64, 64, inputs.into(), 64, 64, 64, 64];
    let rows = [rows, rows, rows, inputs / 4, inputs / 4, rows, rows];
    // SAFETY: kernels of this file run only where the registers are.
    unsafe { shape(bytes, rows) };
}

/// Says how many bytes a row of each matrix register has, and how many rows there are.
///
/// # Safety
/// The processor has the registers, and the system allows them.
pub(crate) unsafe fn shape<const N: usize>(bytes: [u16; N], rows: [u8; N]) {
    #[repr(C, align(64))]
    struct Config {
        palette: u8,
        start: u8,
        reserved: [u8; 14],
        bytes: [u16; 16],
        rows: [u8; 16],
    }
    let mut config = Config {
        palette: 1,
        start: 0,
        reserved: [0; 14],
        bytes: [0; 16],
        rows: [0; 16],
    };
    config.bytes[..N].copy_from_slice(&bytes);
    config.rows[..N].copy_from_slice(&rows);
    // SAFETY: the caller's promise; 64 bytes are read.
    unsafe {
        asm!("ldtilecfg [{}]", in(reg) &raw const config, options(nostack, preserves_flags, readonly))
    };
}

/// Products and sums of a [`turn`].
pub(crate) const OPERATIONS: u64 = (4 * 2 * ROWS * PANEL * GROUP) as u64;

/// Products of groups of zeros in registers, as often as is said: what matrix registers do at most.
///
/// # Safety
/// The processor has the instructions, and the system allows them.
pub(crate) unsafe fn turn(turns: u64) -> i32 {
    configure::<1>(ROWS);
    // SAFETY: registers that are configured.
    unsafe {
        asm!(
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tdpbssd tmm0, tmm2, tmm3",
            "tdpbssd tmm1, tmm2, tmm3",
            "tdpbssd tmm5, tmm2, tmm3",
            "tdpbssd tmm6, tmm2, tmm3",
            "sub {turns}, 1",
            "jnz 2b",
            "tilerelease",
            turns = inout(reg) turns.max(1) => _,
            out("tmm0") _,
            out("tmm1") _,
            out("tmm2") _,
            out("tmm3") _,
            out("tmm5") _,
            out("tmm6") _,
            options(nostack, nomem),
        )
    };
    0
}

/// Sums of a group for all rows of activations and both panels.
///
/// # Safety
/// Registers are configured; a group of as many rows of activations lies at `a`, `stride` bytes apart, levels at `b`.
#[inline]
unsafe fn products(a: *const i8, stride: usize, b: [*const __m512i; PANELS], to: *mut Sums) {
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "tilezero tmm0",
            "tilezero tmm1",
            "tileloadd tmm2, [{a} + {stride}]",
            "tileloadd tmm3, [{b0} + {line}]",
            "tileloadd tmm4, [{b1} + {line}]",
            "tdpbssd tmm0, tmm2, tmm3",
            "tdpbssd tmm1, tmm2, tmm4",
            "tilestored [{to} + {line}], tmm0",
            "tilestored [{to} + {line} + 1024], tmm1",
            a = in(reg) a,
            stride = in(reg) stride,
            b0 = in(reg) b[0],
            b1 = in(reg) b[1],
            to = in(reg) to,
            line = in(reg) 64_usize,
            out("tmm0") _,
            out("tmm1") _,
            out("tmm2") _,
            out("tmm3") _,
            out("tmm4") _,
            options(nostack, preserves_flags),
        )
    };
}

/// What remains to be done with sums: scales, and the way to the accumulators.
struct Fold<'a> {
    job: &'a Job<'a>,
    panels: [&'a Panel<'a>; PANELS],
    /// The first tile, and how many.
    tile: usize,
    tiles: usize,
    /// The first row of activations.
    first: usize,
    /// Those of as many tiles are written.
    sums: *const Step,
}

impl Fold<'_> {
    /// `TILES` tiles, or as many as there are where that is 0.
    ///
    /// # Safety
    /// As [`run`].
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni")]
    unsafe fn run<const PARTS: usize, const TILES: usize, const MINIMA: bool>(
        &self,
        out: &mut [[Products; PANELS]],
    ) {
        let tiles = if TILES == 0 { self.tiles } else { TILES };
        let (rows, groups) = (
            &self.job.rows,
            self.tile * PARTS..(self.tile + tiles) * PARTS,
        );
        let mut scales = [&[][..]; PANELS];
        let mut minima = [&[][..]; PANELS];
        for p in 0..PANELS {
            scales[p] = &self.panels[p].scales[groups.clone()];
            if let (true, Some(m)) = (MINIMA, self.panels[p].minima) {
                minima[p] = &m[groups.clone()];
            }
        }
        for (row, out) in out.iter_mut().enumerate() {
            let cell = (self.first + row) * rows.groups + self.tile;
            let scales_a = &rows.scales[cell..][..tiles];
            let sums_a = &rows.sums[cell * 2..][..tiles * 2];
            let mut acc = [_mm512_setzero_ps(); PANELS];
            if self.tile > 0 {
                for (acc, out) in acc.iter_mut().zip(&*out) {
                    // SAFETY: sixteen floats.
                    *acc = unsafe { _mm512_loadu_ps(out.as_ptr()) };
                }
            }
            for step in 0..tiles * PARTS {
                let scale_a = scales_a[step / PARTS];
                let factor_a = _mm512_set1_ps(scale_a);
                for p in 0..PANELS {
                    // SAFETY: sixteen floats.
                    let scale = unsafe { _mm512_loadu_ps(scales[p][step].as_ptr()) };
                    // SAFETY: sixteen sums that were written.
                    let sum = unsafe {
                        _mm512_load_si512((&raw const (*self.sums)[step].0[p][row]).cast())
                    };
                    let factor = _mm512_mul_ps(scale, factor_a);
                    acc[p] = _mm512_add_ps(acc[p], _mm512_mul_ps(_mm512_cvtepi32_ps(sum), factor));
                }
                if MINIMA {
                    let sum = match PARTS {
                        1 => sums_a[step * 2] + sums_a[step * 2 + 1],
                        _ => sums_a[step],
                    };
                    let product_a = _mm512_set1_ps(scale_a * sum as f32);
                    for p in 0..PANELS {
                        // SAFETY: sixteen floats.
                        let minimum = unsafe { _mm512_loadu_ps(minima[p][step].as_ptr()) };
                        acc[p] = _mm512_sub_ps(acc[p], _mm512_mul_ps(minimum, product_a));
                    }
                }
            }
            for (acc, out) in acc.iter().zip(out) {
                // SAFETY: sixteen floats.
                unsafe { _mm512_storeu_ps(out.as_mut_ptr(), *acc) };
            }
        }
    }
}
