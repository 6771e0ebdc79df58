//! The engine for Kotlin, Swift and Python: one set of objects, from which UniFFI generates all three.
//!
//! A call that computes blocks its thread; [`Session::cancel`] takes no lock and stops it from any other. A mistake of
//! the caller is an [`InkstoneError`], never a panic.

mod answer;
mod config;
mod error;
mod model;
mod session;

pub use answer::{Answer, Finish, Piece, Stats};
pub use config::{AnswerOptions, Grammar, Kv, Plan, Purpose, Sampling, SessionConfig};
pub use error::InkstoneError;
pub use model::Model;
pub use session::{Mark, Session};

uniffi::setup_scaffolding!("inkstone");

/// The version of the library.
#[uniffi::export]
pub fn version() -> String {
    env!("CARGO_PKG_VERSION").to_owned()
}
