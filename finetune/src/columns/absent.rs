//! Stands in for Parquet where the program is built without it: a long build for a kind of file.

use anyhow::{Result, bail};
use serde_json::Value;

/// Says what to do.
pub(crate) fn rows(_: Vec<u8>) -> Result<Vec<Value>> {
    bail!(
        "this program is built without Parquet: build it with `--features parquet`, or write the rows as JSONL"
    )
}
