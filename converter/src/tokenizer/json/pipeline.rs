//! What the steps around the model of a `tokenizer.json` come to.

use inkstone_text::{Pretokenizer, SpacePrefix, pretokenizer};
use serde_json::Value;

use super::super::LOWER_BLOCK;
use crate::error::{Result, malformed, unsupported};

/// The normalizer and the pre-tokenizer.
#[derive(Default)]
pub(super) struct Pipeline {
    pub(super) nfc: bool,
    /// Spaces are written as lower blocks.
    pub(super) spaces: bool,
    pub(super) space_prefix: SpacePrefix,
    /// Text is bytes, written in the byte alphabet.
    pub(super) byte_level: bool,
    /// Words are tokenised apart, each with the space before it.
    pub(super) words: bool,
    /// The regular expressions whose matches are tokenised apart.
    pub(super) patterns: Vec<String>,
}

/// The tokens a text begins and ends with.
#[derive(Default)]
pub(super) struct Template {
    pub(super) bos: Option<u32>,
    pub(super) eos: Option<u32>,
}

impl Pipeline {
    pub(super) fn read(normalizer: &Value, pre_tokenizer: &Value) -> Result<Self> {
        let mut pipeline = Self::default();
        for step in steps(normalizer, "normalizers") {
            pipeline.normalizer(step)?;
        }
        for step in steps(pre_tokenizer, "pretokenizers") {
            pipeline.pre_tokenizer(step)?;
        }
        Ok(pipeline)
    }

    pub(super) fn pretokenizer(&self) -> Result<&'static Pretokenizer> {
        let patterns: Vec<&str> = self.patterns.iter().map(String::as_str).collect();
        let row = match (self.words, patterns.as_slice()) {
            (true, []) => Pretokenizer::by_name("words"),
            (false, []) => Some(pretokenizer::NONE),
            (false, patterns) => Pretokenizer::by_patterns(patterns),
            (true, _) => None,
        };
        row.ok_or_else(|| unsupported(format!("text is split by {patterns:?}")))
    }

    fn normalizer(&mut self, step: &Value) -> Result<()> {
        match text(step, "type") {
            "NFC" => self.nfc = true,
            "Prepend" if text(step, "prepend") == LOWER_BLOCK => {
                self.space_prefix = SpacePrefix::Every;
            }
            "Replace" if replaces_spaces(step) => self.spaces = true,
            name => return Err(unsupported(format!("a normalizer {name}: {step}"))),
        }
        Ok(())
    }

    fn pre_tokenizer(&mut self, step: &Value) -> Result<()> {
        match text(step, "type") {
            "ByteLevel" => {
                self.byte_level = true;
                if truth(step, "add_prefix_space", true) {
                    self.space_prefix = SpacePrefix::EveryUnlessSpace;
                }
                if truth(step, "use_regex", true) {
                    self.patterns.extend(GPT2.iter().copied().map(String::from));
                }
            }
            "Digits" if truth(step, "individual_digits", false) => {
                self.patterns.push(r"\p{N}".into());
            }
            "Punctuation" if text(step, "behavior") == "Contiguous" => {
                self.patterns.push(r"[\p{P}\$\+<=>\^~\|`]+".into());
            }
            "Metaspace" if text(step, "replacement") == LOWER_BLOCK => self.metaspace(step)?,
            "Split" => self.split(step)?,
            name => return Err(unsupported(format!("a pre-tokenizer {name}: {step}"))),
        }
        Ok(())
    }

    fn metaspace(&mut self, step: &Value) -> Result<()> {
        self.spaces = true;
        self.words = truth(step, "split", true);
        self.space_prefix = match text(step, "prepend_scheme") {
            "always" => SpacePrefix::EveryUnlessSpace,
            "" if truth(step, "add_prefix_space", true) => SpacePrefix::EveryUnlessSpace,
            "first" => SpacePrefix::FirstUnlessSpace,
            "never" | "" => SpacePrefix::Never,
            other => return Err(malformed(format!("a prepend scheme {other:?}"))),
        };
        Ok(())
    }

    fn split(&mut self, step: &Value) -> Result<()> {
        let pattern = &step["pattern"];
        // Spaces that the normalizer has replaced split nothing.
        if self.spaces && text(pattern, "String") == " " {
            return Ok(());
        }
        let whole = match (text(step, "behavior"), truth(step, "invert", false)) {
            ("Isolated", _) => true,
            // What no pattern that matches all text matches is nothing.
            ("Removed", inverted) => inverted,
            _ => false,
        };
        match pattern["Regex"].as_str() {
            Some(pattern) if whole => self.patterns.push(pattern.into()),
            _ => return Err(unsupported(format!("a pre-tokenizer {step}"))),
        }
        Ok(())
    }
}

static GPT2: &[&str] =
    &[r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"];

/// The tokens the post-processor puts around a text.
pub(super) fn template(post_processor: &Value) -> Result<Template> {
    let mut template = Template::default();
    for step in steps(post_processor, "processors") {
        match text(step, "type") {
            "ByteLevel" => {}
            "TemplateProcessing" => template = around(step)?,
            name => return Err(unsupported(format!("a post-processor {name}"))),
        }
    }
    Ok(template)
}

fn around(step: &Value) -> Result<Template> {
    let mut template = Template::default();
    let mut after = false;
    for part in step["single"].as_array().into_iter().flatten() {
        if part.get("Sequence").is_some() {
            after = true;
            continue;
        }
        let name = text(&part["SpecialToken"], "id");
        let ids = &step["special_tokens"][name]["ids"];
        let id = match ids.as_array().map(Vec::as_slice) {
            Some([id]) => id.as_u64().and_then(|id| u32::try_from(id).ok()),
            _ => None,
        };
        let id = id.ok_or_else(|| malformed(format!("the template's token {name:?} has no id")))?;
        let place = if after {
            &mut template.eos
        } else {
            &mut template.bos
        };
        if place.replace(id).is_some() {
            return Err(unsupported(
                "more than one token is put before or after a text",
            ));
        }
    }
    Ok(template)
}

/// A step, or the steps of a sequence under `list`; none where there is nothing.
fn steps<'v>(step: &'v Value, list: &str) -> Vec<&'v Value> {
    match step {
        Value::Null => Vec::new(),
        _ if text(step, "type") == "Sequence" => {
            step[list].as_array().into_iter().flatten().collect()
        }
        _ => vec![step],
    }
}

fn replaces_spaces(step: &Value) -> bool {
    text(&step["pattern"], "String") == " " && text(step, "content") == LOWER_BLOCK
}

/// The text under `key`, empty where there is none.
fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap_or_default()
}

fn truth(value: &Value, key: &str, default: bool) -> bool {
    value[key].as_bool().unwrap_or(default)
}
