//! The `.ink` file: one reader over `&[u8]` that proves every offset once, and a streaming writer.
//!
//! `SPEC.md`, beside this crate's sources, describes every byte. A file is a header with a table of sections, sections
//! at multiples of 16 KiB, and among them a table of tensors and the payload it points into. [`File::parse`] checks
//! header and tables in one pass, touches nothing else and allocates nothing; [`File::verify`] hashes the rest.
//!
//! ```no_run
//! # fn main() -> Result<(), inkstone_format::Error> {
//! # let bytes: &[u8] = &[];
//! let file = inkstone_format::File::parse(bytes)?;
//! for tensor in file.tensors() {
//!     let weights: &[u8] = file.payload(&tensor);
//! #   let _ = weights;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Feature `std` (default) adds [`Writer`] and [`records`], the rarely read notes on licence and origin.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "std")]
extern crate std;

mod error;
mod file;
mod kind;
#[cfg(feature = "std")]
pub mod records;
mod seal;
mod verify;
mod wire;
#[cfg(feature = "std")]
mod writer;

pub use error::{Error, ErrorKind};
pub use file::{File, Section, Tensor, head_bytes};
pub use kind::{KINDS, Kind, SectionKind};
pub use seal::seal;
pub use wire::{
    MAGIC, MAJOR, MAX_INPUTS, MAX_SECTIONS, MAX_TENSORS, MINOR, NO_LAYER, SECTION_ALIGNMENT,
    TENSOR_ALIGNMENT,
};
#[cfg(feature = "std")]
pub use writer::{Declaration, TensorWriter, WriteError, Writer, replaceable};
