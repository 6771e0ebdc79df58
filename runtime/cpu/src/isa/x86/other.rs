//! Systems that were not asked how they lend matrix registers.

pub(super) fn allowed() -> bool {
    false
}
