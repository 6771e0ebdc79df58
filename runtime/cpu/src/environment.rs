//! The floating-point environment of the numeric definition: round to nearest, denormals kept.

#[cfg(target_arch = "aarch64")]
#[path = "environment/aarch64.rs"]
mod register;
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[path = "environment/other.rs"]
mod register;
#[cfg(target_arch = "x86_64")]
#[path = "environment/x86.rs"]
mod register;

/// While it lives, this thread computes as defined; then the environment is again what it was.
pub(crate) struct Defined {
    before: register::State,
}

impl Defined {
    pub(crate) fn enter() -> Defined {
        let before = register::get();
        register::set(register::DEFINED);
        Defined { before }
    }
}

impl Drop for Defined {
    fn drop(&mut self) {
        register::set(self.before);
    }
}
