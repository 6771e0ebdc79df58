//! Tokens that Hugging Face adds to a vocabulary, and what `tokenizer_config.json` says of them.

use std::collections::BTreeMap;

use inkstone_text::{Kind, Token, Vocabulary};
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Result, malformed, over_limit, unsupported};

/// A token of `added_tokens`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct AddedToken {
    #[serde(default)]
    pub(super) id: u32,
    pub(super) content: String,
    #[serde(default)]
    pub(super) special: bool,
    #[serde(default)]
    single_word: bool,
    #[serde(default)]
    lstrip: bool,
    #[serde(default)]
    rstrip: bool,
}

/// What is read of `tokenizer_config.json`.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Config {
    bos_token: Option<Value>,
    eos_token: Option<Value>,
    add_bos_token: Option<bool>,
    add_eos_token: Option<bool>,
    #[serde(default)]
    added_tokens_decoder: BTreeMap<String, AddedToken>,
}

impl Config {
    pub(super) fn parse(bytes: Option<&[u8]>) -> Result<Self> {
        let Some(bytes) = bytes else {
            return Ok(Self::default());
        };
        serde_json::from_slice(bytes)
            .map_err(|e| malformed("tokenizer_config.json does not parse").because(e))
    }

    /// Puts the tokens that the configuration renames or adds into `tokens`.
    pub(super) fn add_tokens(&self, tokens: &mut Vec<Token>) -> Result<()> {
        for (id, added) in &self.added_tokens_decoder {
            let id = id
                .parse()
                .map_err(|e| malformed(format!("token id {id:?} is no number")).because(e))?;
            add(
                tokens,
                &AddedToken {
                    id,
                    ..added.clone()
                },
            )?;
        }
        Ok(())
    }

    /// Sets the begin and end tokens that the configuration names, and whether they are added.
    pub(super) fn apply(&self, vocabulary: &mut Vocabulary) {
        let tokens = &vocabulary.tokens;
        let find = |name: &Option<Value>| {
            let name = token_name(name.as_ref()?)?.as_bytes();
            let place = tokens.iter().position(|token| token.bytes == name)?;
            u32::try_from(place).ok()
        };
        let (bos, eos) = (find(&self.bos_token), find(&self.eos_token));
        vocabulary.bos = bos.or(vocabulary.bos);
        vocabulary.eos = eos.or(vocabulary.eos);
        vocabulary.add_bos = self.add_bos_token.unwrap_or(vocabulary.add_bos);
        vocabulary.add_eos = self.add_eos_token.unwrap_or(vocabulary.add_eos);
    }
}

/// A token is named by a string, or by an object that describes it.
fn token_name(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

/// Makes token `added.id` the added token; a byte stays a byte.
pub(super) fn add(tokens: &mut Vec<Token>, added: &AddedToken) -> Result<()> {
    if added.single_word {
        let name = &added.content;
        return Err(unsupported(format!(
            "token {name:?} is found as a whole word only"
        )));
    }
    let kind = if added.special {
        Kind::Control
    } else {
        Kind::UserDefined
    };
    let before = tokens.get(added.id as usize);
    if before.is_some_and(|token| token.kind == Kind::Byte) {
        return Ok(());
    }
    let score = before.map_or(0.0, |token| token.score);
    let token = Token {
        lstrip: added.lstrip,
        rstrip: added.rstrip,
        ..Token::new(added.content.clone().into_bytes(), score, kind)
    };
    put(tokens, added.id, token)
}

/// Makes `token` the token `id`; ids in between are never made from text.
pub(super) fn put(tokens: &mut Vec<Token>, id: u32, token: Token) -> Result<()> {
    /// How far beyond the tokens so far an id may lie.
    const HOLE_MAX: usize = 1 << 20;
    /// Several times the largest vocabulary there is: holes one after the other fill memory too.
    const ID_MAX: usize = 1 << 22;
    let place = id as usize;
    if place > tokens.len().saturating_add(HOLE_MAX) || place > ID_MAX {
        return Err(over_limit(format!(
            "token id {id} of {} tokens",
            tokens.len()
        )));
    }
    if place >= tokens.len() {
        tokens.resize(place + 1, Token::new(Vec::new(), 0.0, Kind::Unused));
    }
    tokens[place] = token;
    Ok(())
}
