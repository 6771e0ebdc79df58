//! No bf16 products on this processor: nothing of the type is ever made.

use super::product::To;
use super::view::View;

/// Weights, rounded and laid out.
#[derive(Debug, Clone)]
pub enum Packed {}

impl Packed {
    /// Never returns: there are no such products here, as [`super::Precision::available`] says.
    ///
    /// # Panics
    /// Always.
    #[must_use]
    pub fn new(_: View<'_>) -> Packed {
        panic!("no bf16 products on this processor")
    }

    pub(super) fn columns(&self) -> usize {
        match *self {}
    }
}

pub(super) fn available() -> bool {
    false
}

pub(super) fn multiply(terms: &[(View<'_>, &Packed)], _: usize, _: To<'_>) {
    if let Some((_, right)) = terms.first() {
        right.columns();
    }
}
