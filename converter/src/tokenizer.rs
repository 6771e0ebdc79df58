//! Reads tokenizers as others publish them into one description.

mod added;
mod ggml;
mod json;
mod llama2c;
mod protobuf;
mod sentencepiece;

use std::fs;
use std::path::Path;

use inkstone_text::{Kind, Vocabulary};

use crate::error::{Error, ErrorKind, Result};
use crate::gguf::Gguf;

pub use ggml::from_gguf;
pub use json::from_json;
pub use llama2c::from_llama2c;
pub use sentencepiece::from_sentencepiece;

/// What SentencePiece writes for a space.
const LOWER_BLOCK: &str = "\u{2581}";
/// The name of the file beside a tokenizer that says what it adds to texts.
const CONFIG_FILE: &str = "tokenizer_config.json";

/// Reads the tokenizer in `path`: a `tokenizer.json`, a SentencePiece `.model`, a GGUF file, or
/// llama2.c's `tokenizer.bin`, told apart by their first bytes and the name.
///
/// A `tokenizer_config.json` beside a `tokenizer.json` or `tokenizer.model` is read too.
///
/// # Errors
/// What is wrong with the file, or that it is none of these.
pub fn open(path: &Path) -> Result<Vocabulary> {
    read(path).map_err(|error| error.in_file(path))
}

fn read(path: &Path) -> Result<Vocabulary> {
    let mut magic = [0; 4];
    let length = std::io::Read::read(&mut fs::File::open(path)?, &mut magic)?;
    if magic[..length] == *b"GGUF" {
        return from_gguf(Gguf::open(path)?.header());
    }
    let bytes = fs::read(path)?;
    let config = config_beside(path)?;
    if bytes.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{') {
        return from_json(&bytes, config.as_deref());
    }
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("model") => from_sentencepiece(&bytes, config.as_deref()),
        Some("bin") => from_llama2c(&bytes),
        _ => Err(Error::new(
            ErrorKind::Magic,
            "neither a tokenizer.json, a SentencePiece .model, a GGUF file nor a llama2.c tokenizer.bin",
        )),
    }
}

fn config_beside(path: &Path) -> Result<Option<Vec<u8>>> {
    let config = path.with_file_name(CONFIG_FILE);
    match fs::read(&config) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::from(error).in_file(&config)),
    }
}

/// The byte that the name `<0x41>` stands for.
fn byte_of_name(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("<0x")?.strip_suffix('>')?;
    let two = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    two.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

/// The bytes of a piece as SentencePiece writes it, and the kind it has with them.
///
/// A piece with a plain space in it never comes from text, where spaces are lower blocks.
fn sentence_piece(piece: &str, kind: Kind) -> (Vec<u8>, Kind) {
    match kind {
        Kind::Byte => match byte_of_name(piece) {
            Some(byte) => (vec![byte], Kind::Byte),
            None => (piece.into(), Kind::Unused),
        },
        Kind::Control | Kind::Unknown => (piece.into(), kind),
        Kind::Normal if piece.contains(' ') => (piece.into(), Kind::Unused),
        _ => (piece.replace(LOWER_BLOCK, " ").into(), kind),
    }
}

#[cfg(test)]
mod tests;
