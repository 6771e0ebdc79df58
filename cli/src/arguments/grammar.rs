//! Options of holding an answer to a grammar.

use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use inkstone_engine::{Constraint, Grammars, Model};

use crate::exit::Usage;
use crate::files;

/// What the whole answer must be; without one, anything.
#[derive(Args, Clone)]
#[command(next_help_heading = "Grammar options")]
#[group(multiple = false)]
pub(crate) struct Grammar {
    /// The answer is a document that this JSON Schema accepts
    #[arg(long, value_name = "FILE")]
    json_schema: Option<PathBuf>,
    /// The answer is a text of this grammar: llama.cpp's GBNF (.gbnf), else Lark
    #[arg(long, value_name = "FILE")]
    grammar: Option<PathBuf>,
    /// The answer is a text that this regular expression matches as a whole
    #[arg(long, value_name = "EXPRESSION")]
    regex: Option<String>,
}

impl Grammar {
    /// Makes it ready for one answer of a model.
    pub(crate) fn constraint(&self, model: &Model) -> anyhow::Result<Option<Constraint>> {
        let Some((grammar, name)) = self.read()? else {
            return Ok(None);
        };
        let constraint = Grammars::of(model)?.constraint(&grammar);
        Ok(Some(constraint.with_context(|| name)?))
    }

    /// Refuses options that a conversation has no use for.
    pub(crate) fn refuse_chat(&self) -> anyhow::Result<()> {
        if self.json_schema.is_none() && self.grammar.is_none() && self.regex.is_none() {
            return Ok(());
        }
        Err(Usage::error(
            "a grammar is for one answer: give PROMPT or text on stdin",
        ))
    }

    /// The grammar and what to call it.
    fn read(&self) -> anyhow::Result<Option<(inkstone_engine::Grammar, String)>> {
        use inkstone_engine::Grammar;
        if let Some(path) = &self.json_schema {
            let schema = serde_json::from_str(&files::text(path)?);
            let schema = schema.with_context(|| path.display().to_string())?;
            return Ok(Some((
                Grammar::JsonSchema(schema),
                path.display().to_string(),
            )));
        }
        if let Some(path) = &self.grammar {
            let name = path.display().to_string();
            let text = files::text(path)?;
            let grammar = if path
                .extension()
                .is_some_and(|extension| extension == "gbnf")
            {
                Grammar::gbnf(&text).with_context(|| name.clone())?
            } else {
                Grammar::Lark(text)
            };
            return Ok(Some((grammar, name)));
        }
        let regex = self.regex.clone();
        Ok(regex.map(|regex| (Grammar::Regex(regex), "--regex".to_owned())))
    }
}
