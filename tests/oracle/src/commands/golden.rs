//! `oracle golden`: writes down what llama.cpp answers, so that ordinary tests need no llama.cpp.

use super::compare::prompts;
use crate::How;
use anyhow::{Context as _, Result};
use clap::Args;
use inkstone_oracle::llama::{Llama, Model};
use inkstone_oracle::{Source as _, greedy, rank};
use serde_json::{Value, json};
use std::fs;
use std::path::PathBuf;

/// For each prompt: ids, the ten best logits after each of the last tokens, and the greedy continuation.
#[derive(Args)]
pub(crate) struct Golden {
    /// A GGUF file; F32 weights for figures that hold for every way to compute.
    model: PathBuf,
    /// A file with a JSON object a line, whose `text` is a prompt.
    #[arg(long)]
    prompts: PathBuf,
    /// Tokens of each continuation.
    #[arg(short = 'n', default_value_t = 16)]
    limit: usize,
    /// The file to write.
    #[arg(short, long)]
    output: PathBuf,
    #[command(flatten)]
    how: How,
}

impl Golden {
    pub(crate) fn run(&self) -> Result<Value> {
        let model = Model::load(&self.model, false)?;
        let mut sequence = model.start(self.how.settings())?;
        let mut lines = String::new();
        let prompts = prompts(&self.prompts)?;
        for text in &prompts {
            lines += &self.answer(&model, &mut sequence, text)?.to_string();
            lines.push('\n');
        }
        fs::write(&self.output, lines).with_context(|| self.output.display().to_string())?;
        Ok(json!({ "prompts": prompts.len() }))
    }

    fn answer(&self, model: &Model, sequence: &mut Llama<'_>, text: &str) -> Result<Value> {
        let mut ids = model.tokenize(text, true);
        ids.truncate(usize::try_from(self.how.context)?.saturating_sub(self.limit));
        sequence.restart()?;
        let vocabulary = sequence.vocabulary();
        let rows = sequence.feed(&ids)?;
        let top = rank::top(&rows[rows.len() - vocabulary..], 10);
        let steps = greedy::greedy(sequence, &ids, self.limit, |token| model.ends(token))?;
        let tokens: Vec<u32> = steps.iter().map(|step| step.token).collect();
        let margins: Vec<f32> = steps.iter().map(|step| step.margin).collect();
        Ok(json!({ "text": text, "ids": ids, "top": top, "greedy": tokens, "margins": margins }))
    }
}
