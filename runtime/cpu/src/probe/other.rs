//! No loops of products are written for this processor.

use super::Products;
use crate::isa::Ready;

pub(super) fn probe(_: Ready) -> Option<Products> {
    None
}
