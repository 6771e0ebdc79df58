//! Reads the small JSON files that lie beside a checkpoint.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use serde::de::DeserializeOwned;

use crate::error::{Error, Result, malformed, over_limit};

/// Bytes of a JSON file; the longest real ones are indexes of shards and tokenizer settings.
const FILE_MAX: u64 = 64 << 20;

/// Reads a whole file as JSON.
pub(crate) fn read<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let file = File::open(path).map_err(|e| Error::from(e).in_file(path))?;
    let length = file
        .metadata()
        .map_err(|e| Error::from(e).in_file(path))?
        .len();
    if length > FILE_MAX {
        return Err(over_limit(format!("a JSON file of {length} bytes")).in_file(path));
    }
    serde_json::from_reader(BufReader::new(file.take(FILE_MAX)))
        .map_err(|e| malformed("not the JSON expected").because(e).in_file(path))
}

/// Reads a whole text file.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_MAX).read_to_string(&mut text))
        .map_err(|e| Error::from(e).in_file(path))?;
    Ok(text)
}
