//! From a file to text: opens a model, reserves a session, draws tokens.
//!
//! A [`Model`] is a mapped `.ink` file, checked once; several processes share its pages. [`Model::plan`] says what a
//! session will take before it exists, [`Model::session`] reserves it. A [`Session`] takes tokens by
//! [`feed`](Session::feed) and gives what follows by [`step`](Session::step); a [`Generation`] makes text of it.
//! Between a session's making and its end nothing is allocated by feeding, stepping and streaming.
//!
//! Tokens are guessed ahead where that pays ([`Speculation`]); a host may tell how hot the device is
//! ([`Session::govern`]). Neither changes what is drawn.
//!
//! ```no_run
//! use inkstone_engine::{Generation, Model, Options, Piece, SessionConfig};
//!
//! # fn main() -> Result<(), inkstone_engine::Error> {
//! let model = Model::open("model.ink".as_ref())?;
//! let mut session = model.session(&SessionConfig::default())?;
//! session.feed(&model.encode("Tea is"))?;
//! let mut answer = Generation::new(&model, &Options { limit: Some(100), ..Options::default() })?;
//! let mut text = Vec::new();
//! while !matches!(answer.next(&mut session, &mut text)?, Piece::Finished(_)) {}
//! println!("{}", String::from_utf8_lossy(&text));
//! # Ok(())
//! # }
//! ```

mod adapter;
mod arena;
pub mod atomic;
mod cancel;
mod config;
mod cores;
pub mod device;
mod embedding;
mod energy;
mod error;
mod generation;
mod governor;
mod grammar;
pub mod hash;
mod map;
mod mapped;
mod model;
mod prompt;
pub mod sampler;
mod sequences;
mod session;
mod snapshot;
mod speculation;
mod streamed;

pub use adapter::{Adapter, Pair};
pub use cancel::Canceller;
pub use config::{Full, Plan, SessionConfig};
pub use cores::{Core, Cores};
pub use device::{DEVICES, Device, Lent};
pub use embedding::{POOLINGS, Pooling};
pub use energy::Meter;
pub use error::{Error, ErrorKind, Result};
pub use generation::{Finish, Generation, Options, Piece, Stats};
pub use governor::{CAPS, Caps, Conditions, Thermal};
pub use grammar::{Constraint, Grammar, Grammars};
pub use inkstone_cpu::Parallel;
pub use inkstone_format as format;
pub use inkstone_model::{
    Activations, Kv, LayerSpec, LogitsHash, NUMERICS, Spec, Step, cache::KVS, math,
};
pub use inkstone_text as text;
pub use map::Map;
pub use mapped::Mapped;
pub use model::Model;
pub use sampler::{Params, Sampler};
pub use sequences::{Drawn, Sequences};
pub use session::{Event, Mark, Session};

pub use speculation::{DRAFTERS, Drafter, Guesses, Speculation};
pub use streamed::ReadAt;
