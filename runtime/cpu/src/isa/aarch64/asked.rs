//! Extensions that the system says are there.

use std::arch::is_aarch64_feature_detected;

pub(super) fn dotprod() -> bool {
    is_aarch64_feature_detected!("dotprod")
}

pub(super) fn i8mm() -> bool {
    is_aarch64_feature_detected!("i8mm")
}
