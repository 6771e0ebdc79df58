//! FPCR.
#![allow(unsafe_code)]

use core::arch::asm;

pub(super) type State = u64;

/// Nearest, no flush to zero, no default NaN, no traps.
pub(super) const DEFINED: State = 0;

pub(super) fn get() -> State {
    let state: u64;
    // SAFETY: every AArch64 processor has the register.
    unsafe { asm!("mrs {}, fpcr", out(reg) state, options(nomem, nostack, preserves_flags)) };
    state
}

pub(super) fn set(state: State) {
    // SAFETY: `state` is [`DEFINED`] or what `get` gave.
    unsafe { asm!("msr fpcr, {}", in(reg) state, options(nostack, preserves_flags)) };
}
