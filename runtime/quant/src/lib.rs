//! What a block of weights or activations means: formats, their layout in a file, and the arithmetic that
//! every kernel must reproduce bit for bit.
//!
//! - [`format`]: the table of weight formats, each an unpacker ([`codes`]) times a scale codec ([`scales`]).
//! - [`layout`]: where a code of a row stands inside a panel of 16 rows.
//! - [`activation`]: how a row of activations is rounded to int8 groups.
//! - [`reference`](mod@reference): the dot products themselves, dull and scalar: the definition.
//! - [`math`]: `exp`, `tanh`, `sin`, `cos` and friends, the same bits on every target.
#![no_std]
#![forbid(unsafe_code)]

pub mod activation;
pub mod codes;
pub mod format;
pub mod hadamard;
pub mod layout;
pub mod math;
pub mod reference;
pub mod scales;

pub use activation::ActRow;
pub use codes::Codes;
pub use format::{Encoding, FORMATS, Float, Format};
pub use scales::Scales;

/// The version of the numeric definition; written into files and snapshots, prefixed to hashes of logits.
pub const NUMERICS: &str = "n1";

/// Inputs that share one activation scale.
pub const GROUP: usize = 32;

/// Output rows of a full panel.
pub const PANEL: usize = 16;
