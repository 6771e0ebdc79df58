//! Parquet files, as Hugging Face's data sets have them.

use anyhow::{Context, Result};
use bytes::Bytes;
use parquet::file::reader::FileReader;
use parquet::file::serialized_reader::SerializedFileReader;
use serde_json::Value;

/// The rows of a file, each as an object.
pub(crate) fn rows(bytes: Vec<u8>) -> Result<Vec<Value>> {
    let file = SerializedFileReader::new(Bytes::from(bytes))?;
    let rows = file.get_row_iter(None)?.enumerate();
    rows.map(|(index, row)| {
        let row = row.with_context(|| format!("row {}", index + 1))?;
        Ok(row.to_json_value())
    })
    .collect()
}
