//! AMX-BF16: `tdpbf16ps`, sixteen rows by sixteen columns by sixteen pairs at once.

use core::arch::asm;
use core::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;
use std::vec::Vec;

use super::super::{DEEP, LANES, Line, Panel, TALL, Work};
use crate::isa::Isa;
use crate::kernels::amx::shape;

/// Rows of a matrix register; sums fill two by two.
const ROWS: usize = TALL / 2;
/// Panels whose columns are computed for some rows before the next ones.
const TOGETHER: usize = 4;
/// Lines that are fetched ahead at each step.
const AHEAD: usize = 4;

/// Whether this processor has the instruction, and neither the system nor the environment forbids it.
pub(super) fn available() -> bool {
    // Intel's manual: leaf 7, bit 22 of EDX.
    const BF16: u32 = 1 << 22;
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE
        .get_or_init(|| Isa::from_env() == Ok(Isa::Amx) && __cpuid_count(7, 0).edx & BF16 == BF16)
}

/// Where [`available`].
pub(super) fn run(mut work: Work<'_>) {
    // SAFETY: the registers are there; all are whole.
    unsafe { shape([64; 8], [ROWS as u8; 8]) };
    let panels: Vec<Panel> = work.panels().collect();
    for panels in panels.chunks(TOGETHER) {
        for row in (0..work.to.rows).step_by(TALL) {
            for panel in panels {
                for vector in (0..panel.width.div_ceil(LANES)).step_by(2) {
                    block(&mut work, *panel, panels.len(), row, vector);
                }
            }
        }
    }
    // SAFETY: the registers are there; nothing in them is needed any more.
    unsafe { asm!("tilerelease", options(nostack, preserves_flags, nomem)) };
}

/// At most 32 rows from `row` on and at most two registers of columns of a panel, one of `together`.
fn block(work: &mut Work<'_>, panel: Panel, together: usize, row: usize, vector: usize) {
    let first = vector * LANES;
    let rows = TALL.min(work.to.rows - row);
    let columns = TALL.min(panel.width - first);
    let (stride, add) = (work.to.stride, work.to.add);
    let to = &mut work.to.data[row * stride + panel.column + first..];
    let factors = work.terms.iter().map(|(left, right)| {
        let (deep, lines) = (right.deep(), right.panel(panel));
        let vectors = lines.len() / deep;
        // Panels lie one behind the other: each block fetches its share of the one that follows after those at hand.
        let block = row / TALL * vectors.div_ceil(2) + vector / 2;
        let ahead = together * lines.len() + block * (deep / DEEP) * AHEAD;
        Factors {
            rows: &left.data[row * left.stride()..][..TALL * left.stride()],
            stride: left.stride(),
            deep,
            lines: &lines[vector..],
            ahead: lines.as_ptr().wrapping_add(ahead),
            vectors,
            second: usize::from(vector + 1 < vectors),
        }
    });
    if (rows, columns) == (TALL, TALL) {
        return sums(factors, &mut to[..(TALL - 1) * stride + TALL], stride, add);
    }
    let Held(held) = &mut Held([0.0; TALL * TALL]);
    if add {
        for (held, to) in held
            .chunks_exact_mut(TALL)
            .zip(to.chunks(stride))
            .take(rows)
        {
            held[..columns].copy_from_slice(&to[..columns]);
        }
    }
    sums(factors, held, TALL, add);
    for (held, to) in held
        .chunks_exact(TALL)
        .zip(to.chunks_mut(stride))
        .take(rows)
    {
        to[..columns].copy_from_slice(&held[..columns]);
    }
}

/// A block of sums of which some are wanted.
#[repr(align(64))]
struct Held([f32; TALL * TALL]);

/// What a block of sums is made of.
struct Factors<'a> {
    /// Two registers of rows.
    rows: &'a [u32],
    /// Words from a row to the next.
    stride: usize,
    /// Pairs.
    deep: usize,
    /// From the first register of columns on.
    lines: &'a [Line],
    /// Lines that will be wanted soon, if they are any.
    ahead: *const Line,
    /// Lines of a pair.
    vectors: usize,
    /// Lines to the second register of columns: none where it is not there, and its sums not wanted.
    second: usize,
}

/// Sums of 32 rows, `stride` apart, and 32 columns.
fn sums<'a>(
    factors: impl Iterator<Item = Factors<'a>>,
    to: &mut [f32],
    stride: usize,
    mut add: bool,
) {
    assert!(to.len() >= (TALL - 1) * stride + TALL, "a block of sums");
    for factors in factors {
        let deep = factors.deep;
        let last = (deep - 1) * factors.vectors + factors.second;
        let whole = deep.is_multiple_of(DEEP) && deep <= factors.stride;
        assert!(
            whole && last < factors.lines.len() && TALL * factors.stride <= factors.rows.len(),
            "factors of a block"
        );
        // SAFETY: registers are whole; the factors have what they say, and `to` 32 rows of 32 sums.
        unsafe { add_products(&factors, to.as_mut_ptr(), stride, add) };
        add = true;
    }
}

/// Products of some factors to `c`, rows `stride` apart, or added to what is there.
///
/// # Safety
/// Registers are whole ([`shape`]). 32 rows of pairs lie where factors begin, as many pairs of two registers of
/// columns, and 32 rows of 32 sums at `c`. What is fetched ahead may lie anywhere. Rows, which the next columns want
/// again, stay in the first cache; columns (`tileloaddt1`) in the second.
unsafe fn add_products(factors: &Factors<'_>, c: *mut f32, stride: usize, add: bool) {
    let deep = factors.deep;
    let (a, b) = (factors.rows.as_ptr(), factors.lines.as_ptr());
    // SAFETY: the caller's promise.
    unsafe {
        asm!(
            "test {add}, {add}",
            "jnz 2f",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "jmp 3f",
            "2:",
            "tileloadd tmm0, [{c0} + {next_c}]",
            "tileloadd tmm1, [{c0} + {next_c} + 64]",
            "tileloadd tmm2, [{c1} + {next_c}]",
            "tileloadd tmm3, [{c1} + {next_c} + 64]",
            "3:",
            "tileloadd tmm4, [{a0} + {next_a}]",
            "tileloaddt1 tmm6, [{b0} + {next_b}]",
            "tileloaddt1 tmm7, [{b1} + {next_b}]",
            "tileloadd tmm5, [{a1} + {next_a}]",
            "prefetcht1 [{ahead}]",
            "prefetcht1 [{ahead} + 64]",
            "prefetcht1 [{ahead} + 128]",
            "prefetcht1 [{ahead} + 192]",
            "add {ahead}, 256",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "add {a0}, 64",
            "add {a1}, 64",
            "add {b0}, {step_b}",
            "add {b1}, {step_b}",
            "sub {steps}, 1",
            "jnz 3b",
            "tilestored [{c0} + {next_c}], tmm0",
            "tilestored [{c0} + {next_c} + 64], tmm1",
            "tilestored [{c1} + {next_c}], tmm2",
            "tilestored [{c1} + {next_c} + 64], tmm3",
            add = in(reg) usize::from(add),
            steps = inout(reg) deep / DEEP => _,
            a0 = inout(reg) a => _,
            a1 = inout(reg) a.wrapping_add(ROWS * factors.stride) => _,
            next_a = in(reg) factors.stride * 4,
            ahead = inout(reg) factors.ahead => _,
            b0 = inout(reg) b => _,
            b1 = inout(reg) b.wrapping_add(factors.second) => _,
            next_b = in(reg) factors.vectors * 64,
            step_b = in(reg) factors.vectors * 64 * DEEP,
            c0 = in(reg) c,
            c1 = in(reg) c.wrapping_add(ROWS * stride),
            next_c = in(reg) stride * 4,
            out("tmm0") _,
            out("tmm1") _,
            out("tmm2") _,
            out("tmm3") _,
            out("tmm4") _,
            out("tmm5") _,
            out("tmm6") _,
            out("tmm7") _,
            options(nostack),
        )
    };
}
