//! The C library: `include/inkstone.h` says what its functions promise.
//!
//! No panic crosses the border, nothing is global, and nothing runs after a call returns but a session's idle workers.
#![allow(unsafe_code)]

mod border;
mod host;
mod model;
mod session;
pub mod types;

pub use model::*;
pub use session::*;
