//! What the tests of every crate share: where test data lies, and what happens when it is absent.

pub mod needs;
