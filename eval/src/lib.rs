//! How good a model is: measured the way others measure it, so that figures can be compared.

pub mod ask;
pub mod bootstrap;
pub mod perplexity;
pub mod record;
pub mod score;
pub mod task;

pub use ask::ask;
pub use perplexity::{Chunk, Error, Judge, Options, Report, perplexity};
pub use record::{Answer, Difference, Head, Record, Score};
pub use task::{Definition, Question, Task};
