//! Systems that do not bind threads.

use std::io;

/// Nothing is bound.
pub(super) struct Bound;

impl Bound {
    pub(super) fn enter(_: u32) -> io::Result<Bound> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

pub(super) fn bind(_: u32) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// None that are known.
#[cfg(all(test, not(target_family = "wasm")))]
pub(super) fn allowed() -> std::vec::Vec<u32> {
    std::vec::Vec::new()
}
