//! Time by the processor's clock: SysTick on Arm, `mcycle` on RISC-V. Under QEMU's `-icount shift=0` an instruction
//! takes a nanosecond, so that instructions can be told from it.

use crate::MEGAHERTZ;

/// A counter that has been started.
pub struct Counter(#[cfg(target_arch = "arm")] cortex_m::peripheral::SYST);

#[cfg(target_arch = "arm")]
impl Counter {
    const WRAP: u32 = 0x00ff_ffff;

    pub(crate) fn start() -> Counter {
        let mut peripherals = cortex_m::Peripherals::take().expect("the board is taken once");
        let timer = &mut peripherals.SYST;
        timer.set_clock_source(cortex_m::peripheral::syst::SystClkSource::Core);
        timer.set_reload(Counter::WRAP);
        timer.clear_current();
        timer.enable_counter();
        Counter(peripherals.SYST)
    }

    /// What it shows; it wraps at [`Self::since`]'s reach.
    pub fn now(&self) -> u32 {
        Counter::WRAP - cortex_m::peripheral::SYST::get_current()
    }

    /// Nanoseconds since it showed `before`, up to 2²⁴ ticks.
    pub fn since(&self, before: u32) -> u64 {
        let ticks = self.now().wrapping_sub(before) & Counter::WRAP;
        u64::from(ticks) * 1000 / u64::from(MEGAHERTZ)
    }
}

#[cfg(target_arch = "riscv32")]
impl Counter {
    pub(crate) fn start() -> Counter {
        Counter()
    }

    /// What it shows; it wraps at [`Self::since`]'s reach.
    pub fn now(&self) -> u32 {
        riscv::register::mcycle::read() as u32
    }

    /// Nanoseconds since it showed `before`, up to 2³² instructions: in QEMU a cycle is an instruction.
    pub fn since(&self, before: u32) -> u64 {
        let _ = MEGAHERTZ;
        u64::from(self.now().wrapping_sub(before))
    }
}
