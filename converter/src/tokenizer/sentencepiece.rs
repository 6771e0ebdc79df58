//! Reads SentencePiece models (`sentencepiece_model.proto` of google/sentencepiece).

use inkstone_text::{Algorithm, Kind, SpacePrefix, Token, Vocabulary, pretokenizer};

use super::added::Config;
use super::protobuf::Fields;
use super::sentence_piece;
use crate::error::{Error, ErrorKind, Result, malformed, unsupported};

/// Reads a SentencePiece model, and the `tokenizer_config.json` beside it where there is one.
///
/// Texts begin with the begin token unless the configuration says otherwise, as the Llama
/// tokenizers that come in this form have it.
///
/// # Errors
/// What is wrong with the model and at which byte, or what it asks for that is not known.
pub fn from_sentencepiece(bytes: &[u8], config: Option<&[u8]>) -> Result<Vocabulary> {
    let config = Config::parse(config)?;
    let mut model = Model::read(bytes)?;
    let algorithm = match model.trainer.kind {
        1 => Algorithm::Unigram,
        2 => Algorithm::Scores,
        kind => return Err(unsupported(format!("a SentencePiece model of type {kind}"))),
    };
    if model.normalizer.maps_characters {
        return Err(unsupported("a SentencePiece model that maps characters"));
    }
    if model.trainer.space_suffix || !model.normalizer.escape_spaces {
        return Err(unsupported(
            "a SentencePiece model with spaces after words or as they are",
        ));
    }
    config.add_tokens(&mut model.tokens)?;
    let id = |id: i32| {
        u32::try_from(id)
            .ok()
            .filter(|&id| (id as usize) < model.tokens.len())
    };
    let mut vocabulary = Vocabulary {
        algorithm,
        bos: id(model.trainer.bos),
        eos: id(model.trainer.eos),
        unknown: id(model.trainer.unknown),
        tokens: model.tokens,
        pretokenizer: pretokenizer::NONE,
        nfc: false,
        fold_spaces: true,
        collapse_spaces: model.normalizer.collapse_spaces,
        space_prefix: if model.normalizer.space_prefix {
            SpacePrefix::First
        } else {
            SpacePrefix::Never
        },
        ignore_merges: false,
        byte_fallback: model.trainer.byte_fallback,
        fuse_unknown: true,
        add_bos: true,
        add_eos: false,
    };
    config.apply(&mut vocabulary);
    vocabulary.add_bos &= vocabulary.bos.is_some();
    Ok(vocabulary)
}

struct Model {
    tokens: Vec<Token>,
    trainer: Trainer,
    normalizer: Normalizer,
}

/// What is read of `TrainerSpec`, beginning with its defaults.
struct Trainer {
    kind: u64,
    space_suffix: bool,
    byte_fallback: bool,
    unknown: i32,
    bos: i32,
    eos: i32,
}

/// What is read of `NormalizerSpec`, beginning with its defaults.
struct Normalizer {
    maps_characters: bool,
    space_prefix: bool,
    collapse_spaces: bool,
    escape_spaces: bool,
}

impl Model {
    fn read(bytes: &[u8]) -> Result<Self> {
        let mut model = Self {
            tokens: Vec::new(),
            trainer: Trainer {
                kind: 1,
                space_suffix: false,
                byte_fallback: false,
                unknown: 0,
                bos: 1,
                eos: 2,
            },
            normalizer: Normalizer {
                maps_characters: false,
                space_prefix: true,
                collapse_spaces: true,
                escape_spaces: true,
            },
        };
        let mut fields = Fields::new(bytes, 0);
        while let Some((number, field)) = fields.next()? {
            let Some(message) = field.message() else {
                continue;
            };
            let at = fields.at() - message.len() as u64;
            match number {
                1 => model.tokens.push(piece(message, at)?),
                2 => model.trainer.read(message, at)?,
                3 => model.normalizer.read(message, at)?,
                _ => {}
            }
        }
        if model.tokens.is_empty() {
            return Err(Error::new(ErrorKind::Magic, "no SentencePiece model"));
        }
        Ok(model)
    }
}

impl Trainer {
    fn read(&mut self, message: &[u8], at: u64) -> Result<()> {
        let mut fields = Fields::new(message, at);
        while let Some((number, field)) = fields.next()? {
            let Some(value) = field.whole() else {
                continue;
            };
            match number {
                3 => self.kind = value,
                24 => self.space_suffix = value != 0,
                35 => self.byte_fallback = value != 0,
                // Negative ids are written as 64-bit numbers; their low half is the id.
                40 => self.unknown = value as i32,
                41 => self.bos = value as i32,
                42 => self.eos = value as i32,
                _ => {}
            }
        }
        Ok(())
    }
}

impl Normalizer {
    fn read(&mut self, message: &[u8], at: u64) -> Result<()> {
        let mut fields = Fields::new(message, at);
        while let Some((number, field)) = fields.next()? {
            match (number, field.whole()) {
                (2, _) => self.maps_characters = field.message().is_some_and(|m| !m.is_empty()),
                (3, Some(value)) => self.space_prefix = value != 0,
                (4, Some(value)) => self.collapse_spaces = value != 0,
                (5, Some(value)) => self.escape_spaces = value != 0,
                _ => {}
            }
        }
        Ok(())
    }
}

fn piece(message: &[u8], at: u64) -> Result<Token> {
    /// The types of `SentencePiece`, from 1.
    const KINDS: [Kind; 6] = [
        Kind::Normal,
        Kind::Unknown,
        Kind::Control,
        Kind::UserDefined,
        Kind::Unused,
        Kind::Byte,
    ];
    let (mut text, mut score, mut kind) = ("", 0.0, Kind::Normal);
    let mut fields = Fields::new(message, at);
    while let Some((number, field)) = fields.next()? {
        match (number, field.message(), field.float(), field.whole()) {
            (1, Some(bytes), ..) => {
                text = str::from_utf8(bytes)
                    .map_err(|e| malformed("a piece is not UTF-8").at(at).because(e))?;
            }
            (2, _, Some(value), _) => score = value,
            (3, .., Some(value)) => {
                let place = usize::try_from(value).ok().and_then(|v| v.checked_sub(1));
                kind = *place
                    .and_then(|place| KINDS.get(place))
                    .ok_or_else(|| malformed(format!("a piece of type {value}")).at(at))?;
            }
            _ => {}
        }
    }
    let (bytes, kind) = sentence_piece(text, kind);
    Ok(Token::new(bytes, score, kind))
}
