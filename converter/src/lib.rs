//! Reads checkpoints as others publish them, and writes them as one `.ink` file.

pub mod about;
pub mod arch;
pub mod compare;
pub mod config;
pub mod convert;
pub mod error;
pub mod ggml_types;
pub mod gguf;
pub mod gguf_name;
pub mod hf;
mod json;
pub mod llama2c;
pub mod manifest;
pub mod pack;
pub mod parts;
pub mod quantize;
pub mod resolve;
pub mod rewrite;
pub mod safetensors;
pub mod source;
pub mod tokenizer;

pub use compare::compare;
pub use config::Config;
pub use convert::convert;
pub use error::{Error, ErrorKind, Result};
pub use source::Source;
