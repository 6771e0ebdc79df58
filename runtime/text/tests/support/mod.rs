//! What the tests over whole vocabularies share: where one lies, and how it is read.

use core::error::Error;
use std::fs;
use std::io::Cursor;
use std::path::PathBuf;

use inkstone_converter::gguf::Header;
use inkstone_converter::tokenizer;
use inkstone_tests::needs;
use inkstone_text::{Vocabulary, build};

/// The file of a vocabulary: in the materials' `tokenizers`, or a model.
pub(crate) fn locate(name: &str) -> Option<PathBuf> {
    match name.strip_prefix("models:") {
        Some(model) => needs::model(model),
        None => needs::materials(&format!("tokenizers/{name}")),
    }
}

/// What a test of the vocabulary `name` needs.
pub(crate) fn need(name: &str) -> &'static str {
    if name.starts_with("models:") {
        "models"
    } else {
        "materials"
    }
}

/// The bytes of a file, unpacked if it is packed.
pub(crate) fn bytes(name: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let packed = fs::read(locate(name).ok_or("absent")?)?;
    if !name.ends_with(".xz") {
        return Ok(packed);
    }
    let mut unpacked = Vec::new();
    lzma_rs::xz_decompress(&mut Cursor::new(packed), &mut unpacked)
        .map_err(|e| format!("{name}: {e:?}"))?;
    Ok(unpacked)
}

/// The vocabulary of a file.
pub(crate) fn vocabulary(name: &str) -> Result<Vocabulary, Box<dyn Error>> {
    let path = locate(name).ok_or("absent")?;
    if !name.ends_with(".xz") && !name.ends_with(".tokenizer.json") {
        return Ok(tokenizer::open(&path)?);
    }
    let bytes = bytes(name)?;
    if bytes.starts_with(b"GGUF") {
        let header = Header::parse(bytes.as_slice(), bytes.len() as u64)?;
        return Ok(tokenizer::from_gguf(&header)?);
    }
    let config = name.replace(".tokenizer.json.xz", ".tokenizer_config.json");
    let config = locate(&config).filter(|_| config != name).map(fs::read);
    Ok(tokenizer::from_json(
        &bytes,
        config.transpose()?.as_deref(),
    )?)
}

/// The section of a vocabulary.
pub(crate) fn section(name: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    Ok(build(&vocabulary(name)?)?)
}
