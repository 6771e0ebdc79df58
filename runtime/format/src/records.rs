//! What is rarely read, in postcard: where a model comes from, what was done to it and under which terms it stands.
//!
//! A record's section is its version, u16 little-endian, and the postcard form of that version's struct. A struct that
//! was shipped never changes; a later version is a struct of its own, and reading turns the older into the newer.

use core::{error, fmt};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::string::String;
use std::vec::Vec;

/// Bytes of the longest record that is read.
pub const MAX_RECORD_BYTES: usize = 1 << 24;

/// The manifest as this version of the crate writes it.
pub type Manifest = ManifestV1;
/// The provenance as this version of the crate writes it.
pub type Provenance = ProvenanceV1;
/// A tensor's origin as this version of the crate writes it.
pub type Origin = OriginV1;
/// A source file as this version of the crate writes it.
pub type Source = SourceV1;
/// A rewrite as this version of the crate writes it.
pub type Rewrite = RewriteV1;
/// A part of grouped rows as this version of the crate writes it.
pub type Part = PartV1;
/// A row permutation as this version of the crate writes it.
pub type Pattern = PatternV1;

/// A record with a version, kept in a section of its own.
pub trait Record: Serialize + DeserializeOwned {
    /// The version that stands before the record.
    const VERSION: u16;
}

/// What a model is and under which terms; carried on by conversions, adapters and merges.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestV1 {
    /// Name of the model.
    pub name: String,
    /// SPDX expression or `LicenseRef-…`; `None` is "unknown".
    pub licence: Option<String>,
    /// Address of the terms.
    pub licence_address: Option<String>,
    /// Text of the licence, or the notice it asks to pass on.
    pub licence_text: Option<String>,
    /// Who made the model, a line each.
    pub attribution: Vec<String>,
    /// The models it was made from, nearest first.
    pub base_models: Vec<String>,
    /// What was changed since, a sentence each, oldest first.
    pub changes: Vec<String>,
    /// BCP 47 tags of the languages it was trained for.
    pub languages: Vec<String>,
}

/// How a file was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProvenanceV1 {
    /// Name and version of the program that made the file.
    pub converter: String,
    /// Its arguments, without paths of the machine where that is possible.
    pub command: Vec<String>,
    /// The files it read.
    pub sources: Vec<SourceV1>,
    /// Where each tensor comes from, in the order of the tensor table.
    pub tensors: Vec<OriginV1>,
}

/// A file that was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceV1 {
    /// Name without folders.
    pub name: String,
    /// Length.
    pub bytes: u64,
    /// Algorithm and lower-case hexadecimal digits: `sha256:…` or `blake3:…`.
    pub digest: String,
}

/// Where a tensor comes from and what was done to it, first to last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OriginV1 {
    /// Layer in the tensor table.
    pub layer: u16,
    /// Role in the tensor table.
    pub role: u16,
    /// Name of the tensor in the source.
    pub source: String,
    /// Number type of the source, as it writes it (`Q4_1`, `BF16`).
    pub stored_as: String,
    /// Applied to the source in order, these give the tensor.
    pub rewrites: Vec<RewriteV1>,
}

/// A rewrite of a matrix of `rows` × `inputs` between source and file. All but the last two keep every bit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RewriteV1 {
    /// Keeps `rows` rows from row `first` on: one of several matrices stacked in the source.
    SplitRows {
        /// First row that is kept.
        first: u64,
        /// Rows that are kept.
        rows: u64,
    },
    /// Keeps one part of rows stacked by key head: `queries` query heads, a key head, a value head, and again.
    GroupedRows {
        /// The part that is kept, in ascending order of heads.
        part: PartV1,
        /// Key heads, which is how often the pattern repeats.
        kv_heads: u32,
        /// Query heads for each key head.
        queries: u32,
        /// Rows of a head.
        head_rows: u32,
    },
    /// Reorders the rows within each of `heads` equal parts.
    PermuteRows {
        /// Parts.
        heads: u32,
        /// Order within a part.
        pattern: PatternV1,
    },
    /// The same bytes serve another role of the source as well, and stand in the file once.
    Tied {
        /// The name of the role's tensor in the source, whether it exists there or not.
        with: String,
    },
    /// Adds 1 to every element, in f32: norms whose gain is stored as its distance from one.
    AddOne,
    /// Stored in another format, through f32.
    Transcode {
        /// Format before.
        from: String,
        /// Name of the format after.
        to: String,
    },
}

/// A part of rows stacked by key head.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PartV1 {
    /// The query heads.
    Queries,
    /// The key heads.
    Keys,
    /// The value heads.
    Values,
}

/// An order of `n` rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PatternV1 {
    /// Rows `2i` and `2i + 1` move to `i` and `n/2 + i`: rotary pairs side by side become halves.
    InterleavedToHalves,
}

impl Record for ManifestV1 {
    const VERSION: u16 = 1;
}

impl Record for ProvenanceV1 {
    const VERSION: u16 = 1;
}

/// The section's content.
pub fn encode<R: Record>(record: &R) -> Vec<u8> {
    postcard::to_extend(record, R::VERSION.to_le_bytes().to_vec())
        .expect("strings, numbers and lists in memory always serialise")
}

/// Reads the section's content, all of it.
pub fn decode<R: Record>(bytes: &[u8]) -> Result<R, RecordError> {
    if bytes.len() > MAX_RECORD_BYTES {
        return Err(RecordError::TooLong);
    }
    let (version, body) = bytes.split_first_chunk().ok_or(RecordError::Damaged)?;
    if u16::from_le_bytes(*version) != R::VERSION {
        return Err(RecordError::Version(u16::from_le_bytes(*version)));
    }
    match postcard::take_from_bytes(body) {
        Ok((record, [])) => Ok(record),
        _ => Err(RecordError::Damaged),
    }
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RecordError {
    /// Its version is not known here.
    Version(u16),
    /// Longer than [`MAX_RECORD_BYTES`].
    TooLong,
    /// Not the form that its version says.
    Damaged,
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RecordError::Version(v) => write!(f, "record of unknown version {v}"),
            RecordError::TooLong => write!(f, "record longer than {MAX_RECORD_BYTES} bytes"),
            RecordError::Damaged => write!(f, "record is damaged"),
        }
    }
}

impl error::Error for RecordError {}
