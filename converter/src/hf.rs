//! Finds what a Hugging Face folder holds beside its weights.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::about::About;
use crate::error::{Result, malformed};
use crate::json;

/// The files of a folder, found and read.
#[derive(Debug)]
pub struct Folder {
    /// `config.json`.
    pub config: Json,
    /// `tokenizer.json`, if there is one.
    pub tokenizer_json: Option<PathBuf>,
    /// `tokenizer.model`, if there is one.
    pub tokenizer_model: Option<PathBuf>,
    /// `tokenizer_config.json`, if there is one.
    pub tokenizer_config: Option<PathBuf>,
    /// The default chat template.
    pub chat_template: Option<String>,
    /// The tokens that end an answer, by `generation_config.json` or else `config.json`; ascending.
    pub stops: Vec<u32>,
    /// What the model card, the licence file and the folder's name say.
    pub about: About,
}

impl Folder {
    /// Reads the settings in `folder`.
    ///
    /// # Errors
    /// `config.json` is absent, or a file is not what its name says.
    pub fn open(folder: &Path) -> Result<Self> {
        let config: Json = json::read(&folder.join("config.json"))?;
        let existing = |name: &str| Some(folder.join(name)).filter(|path| path.exists());
        let tokenizer_config = existing("tokenizer_config.json");
        let generation: Option<Json> = existing("generation_config.json")
            .map(|path| json::read(&path))
            .transpose()?;
        Ok(Self {
            tokenizer_json: existing("tokenizer.json"),
            tokenizer_model: existing("tokenizer.model"),
            chat_template: chat_template(folder, tokenizer_config.as_deref())?,
            stops: stops(generation.as_ref(), &config).map_err(|e| e.in_file(folder))?,
            about: about(folder, &config)?,
            tokenizer_config,
            config,
        })
    }
}

fn about(folder: &Path, config: &Json) -> Result<About> {
    let text = |names: &[&str]| {
        let paths = names.iter().map(|name| folder.join(name));
        let mut existing = paths.filter(|path| path.exists());
        existing
            .next()
            .map(|path| json::read_text(&path))
            .transpose()
    };
    let card = text(&["README.md"])?.unwrap_or_default();
    Ok(About {
        name: About::folder_name(folder, config),
        licence_text: text(&["LICENSE", "LICENSE.txt", "LICENSE.md"])?,
        ..About::from_card(&card)
    })
}

/// From `chat_template.jinja`, or `chat_template.json`, or the string or the list of named
/// templates in the tokenizer's settings.
fn chat_template(folder: &Path, settings: Option<&Path>) -> Result<Option<String>> {
    let jinja = folder.join("chat_template.jinja");
    if jinja.exists() {
        return json::read_text(&jinja).map(Some);
    }
    let alone = folder.join("chat_template.json");
    let alone = alone.exists().then_some(alone);
    for path in [alone.as_deref(), settings].into_iter().flatten() {
        let settings: Json = json::read(path)?;
        let template = settings.get("chat_template").filter(|v| !v.is_null());
        if let Some(template) = template {
            let found = default_template(template);
            return found.map(Some).map_err(|e| e.in_file(path));
        }
    }
    Ok(None)
}

fn default_template(template: &Json) -> Result<String> {
    if let Some(text) = template.as_str() {
        return Ok(text.to_owned());
    }
    let named = |entry: &&Json| entry.get("name").and_then(Json::as_str) == Some("default");
    template
        .as_array()
        .and_then(|list| list.iter().find(named))
        .and_then(|entry| entry.get("template")?.as_str())
        .map(str::to_owned)
        .ok_or_else(|| malformed("chat_template is neither text nor a list with a default"))
}

fn stops(generation: Option<&Json>, config: &Json) -> Result<Vec<u32>> {
    let stated = |json: &Json| json.get("eos_token_id").filter(|v| !v.is_null()).cloned();
    let text = config.get("text_config").and_then(stated);
    let Some(ids) = generation.and_then(stated).or(stated(config)).or(text) else {
        return Ok(Vec::new());
    };
    let list = match ids {
        Json::Array(list) => list,
        one => vec![one],
    };
    let id = |value: &Json| value.as_u64().and_then(|id| u32::try_from(id).ok());
    let ids: Option<Vec<u32>> = list.iter().map(id).collect();
    let mut ids =
        ids.ok_or_else(|| malformed("eos_token_id is no token id and no list of them"))?;
    ids.sort_unstable();
    ids.dedup();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_template_may_be_text_or_the_default_of_a_list() {
        assert_eq!(default_template(&json!("x")).unwrap(), "x");
        let list =
            json!([{"name": "tool_use", "template": "t"}, {"name": "default", "template": "d"}]);
        assert_eq!(default_template(&list).unwrap(), "d");
        default_template(&json!([{"name": "rag", "template": "t"}])).unwrap_err();
        default_template(&json!(7)).unwrap_err();
    }

    #[test]
    fn generation_settings_say_what_ends_an_answer() {
        let config = json!({"eos_token_id": 2});
        assert_eq!(stops(None, &config).unwrap(), [2]);
        let generation = json!({"eos_token_id": [7, 3, 7]});
        assert_eq!(stops(Some(&generation), &config).unwrap(), [3, 7]);
        assert_eq!(
            stops(None, &json!({"eos_token_id": null})).unwrap().len(),
            0
        );
        stops(None, &json!({"eos_token_id": -1})).unwrap_err();
        stops(None, &json!({"eos_token_id": ["x"]})).unwrap_err();
    }
}
