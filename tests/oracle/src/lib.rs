//! Another engine's opinion: llama.cpp on the same weights, and measures of agreement with it.

pub mod compare;
pub mod export;
pub mod greedy;
pub mod ink;
pub mod llama;
pub mod perplexity;
pub mod rank;

/// Anything that turns tokens into logits, a block at a time.
pub trait Source {
    /// Logits in a row.
    fn vocabulary(&self) -> usize;

    /// Forgets everything fed so far.
    fn restart(&mut self) -> anyhow::Result<()>;

    /// Feeds the next tokens of the sequence; returns their logits, `tokens × vocabulary`.
    fn feed(&mut self, tokens: &[u32]) -> anyhow::Result<&[f32]>;
}
