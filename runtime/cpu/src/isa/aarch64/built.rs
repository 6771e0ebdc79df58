//! Extensions that the build takes for granted, where there is no system to ask.

pub(super) fn dotprod() -> bool {
    cfg!(target_feature = "dotprod")
}

pub(super) fn i8mm() -> bool {
    cfg!(target_feature = "i8mm")
}
