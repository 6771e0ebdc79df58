//! The `inkstone` binary as a person meets it, without large models and without the internet.
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

mod asking;
mod evaluation;
mod finetuning;
mod hubs;
mod mock;
mod models;
mod packages;
mod run;
