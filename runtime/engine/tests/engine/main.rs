//! What the engine promises, on tiny models and on every device.

mod files;
mod generating;
mod sample;
mod sessions;
mod snapshots;
