//! The commands of `oracle`, each returning the JSON it prints.

mod compare;
mod golden;

pub(crate) use compare::Compare;
pub(crate) use golden::Golden;

use crate::{How, Input};
use anyhow::{Context as _, Result};
use inkstone_oracle::llama::{Llama, Model};
use inkstone_oracle::{Source as _, export, greedy, perplexity, rank};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

pub(crate) fn tokens(model: &Path, input: &Input, bare: bool) -> Result<Value> {
    let model = Model::load(model, true)?;
    if let Some(tokens) = &input.source.tokens {
        return Ok(json!({ "text": String::from_utf8_lossy(&model.detokenize(tokens)?) }));
    }
    Ok(json!({ "ids": model.tokenize_as(&text(input)?, !bare, input.special) }))
}

pub(crate) fn logits(
    model: &Path,
    input: &Input,
    all: bool,
    output: Option<&Path>,
    how: How,
) -> Result<Value> {
    let model = Model::load(model, false)?;
    let ids = ids(&model, input)?;
    let mut sequence = sequence(&model, ids.len(), how)?;
    let vocabulary = sequence.vocabulary();
    let rows = sequence.feed(&ids)?;
    let last = &rows[rows.len() - vocabulary..];
    let wanted = if all { rows } else { last };
    if let Some(path) = output {
        let bytes: Vec<u8> = wanted
            .iter()
            .flat_map(|logit| logit.to_le_bytes())
            .collect();
        fs::write(path, bytes).with_context(|| path.display().to_string())?;
    }
    Ok(json!({
        "ids": ids,
        "rows": wanted.len() / vocabulary,
        "vocabulary": vocabulary,
        "top": rank::top(last, 10),
    }))
}

pub(crate) fn greedy(model: &Path, input: &Input, limit: usize, how: How) -> Result<Value> {
    let model = Model::load(model, false)?;
    let ids = ids(&model, input)?;
    let mut sequence = sequence(&model, ids.len() + limit, how)?;
    let steps = greedy::greedy(&mut sequence, &ids, limit, |token| model.ends(token))?;
    let added: Vec<u32> = steps.iter().map(|step| step.token).collect();
    let text = model.detokenize(&added)?;
    Ok(json!({ "prompt": ids, "steps": steps, "text": String::from_utf8_lossy(&text) }))
}

pub(crate) fn perplexity(model: &Path, text: &Path, chunks: usize, how: How) -> Result<Value> {
    let model = Model::load(model, false)?;
    let text = fs::read_to_string(text).with_context(|| text.display().to_string())?;
    let tokens = model.tokenize(&text, false);
    let mut sequence = model.start(how.settings())?;
    let context = usize::try_from(how.context)?;
    let result =
        perplexity::perplexity(&mut sequence, &tokens, context, chunks, model.first_token())?;
    Ok(serde_json::to_value(result)?)
}

pub(crate) fn export_f32(input: &Path, output: &Path) -> Result<Value> {
    Ok(json!({ "bytes": export::as_f32(input, output)? }))
}

fn text(input: &Input) -> Result<String> {
    match (&input.source.text, &input.source.file) {
        (Some(text), _) => Ok(text.clone()),
        (None, Some(path)) => fs::read_to_string(path).with_context(|| path.display().to_string()),
        (None, None) => Ok(String::new()),
    }
}

fn ids(model: &Model, input: &Input) -> Result<Vec<u32>> {
    match &input.source.tokens {
        Some(tokens) => Ok(tokens.clone()),
        None => Ok(model.tokenize(&text(input)?, input.special)),
    }
}

/// A sequence with room for `tokens`, however small the context asked for.
fn sequence(model: &Model, tokens: usize, how: How) -> Result<Llama<'_>> {
    let mut settings = how.settings();
    settings.context = settings.context.max(u32::try_from(tokens)?);
    model.start(settings)
}
