//! How good a model is: measured the way others measure it, so that figures can be compared.

pub mod perplexity;

pub use perplexity::{Chunk, Error, Options, Report, perplexity};
