//! Reads checkpoints as others publish them, and writes them as one `.ink` file.

pub mod error;
pub mod ggml_types;
pub mod gguf;

pub use error::{Error, ErrorKind, Result};
