//! Answers that a grammar holds to.

#[cfg(feature = "grammar")]
mod gbnf;
#[cfg(feature = "grammar")]
#[path = "grammar/guided.rs"]
mod held;
#[cfg(not(feature = "grammar"))]
#[path = "grammar/absent.rs"]
mod held;

use serde_json::Value;

use crate::error::Result;

pub use held::{Constraint, Grammars};

/// What a whole answer must be.
#[derive(Debug, Clone, PartialEq)]
pub enum Grammar {
    /// A document that this JSON Schema accepts, its parts a space or an indented line apart at most.
    JsonSchema(Value),
    /// A text that this grammar derives from `start`; Lark, in [llguidance]'s dialect.
    ///
    /// [llguidance]: https://github.com/guidance-ai/llguidance/blob/main/docs/syntax.md
    Lark(String),
    /// A text that this regular expression matches from its beginning to its end.
    Regex(String),
}

impl Grammar {
    /// A grammar of llama.cpp's, GBNF.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`](crate::ErrorKind::Invalid) with the line of what is none.
    pub fn gbnf(text: &str) -> Result<Grammar> {
        held::to_lark(text).map(Grammar::Lark)
    }
}
