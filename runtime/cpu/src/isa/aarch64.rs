//! What a 64-bit Arm processor has: NEON always, more as it says of itself.

#[cfg(not(feature = "std"))]
#[path = "aarch64/built.rs"]
mod extensions;
#[cfg(feature = "std")]
#[path = "aarch64/asked.rs"]
mod extensions;

use super::Isa;

pub(super) fn has(isa: Isa) -> bool {
    match isa {
        Isa::Portable | Isa::Neon => true,
        Isa::Dotprod => extensions::dotprod(),
        Isa::I8mm => extensions::dotprod() && extensions::i8mm(),
        _ => false,
    }
}
