//! Reads the tokenizer files of llama2.c (`tokenizer.py` of karpathy/llama2.c).
//!
//! The longest token's length is followed by each token: its score, its length, its bytes.

use inkstone_text::{Algorithm, Kind, SpacePrefix, Token, Vocabulary, pretokenizer};

use super::byte_of_name;
use crate::error::{Error, ErrorKind, Result, malformed};

/// The ids and names the format gives the first tokens; the export writes lines around them.
const FIRST: [(&str, Kind); 3] = [
    ("<unk>", Kind::Unknown),
    ("<s>", Kind::Control),
    ("</s>", Kind::Control),
];

/// Reads the tokenizer of a llama2.c model.
///
/// # Errors
/// What is wrong with the file and at which byte.
pub fn from_llama2c(bytes: &[u8]) -> Result<Vocabulary> {
    let mut input = Input { bytes, at: 0 };
    let longest = input.word()?;
    let mut tokens = Vec::new();
    while input.at < bytes.len() {
        tokens.push(input.token(tokens.len(), longest)?);
    }
    if tokens.len() <= FIRST.len() {
        return Err(malformed("fewer tokens than the format has of its own"));
    }
    Ok(Vocabulary {
        algorithm: Algorithm::Scores,
        tokens,
        pretokenizer: pretokenizer::NONE,
        nfc: false,
        fold_spaces: false,
        collapse_spaces: false,
        space_prefix: SpacePrefix::First,
        ignore_merges: false,
        byte_fallback: true,
        fuse_unknown: false,
        bos: Some(1),
        eos: Some(2),
        unknown: Some(0),
        add_bos: true,
        add_eos: false,
    })
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Input<'a> {
    fn token(&mut self, id: usize, longest: u32) -> Result<Token> {
        let score = f32::from_bits(self.word()?);
        let at = self.at as u64;
        let length = self.word()?;
        if length > longest {
            let message = format!("token {id} has {length} bytes, the longest {longest}");
            return Err(malformed(message).at(at));
        }
        let text = self.take(length as usize)?;
        if let Some(&(name, kind)) = FIRST.get(id) {
            return Ok(Token::new(name.into(), score, kind));
        }
        let byte = str::from_utf8(text).ok().and_then(byte_of_name);
        Ok(match byte {
            Some(byte) => Token::new(vec![byte], score, Kind::Byte),
            None => Token::new(text.to_vec(), score, Kind::Normal),
        })
    }

    fn word(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(bytes
            .iter()
            .rev()
            .fold(0, |word, &byte| word << 8 | u32::from(byte)))
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8]> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end));
        let taken = taken.ok_or_else(|| {
            Error::new(ErrorKind::Truncated, "the file ends inside a token").at(self.at as u64)
        })?;
        self.at += length;
        Ok(taken)
    }
}
