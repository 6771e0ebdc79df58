//! What an x86-64 processor says of itself.

use std::arch::is_x86_feature_detected;

use super::Isa;

#[cfg(target_os = "linux")]
#[path = "x86/linux.rs"]
mod amx;
#[cfg(not(target_os = "linux"))]
#[path = "x86/other.rs"]
mod amx;

pub(super) fn has(isa: Isa) -> bool {
    match isa {
        Isa::Portable => true,
        Isa::Avx2 => {
            is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("f16c")
                && is_x86_feature_detected!("fma")
        }
        Isa::Avx512 => {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
        }
        Isa::Amx => has(Isa::Avx512) && amx::allowed(),
        _ => false,
    }
}
