//! Reads `tokenizer.json` of Hugging Face's `tokenizers`.

mod pipeline;

use std::collections::{BTreeMap, HashMap};

use inkstone_text::{Algorithm, Kind, Merge, Token, Vocabulary, alphabet};
use serde::Deserialize;
use serde_json::Value;

use super::added::{self, AddedToken, Config};
use super::{LOWER_BLOCK, byte_of_name, sentence_piece};
use crate::error::{Result, malformed, unsupported};
use pipeline::Pipeline;

#[derive(Deserialize)]
struct File {
    model: Model,
    #[serde(default)]
    added_tokens: Vec<AddedToken>,
    #[serde(default)]
    normalizer: Value,
    #[serde(default)]
    pre_tokenizer: Value,
    #[serde(default)]
    post_processor: Value,
}

#[derive(Deserialize)]
struct Model {
    #[serde(rename = "type")]
    kind: Option<String>,
    vocab: Pieces,
    #[serde(default)]
    merges: Vec<Pair>,
    unk_token: Option<String>,
    unk_id: Option<u32>,
    continuing_subword_prefix: Option<String>,
    end_of_word_suffix: Option<String>,
    #[serde(default)]
    byte_fallback: bool,
    #[serde(default)]
    ignore_merges: bool,
    #[serde(default)]
    fuse_unk: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Pieces {
    Ids(BTreeMap<String, u32>),
    Scores(Vec<(String, f32)>),
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Pair {
    Joined(String),
    Apart(String, String),
}

impl Pair {
    fn parts(&self) -> Option<(&str, &str)> {
        match self {
            Self::Joined(text) => text.split_once(' '),
            Self::Apart(left, right) => Some((left, right)),
        }
    }
}

/// Reads a `tokenizer.json`, and the `tokenizer_config.json` beside it where there is one.
///
/// # Errors
/// That it does not parse, contradicts itself, or asks for a step that is not known.
pub fn from_json(json: &[u8], config: Option<&[u8]>) -> Result<Vocabulary> {
    let file: File = serde_json::from_slice(json)
        .map_err(|e| malformed("the tokenizer.json does not parse").because(e))?;
    let config = Config::parse(config)?;
    let pipeline = Pipeline::read(&file.normalizer, &file.pre_tokenizer)?;
    let model = &file.model;
    for affix in [&model.continuing_subword_prefix, &model.end_of_word_suffix] {
        if let Some(affix) = affix.as_ref().filter(|affix| !affix.is_empty()) {
            return Err(unsupported(format!(
                "pieces of words are marked by {affix:?}"
            )));
        }
    }
    let mut tokens = Vec::new();
    for (piece, id, score) in model.vocab.pieces() {
        added::put(
            &mut tokens,
            id,
            pipeline.token(piece, score, model.byte_fallback),
        )?;
    }
    for token in &file.added_tokens {
        if !(pipeline.spaces && !token.special && token.content.contains(LOWER_BLOCK)) {
            added::add(&mut tokens, token)?;
        }
    }
    let template = pipeline::template(&file.post_processor)?;
    let mut vocabulary = Vocabulary {
        algorithm: model.algorithm(&pipeline)?,
        tokens,
        pretokenizer: pipeline.pretokenizer()?,
        nfc: pipeline.nfc,
        fold_spaces: pipeline.spaces,
        collapse_spaces: false,
        space_prefix: pipeline.space_prefix,
        ignore_merges: model.ignore_merges,
        byte_fallback: model.byte_fallback,
        fuse_unknown: model.fuse_unk || matches!(model.vocab, Pieces::Scores(_)),
        bos: template.bos,
        eos: template.eos,
        unknown: model.unknown()?,
        add_bos: template.bos.is_some(),
        add_eos: template.eos.is_some(),
    };
    config.apply(&mut vocabulary);
    Ok(vocabulary)
}

impl Pieces {
    fn pieces(&self) -> Vec<(&str, u32, f32)> {
        match self {
            Self::Ids(ids) => ids
                .iter()
                .map(|(piece, &id)| (piece.as_str(), id, 0.0))
                .collect(),
            Self::Scores(scores) => (0..)
                .zip(scores)
                .map(|(id, (piece, score))| (piece.as_str(), id, *score))
                .collect(),
        }
    }
}

impl Model {
    fn algorithm(&self, pipeline: &Pipeline) -> Result<Algorithm> {
        match (&self.vocab, self.kind.as_deref()) {
            (Pieces::Ids(ids), None | Some("BPE")) => {
                let merges = merges(&self.merges, ids)?;
                Ok(if pipeline.byte_level {
                    Algorithm::Bytes(merges)
                } else {
                    Algorithm::Characters(merges)
                })
            }
            (Pieces::Scores(_), None | Some("Unigram")) if !pipeline.byte_level => {
                Ok(Algorithm::Unigram)
            }
            (_, kind) => {
                let kind = kind.unwrap_or("without a type");
                Err(unsupported(format!("a tokenizer model {kind}")))
            }
        }
    }

    fn unknown(&self) -> Result<Option<u32>> {
        match (&self.unk_token, &self.vocab) {
            (Some(name), Pieces::Ids(ids)) => match ids.get(name) {
                Some(&id) => Ok(Some(id)),
                None => Err(malformed(format!("the unknown token {name:?} is no token"))),
            },
            _ => Ok(self.unk_id),
        }
    }
}

fn merges(pairs: &[Pair], ids: &BTreeMap<String, u32>) -> Result<Vec<Merge>> {
    let by_piece: HashMap<&str, u32> = ids.iter().map(|(p, &id)| (p.as_str(), id)).collect();
    let find = |piece: &str| {
        let id = by_piece.get(piece).copied();
        id.ok_or_else(|| malformed(format!("a merge names {piece:?}, which is no token")))
    };
    let merge = |(rank, pair): (usize, &Pair)| {
        let (left, right) = pair
            .parts()
            .ok_or_else(|| malformed(format!("merge {rank} is no pair")))?;
        Ok(Merge {
            left: find(left)?,
            right: find(right)?,
            into: find(&format!("{left}{right}"))?,
        })
    };
    pairs.iter().enumerate().map(merge).collect()
}

impl Pipeline {
    /// The entry for a piece of the model.
    fn token(&self, piece: &str, score: f32, byte_fallback: bool) -> Token {
        if self.byte_level {
            return match alphabet::bytes(piece) {
                Some(bytes) => Token::new(bytes, score, Kind::Normal),
                None => Token::new(piece.into(), score, Kind::Unused),
            };
        }
        let is_byte = byte_fallback && byte_of_name(piece).is_some();
        let (bytes, kind) = match (is_byte, self.spaces) {
            (true, _) => sentence_piece(piece, Kind::Byte),
            (false, true) => sentence_piece(piece, Kind::Normal),
            (false, false) => (piece.into(), Kind::Normal),
        };
        Token::new(bytes, score, kind)
    }
}
