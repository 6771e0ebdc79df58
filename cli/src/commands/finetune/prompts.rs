//! What a model answers to the recipe's prompts while it learns: run as it would ship.

use std::path::Path;

use inkstone_engine::{Generation, Model, Options, SessionConfig};
use inkstone_finetune::{Method, Net, Recipe, adapter, written};
use serde_json::json;

/// Tokens of an answer, at most.
const LIMIT: u32 = 64;

/// Writes what `net` has learnt: an adapter to `folder` and the base with it to `to`, or the whole model.
pub(super) fn write(
    model: &Model,
    net: &Net<'_>,
    recipe: &Recipe,
    folder: &Path,
    to: &Path,
) -> anyhow::Result<()> {
    if net.options().method == Method::Full {
        return written::whole(model, net, to, &recipe.run.format);
    }
    adapter::save(net, &recipe.model.base, folder)?;
    written::attach(model, folder, to)
}

/// The most likely answer to each of the recipe's prompts.
pub(super) fn answers(
    model: &Model,
    net: &Net<'_>,
    recipe: &Recipe,
) -> anyhow::Result<Vec<String>> {
    if recipe.run.prompts.is_empty() {
        return Ok(Vec::new());
    }
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("model.ink");
    write(model, net, recipe, &folder.path().join("adapter"), &path)?;
    let model = Model::open(&path)?;
    let mut session = model.session(&SessionConfig::default())?;
    let options = Options {
        limit: Some(LIMIT),
        ..Options::default()
    };
    let answers = recipe.run.prompts.iter().map(|prompt| {
        let tokens = if model.has_template() {
            let messages = json!([{"role": "user", "content": prompt}]);
            model.encode_chat(&model.render_chat(&messages, None, true)?)
        } else {
            model.encode(prompt)
        };
        session.rewind(0)?;
        session.feed(&tokens)?;
        let mut text = Vec::new();
        Generation::new(&model, &options)?.finish(&mut session, &mut text)?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    });
    answers.collect()
}
