//! Reads the tokenizer in the metadata of a GGUF file (`tokenizer.ggml.*`).

use std::collections::HashMap;

use inkstone_text::{
    Algorithm, Kind, Merge, Pretokenizer, SpacePrefix, Token, Vocabulary, alphabet, pretokenizer,
};

use super::sentence_piece;
use crate::error::{Error, Result, malformed, missing, unsupported};
use crate::gguf::{Header, Value};

/// One kind of tokenizer that GGUF files name (`tokenizer.ggml.model`), and what it goes without
/// saying.
struct Model {
    name: &'static str,
    algorithm: fn(Vec<Merge>) -> Algorithm,
    byte_level: bool,
    space_prefix: bool,
    add_bos: bool,
}

static MODELS: &[Model] = &[
    Model {
        name: "llama",
        algorithm: |_| Algorithm::Scores,
        byte_level: false,
        space_prefix: true,
        add_bos: true,
    },
    Model {
        name: "gpt2",
        algorithm: Algorithm::Bytes,
        byte_level: true,
        space_prefix: false,
        add_bos: false,
    },
    Model {
        name: "gemma4",
        algorithm: Algorithm::Characters,
        byte_level: false,
        space_prefix: false,
        add_bos: true,
    },
    Model {
        name: "t5",
        algorithm: |_| Algorithm::Unigram,
        byte_level: false,
        space_prefix: true,
        add_bos: false,
    },
];

/// The pre-tokenizers with which a piece that is a token is that token, and texts begin with the
/// begin token.
const IGNORE_MERGES: &str = "llama3";
/// Special tokens of Phi-3 that keep the white space after them.
const PHI3_KEEPS_SPACE: [&[u8]; 3] = [b"<unk>", b"<s>", b"<|endoftext|>"];

/// Reads the tokenizer of a GGUF file.
///
/// # Errors
/// What is missing or contradicts itself, or the tokenizer's kind where it is not known.
pub fn from_gguf(header: &Header) -> Result<Vocabulary> {
    let keys = Keys(header);
    let name = keys
        .text("model")?
        .ok_or_else(|| missing("key tokenizer.ggml.model"))?;
    let model = MODELS
        .iter()
        .find(|model| model.name == name)
        .ok_or_else(|| unsupported(format!("tokenizer.ggml.model {name:?}")))?;
    if keys.get("precompiled_charsmap").is_some() {
        return Err(unsupported("tokenizer.ggml.precompiled_charsmap"));
    }
    let names = keys.tokens()?;
    let mut tokens = keys.entries(names, model)?;
    if keys.is_phi3() {
        strip_after_specials(&mut tokens);
    }
    let pretokenizer = keys.pretokenizer(model)?;
    let llama3 = pretokenizer.name == IGNORE_MERGES;
    let prefix = keys
        .truth("add_space_prefix")?
        .unwrap_or(model.space_prefix);
    let [bos, eos, unknown] = ["bos", "eos", "unknown"].map(|name| keys.token(name, names.len()));
    let bos = bos?;
    let add_bos = keys
        .truth("add_bos_token")?
        .unwrap_or(model.add_bos || llama3);
    Ok(Vocabulary {
        algorithm: (model.algorithm)(keys.merges(names)?),
        tokens,
        pretokenizer,
        nfc: false,
        fold_spaces: !model.byte_level,
        collapse_spaces: keys.truth("remove_extra_whitespaces")?.unwrap_or(false),
        space_prefix: if prefix && !model.byte_level {
            SpacePrefix::Every
        } else {
            SpacePrefix::Never
        },
        ignore_merges: llama3,
        byte_fallback: !model.byte_level,
        fuse_unknown: false,
        bos,
        eos: eos?,
        unknown: if model.byte_level { None } else { unknown? },
        add_bos: add_bos && bos.is_some(),
        add_eos: keys.truth("add_eos_token")?.unwrap_or(false),
    })
}

/// The keys below `tokenizer.ggml.`.
struct Keys<'h>(&'h Header);

impl<'h> Keys<'h> {
    fn get(&self, key: &str) -> Option<&'h Value> {
        self.0.get(&format!("tokenizer.ggml.{key}"))
    }

    /// What `read` makes of the value under `key`, which must be of its type.
    fn typed<T>(&self, key: &str, read: impl Fn(&'h Value) -> Option<T>) -> Result<Option<T>> {
        let Some(value) = self.get(key) else {
            return Ok(None);
        };
        let wrong = || {
            self.at(
                key,
                malformed(format!("tokenizer.ggml.{key} is of a wrong type")),
            )
        };
        read(value).map(Some).ok_or_else(wrong)
    }

    /// `error`, at the byte where the value under `key` starts.
    fn at(&self, key: &str, error: Error) -> Error {
        match self.0.offset_of(&format!("tokenizer.ggml.{key}")) {
            Some(offset) => error.at(offset),
            None => error,
        }
    }

    fn text(&self, key: &str) -> Result<Option<&'h str>> {
        self.typed(key, Value::as_str)
    }

    fn truth(&self, key: &str) -> Result<Option<bool>> {
        self.typed(key, Value::as_bool)
    }

    fn tokens(&self) -> Result<&'h [String]> {
        self.typed("tokens", Value::as_strs)?
            .ok_or_else(|| missing("key tokenizer.ggml.tokens"))
    }

    /// The id under `NAME_token_id`, if there is such a token.
    fn token(&self, name: &str, tokens: usize) -> Result<Option<u32>> {
        let key = format!("{name}_token_id");
        let Some(id) = self.typed(&key, Value::as_u64)? else {
            return Ok(None);
        };
        let known = u32::try_from(id).ok().filter(|&id| (id as usize) < tokens);
        let wrong = || malformed(format!("tokenizer.ggml.{key} is {id} of {tokens} tokens"));
        known.map(Some).ok_or_else(|| self.at(&key, wrong()))
    }

    fn entries(&self, names: &[String], model: &Model) -> Result<Vec<Token>> {
        let kinds = self.typed("token_type", Value::as_i32s)?;
        let scores = self.typed("scores", Value::as_f32s)?;
        for (key, length) in [
            ("token_type", kinds.map(<[_]>::len)),
            ("scores", scores.map(<[_]>::len)),
        ] {
            if let Some(length) = length.filter(|&length| length != names.len()) {
                let message = format!(
                    "{length} of tokenizer.ggml.{key} for {} tokens",
                    names.len()
                );
                return Err(self.at(key, malformed(message)));
            }
        }
        let entry = |(id, name): (usize, &String)| {
            let kind = match kinds {
                Some(kinds) => kind(kinds[id]).ok_or_else(|| {
                    self.at(
                        "token_type",
                        malformed(format!("token {id} of type {}", kinds[id])),
                    )
                })?,
                None => Kind::Normal,
            };
            let (bytes, kind) = if model.byte_level {
                byte_level(name, kind)
            } else {
                sentence_piece(name, kind)
            };
            Ok(Token::new(
                bytes,
                scores.map_or(0.0, |scores| scores[id]),
                kind,
            ))
        };
        names.iter().enumerate().map(entry).collect()
    }

    fn merges(&self, names: &[String]) -> Result<Vec<Merge>> {
        let pairs = self.typed("merges", Value::as_strs)?.unwrap_or_default();
        // The first of equal names counts, as in the section.
        let ids: HashMap<&str, u32> = (0..names.len() as u32)
            .zip(names)
            .rev()
            .map(|(id, name)| (name.as_str(), id))
            .collect();
        let merge = |pair: &String| {
            // A piece may be a space itself, so the first character never separates.
            let first = pair.chars().next().map_or(0, char::len_utf8);
            let split = first + pair.get(first..)?.find(' ')?;
            let (left, right) = (pair.get(..split)?, pair.get(split + 1..)?);
            Some(Merge {
                left: *ids.get(left)?,
                right: *ids.get(right)?,
                into: *ids.get(format!("{left}{right}").as_str())?,
            })
        };
        pairs
            .iter()
            .map(|pair| {
                merge(pair).ok_or_else(|| {
                    self.at(
                        "merges",
                        malformed(format!("merge {pair:?} is no pair of tokens")),
                    )
                })
            })
            .collect()
    }

    fn pretokenizer(&self, model: &Model) -> Result<&'static Pretokenizer> {
        if !model.byte_level {
            return Ok(Pretokenizer::by_ggml_name(model.name).unwrap_or(pretokenizer::NONE));
        }
        let name = self
            .text("pre")?
            .ok_or_else(|| missing("key tokenizer.ggml.pre"))?;
        Pretokenizer::by_ggml_name(name)
            .ok_or_else(|| self.at("pre", unsupported(format!("tokenizer.ggml.pre {name:?}"))))
    }

    fn is_phi3(&self) -> bool {
        let name = self.0.get("general.name").and_then(Value::as_str);
        let name = name.unwrap_or_default().to_lowercase();
        name.contains("phi3") || name.contains("phi-3")
    }
}

/// The numbers GGUF files give the kinds of tokens.
fn kind(number: i32) -> Option<Kind> {
    const KINDS: [Kind; 7] = [
        Kind::Normal,
        Kind::Normal,
        Kind::Unknown,
        Kind::Control,
        Kind::UserDefined,
        Kind::Unused,
        Kind::Byte,
    ];
    KINDS.get(usize::try_from(number).ok()?).copied()
}

fn byte_level(name: &str, kind: Kind) -> (Vec<u8>, Kind) {
    match (kind, alphabet::bytes(name)) {
        (Kind::Normal, Some(bytes)) => (bytes, kind),
        (Kind::Normal | Kind::Byte, _) => (name.into(), Kind::Unused),
        _ => (name.into(), kind),
    }
}

/// Files of Phi-3 do not say that its special tokens take the white space after them.
fn strip_after_specials(tokens: &mut [Token]) {
    for token in tokens {
        let special = matches!(
            token.kind,
            Kind::Control | Kind::UserDefined | Kind::Unknown
        );
        token.rstrip = special && !PHI3_KEEPS_SPACE.contains(&token.bytes.as_slice());
    }
}
