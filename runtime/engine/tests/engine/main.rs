//! What the engine promises, on tiny models and on every device.
#![allow(clippy::unwrap_used)]

mod adapters;
mod embedding;
mod files;
mod generating;
mod governing;
mod sample;
mod sequences;
mod sessions;
mod snapshots;
mod speculating;
mod streaming;
