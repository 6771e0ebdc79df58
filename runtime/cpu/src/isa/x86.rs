//! What an x86-64 processor says of itself.

use std::arch::is_x86_feature_detected;

use super::Isa;

pub(super) fn has(isa: Isa) -> bool {
    match isa {
        Isa::Portable => true,
        Isa::Avx2 => is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c"),
        Isa::Avx512 => {
            is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512vnni")
        }
        _ => false,
    }
}
