//! The `inkstone` binary as a person meets it, without models and without the internet.

mod asking;
mod hubs;
mod mock;
mod packages;
mod run;
