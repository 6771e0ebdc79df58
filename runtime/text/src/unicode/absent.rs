//! Where Unicode's tables are left out: tokenizers that need them are refused when they are read.

use alloc::string::String;

use super::Class;

/// Whether this build has the tables.
pub(crate) const PRESENT: bool = false;

pub(super) fn class(_: char) -> Class {
    Class::Other
}

/// The text in normalisation form C; `None` where it is already.
pub(crate) fn nfc(_: &str) -> Option<String> {
    None
}
