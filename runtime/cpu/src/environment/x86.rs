//! MXCSR.
#![allow(unsafe_code)]

use core::arch::asm;

pub(super) type State = u32;

/// All exceptions masked, nearest, no flags, neither FTZ nor DAZ.
pub(super) const DEFINED: State = 0x1f80;

pub(super) fn get() -> State {
    let mut state = 0_u32;
    // SAFETY: every x86-64 processor has the register; four bytes are written to `state`.
    unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut state, options(nostack, preserves_flags)) };
    state
}

pub(super) fn set(state: State) {
    // SAFETY: `state` is [`DEFINED`] or what `get` gave, so that no reserved bit is set.
    unsafe {
        asm!("ldmxcsr [{}]", in(reg) &raw const state, options(nostack, preserves_flags, readonly))
    };
}
