//! What `versus` and the engines it sets against each other share: each engine is a process that answers requests.
//!
//! An engine of its own process has memory of its own to measure, and is idle while nothing is asked of it.

pub mod process;
pub mod protocol;
pub mod serve;

/// The `n`th token of every prompt: which one makes no difference to the time.
pub fn token(n: u32, vocabulary: u32) -> u32 {
    n.wrapping_mul(7919) % vocabulary
}
