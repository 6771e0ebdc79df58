//! What the tests of every crate share: where test data lies, what happens when it is absent, and tiny models.

pub mod needs;
pub mod remake;
pub mod tiny;
