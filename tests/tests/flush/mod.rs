//! A host that flushes denormals to zero, as programs built with fast-math do.
#![allow(unsafe_code)]

/// What `task` gives while this thread flushes denormals, and whether it still did so afterwards.
pub(crate) fn to_zero<T>(task: impl FnOnce() -> T) -> (T, bool) {
    let before = register::get();
    register::set(before | register::FLUSH);
    let result = task();
    let restored = register::get() & register::FLUSH == register::FLUSH;
    register::set(before);
    (result, restored)
}

#[cfg(target_arch = "x86_64")]
mod register {
    use core::arch::asm;

    /// Flush to zero and denormals are zero, of MXCSR.
    pub(super) const FLUSH: u32 = 0x8040;

    pub(super) fn get() -> u32 {
        let mut value = 0u32;
        // SAFETY: the instruction writes four bytes where `value` lies.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut value, options(nostack)) };
        value
    }

    pub(super) fn set(value: u32) {
        // SAFETY: only the two flushing bits differ from a value that was read.
        unsafe { asm!("ldmxcsr [{}]", in(reg) &raw const value, options(nostack)) };
    }
}

#[cfg(target_arch = "aarch64")]
mod register {
    use core::arch::asm;

    /// Flush to zero, of FPCR.
    pub(super) const FLUSH: u64 = 1 << 24;

    pub(super) fn get() -> u64 {
        let value: u64;
        // SAFETY: the instruction reads a register that every thread has.
        unsafe { asm!("mrs {}, fpcr", out(reg) value, options(nomem, nostack)) };
        value
    }

    pub(super) fn set(value: u64) {
        // SAFETY: only the flushing bit differs from a value that was read.
        unsafe { asm!("msr fpcr, {}", in(reg) value, options(nomem, nostack)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod register {
    /// Nothing can be set.
    pub(super) const FLUSH: u32 = 0;

    pub(super) fn get() -> u32 {
        0
    }

    pub(super) fn set(_: u32) {}
}
