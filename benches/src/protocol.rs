//! What is asked of an engine and what it answers: a line of JSON each.

use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// A model and the session over it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Open {
    /// The file, in the engine's own format.
    pub path: PathBuf,
    /// Positions that the session holds.
    pub context: u32,
    /// Positions that the session can go back.
    pub rewind: u32,
    /// Threads that compute, each on a processor of its own.
    pub threads: u32,
}

/// A text whose perplexity is asked for.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Text {
    /// The model.
    pub model: PathBuf,
    /// The file with the text.
    pub text: PathBuf,
    /// Chunks of 512 tokens, at most.
    pub chunks: u32,
    /// Threads that compute.
    pub threads: u32,
}

/// What is asked.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Request {
    /// Open a model; once, before anything is run.
    Open(Open),
    /// Run a prompt of so many tokens, in one call, for the logits of the last.
    Prefill(u32),
    /// Run tokens one by one, for the logits of each.
    Decode {
        /// Positions that stand in the context before.
        depth: u32,
        /// How many.
        tokens: u32,
    },
    /// How good a model is.
    Perplexity(Text),
    /// How much memory was used.
    Memory,
}

/// What is answered.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Reply {
    /// The model is open.
    Opened {
        /// Seconds that it took.
        seconds: f64,
        /// How the engine was built and what it uses.
        build: String,
    },
    /// It was run in so many seconds.
    Seconds(f64),
    /// The perplexity of the text, over some chunks.
    Perplexity {
        /// `exp` of the mean negative log-likelihood.
        perplexity: f64,
        /// Chunks scored.
        chunks: u32,
    },
    /// The most memory that was seen in use.
    Memory(Memory),
    /// It could not be done.
    Failed(String),
}

/// Memory of a process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What is the process's own.
    pub private: u64,
    /// Pages of files, shared with whoever maps them too.
    pub shared: u64,
}

impl Memory {
    /// The larger of each.
    pub fn max(self, other: Memory) -> Memory {
        Memory {
            private: self.private.max(other.private),
            shared: self.shared.max(other.shared),
        }
    }
}
