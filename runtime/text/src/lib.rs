//! Text to tokens and back: tokenizers, the streaming detokenizer, chat templates.
//!
//! An importer fills a [`Vocabulary`]; [`build`] lays it out as a section of fixed-width tables;
//! [`Tokenizer::parse`] uses the section where it lies.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

#[cfg(feature = "jinja")]
extern crate std;

pub mod alphabet;
mod detokenizer;
mod encode;
mod merge;
pub mod pretokenizer;
mod scan;
mod section;
#[cfg(feature = "jinja")]
pub mod template;
mod tokenizer;
pub mod turns;
mod unicode;
mod unigram;
pub mod vocab;
mod writer;

pub use detokenizer::{Detokenizer, Unfinished};
pub use pretokenizer::{PRETOKENIZERS, Pretokenizer};
pub use tokenizer::{Options, Tokenizer};
pub use vocab::{Algorithm, Error, Kind, Merge, SpacePrefix, Token, Vocabulary};
pub use writer::build;
