//! Training on processors: a hand-written backward pass for every architecture the runtime runs.
//!
//! [`Net`] is a model taken for training: its frozen matrices as they ship, or unpacked ahead, and what is trained.
//! [`Net::step`] runs packed sequences forwards and backwards and leaves gradients. No tape: each operation of
//! [`mod@layer`] has its derivative beside it.

pub mod adapter;
pub mod attention;
pub mod cache;
pub mod checkpoint;
pub mod clean;
#[cfg_attr(not(feature = "parquet"), path = "columns/absent.rs")]
mod columns;
pub mod compute;
pub mod data;
pub mod duplicates;
pub mod generate;
pub mod gguf;
pub mod head;
pub mod layer;
pub mod linear;
pub mod net;
pub mod optimizer;
pub mod pack;
pub mod plan;
pub mod random;
pub mod recipe;
pub mod sample;
pub mod saved;
pub mod scratch;
pub mod trainer;
pub mod weight;
pub mod written;

pub use cache::Cache;
pub use net::{Method, Net, Options};
pub use pack::{Pack, Sample};
pub use recipe::Recipe;
pub use trainer::Trainer;
