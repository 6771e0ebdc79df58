//! Reads the headers of safetensors files: one file, or the shards that an index names.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};

use crate::error::{Error, ErrorKind, Result, malformed, missing, over_limit, unsupported};
use crate::ggml_types::{self, GgmlType};

/// Bytes of a header, as in the library of the format's authors.
const HEADER_MAX: u64 = 100_000_000;
/// Bytes before the header: its length.
const PREFIX: u64 = 8;

/// One tensor of a safetensors file.
#[derive(Debug, Clone)]
pub struct StoredTensor {
    /// Name, unique in the file.
    pub name: String,
    /// The sizes, the slowest running first; empty for a single number.
    pub shape: Vec<u64>,
    /// How the elements are stored: `F32`, `F16`, `BF16` or a type that is only sized.
    pub kind: &'static GgmlType,
    /// First byte, from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// The shards of a folder, in the order of their names.
///
/// # Errors
/// There is neither `model.safetensors` nor an index, or the index is no index or names a file
/// outside the folder.
pub fn shards(folder: &Path) -> Result<Vec<PathBuf>> {
    let single = folder.join("model.safetensors");
    if single.exists() {
        return Ok(vec![single]);
    }
    let path = folder.join("model.safetensors.index.json");
    if !path.exists() {
        let message = "no model.safetensors and no model.safetensors.index.json";
        return Err(missing(message).in_file(folder));
    }
    let index: Index = crate::json::read(&path)?;
    let names: BTreeSet<&String> = index.weight_map.values().collect();
    for name in &names {
        if name.contains(['/', '\\']) || !name.ends_with(".safetensors") {
            return Err(malformed(format!("{name:?} is no shard's name")).in_file(&path));
        }
    }
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

/// Reads the header of a file; no tensor is touched.
///
/// # Errors
/// What is wrong with the header and at which byte.
pub fn open(path: &Path) -> Result<(File, Vec<StoredTensor>)> {
    let named = |error: Error| error.in_file(path);
    let file = File::open(path).map_err(|e| named(e.into()))?;
    let length = file.metadata().map_err(|e| named(e.into()))?.len();
    let tensors = parse(&file, length).map_err(named)?;
    Ok((file, tensors))
}

/// Reads the header of a file of `length` bytes: its tensors, in the order of their bytes.
///
/// # Errors
/// What is wrong with the header and at which byte.
pub fn parse(mut reader: impl Read, length: u64) -> Result<Vec<StoredTensor>> {
    let mut prefix = [0; PREFIX as usize];
    reader
        .read_exact(&mut prefix)
        .map_err(|e| Error::from(e).at(0))?;
    let size = u64::from_le_bytes(prefix);
    if size > HEADER_MAX {
        return Err(over_limit(format!("a header of {size} bytes")).at(0));
    }
    if size > length.saturating_sub(PREFIX) {
        let message = format!("a header of {size} bytes in a file of {length}");
        return Err(Error::new(ErrorKind::Truncated, message).at(0));
    }
    let mut header = Vec::new();
    reader.take(size).read_to_end(&mut header)?;
    let entries = entries(&header)?;
    let data = PREFIX + size;
    let mut tensors = Vec::new();
    for (name, entry) in entries {
        let tensor = entry.locate(&name, data);
        tensors.push(tensor.map_err(|e| e.at(PREFIX + find(&header, &name)))?);
    }
    tensors.sort_by_key(|t| (t.offset, t.bytes));
    covers(&tensors, data, length)?;
    Ok(tensors)
}

fn entries(header: &[u8]) -> Result<Vec<(String, Entry)>> {
    let text = core::str::from_utf8(header)
        .map_err(|e| malformed("the header is not UTF-8").at(PREFIX + e.valid_up_to() as u64))?;
    let Entries(entries) = serde_json::from_str(text).map_err(|e| {
        let line = text.split_inclusive('\n').take(e.line().saturating_sub(1));
        let before: usize = line.map(str::len).sum();
        let at = PREFIX + (before + e.column().saturating_sub(1)) as u64;
        malformed("the header is no list of tensors")
            .because(e)
            .at(at)
    })?;
    Ok(entries)
}

/// The tensors must fill the rest of the file, without holes or overlaps.
fn covers(tensors: &[StoredTensor], data: u64, length: u64) -> Result<()> {
    let mut expected = data;
    for tensor in tensors {
        if tensor.offset != expected {
            let message = format!(
                "tensor {} starts at byte {}, where {expected} was expected",
                tensor.name, tensor.offset
            );
            return Err(malformed(message).at(expected.min(length)));
        }
        expected = tensor
            .offset
            .checked_add(tensor.bytes)
            .filter(|&end| end <= length)
            .ok_or_else(|| {
                let message = format!("tensor {} ends after the file", tensor.name);
                Error::new(ErrorKind::Truncated, message).at(tensor.offset)
            })?;
    }
    if expected != length {
        return Err(malformed("bytes after the last tensor").at(expected));
    }
    Ok(())
}

/// Where the quoted name stands in the header, near enough to look there.
fn find(header: &[u8], name: &str) -> u64 {
    let quoted = serde_json::to_string(name).expect("a string is always JSON");
    let found = header
        .windows(quoted.len())
        .position(|window| window == quoted.as_bytes());
    found.unwrap_or(0) as u64
}

#[derive(Deserialize)]
struct Entry {
    dtype: String,
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl Entry {
    fn locate(self, name: &str, data: u64) -> Result<StoredTensor> {
        let kind = ggml_types::by_name(&self.dtype).filter(|t| t.block == 1);
        let kind = kind.ok_or_else(|| {
            unsupported(format!(
                "tensor {name} is of type {}; F32, F16 and BF16 are read",
                self.dtype
            ))
        })?;
        let bytes = self
            .shape
            .iter()
            .try_fold(1_u64, |product, &size| product.checked_mul(size))
            .and_then(|elements| kind.bytes_of(elements));
        let (start, end) = self.data_offsets;
        let extent = end.checked_sub(start).filter(|&e| Some(e) == bytes);
        let offset = data.checked_add(start);
        match (extent, offset) {
            (Some(bytes), Some(offset)) => Ok(StoredTensor {
                name: name.to_owned(),
                shape: self.shape,
                kind,
                offset,
                bytes,
            }),
            _ => Err(malformed(format!(
                "tensor {name} of shape {:?} cannot lie at {start}..{end}",
                self.shape
            ))),
        }
    }
}

struct Entries(Vec<(String, Entry)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> core::result::Result<Self, D::Error> {
        deserializer.deserialize_map(EntriesVisitor)
    }
}

struct EntriesVisitor;

impl<'de> Visitor<'de> for EntriesVisitor {
    type Value = Entries;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> core::result::Result<Entries, A::Error> {
        let mut entries = Vec::new();
        let mut seen = BTreeSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if !seen.insert(name.clone()) {
                let message = format!("tensor {name} stands twice");
                return Err(serde::de::Error::custom(message));
            }
            if name == "__metadata__" {
                map.next_value::<BTreeMap<String, String>>()?;
            } else {
                entries.push((name, map.next_value()?));
            }
        }
        Ok(Entries(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: usize) -> Vec<u8> {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.resize(bytes.len() + data, 0);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<StoredTensor>> {
        parse(bytes, bytes.len() as u64)
    }

    fn refused(header: &str, data: usize, kind: ErrorKind) -> Error {
        let error = read(&file(header, data)).expect_err("hostile");
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.offset().is_some(), "{error}");
        error
    }

    #[test]
    fn a_sound_file_is_read_in_the_order_of_its_bytes() {
        let header = r#"{"b":{"dtype":"BF16","shape":[2,3],"data_offsets":[4,16]},
            "__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}"#;
        let tensors = read(&file(header, 16)).unwrap();
        assert_eq!((&*tensors[0].name, tensors[0].bytes), ("a", 4));
        assert_eq!(
            (tensors[1].kind.name, &tensors[1].shape[..]),
            ("BF16", &[2, 3][..])
        );
        assert_eq!(tensors[1].offset, 8 + header.len() as u64 + 4);
    }

    #[test]
    fn every_truncation_is_an_error() {
        let whole = file(
            r#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#,
            8,
        );
        read(&whole).unwrap();
        for end in 0..whole.len() {
            read(&whole[..end]).unwrap_err();
        }
    }

    #[test]
    fn headers_longer_than_the_file_cost_no_memory() {
        for size in [60, 99_999_999, 100_000_001, u64::MAX] {
            let mut bytes = size.to_le_bytes().to_vec();
            bytes.extend(b"{}");
            read(&bytes).unwrap_err();
        }
    }

    #[test]
    fn extents_are_checked() {
        let one = |shape: &str, from: i64, to: i64| {
            format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":[{from},{to}]}}}}"#)
        };
        refused(
            &one("[4611686018427387904,4]", 0, 16),
            16,
            ErrorKind::Malformed,
        );
        refused(&one("[2]", 8, 0), 8, ErrorKind::Malformed);
        refused(&one("[2]", 0, 12), 12, ErrorKind::Malformed);
        refused(&one("[2]", 4, 12), 12, ErrorKind::Malformed);
        refused(&one("[2]", -8, 0), 8, ErrorKind::Malformed);
        refused(&one("[3]", 0, 12), 8, ErrorKind::Truncated);
        refused(&one("[2]", 0, 8), 9, ErrorKind::Malformed);
    }

    #[test]
    fn a_type_that_is_not_read_names_its_tensor() {
        let header = r#"{"x.weight":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}"#;
        let error = refused(header, 2, ErrorKind::Unsupported);
        assert!(error.to_string().contains("x.weight"), "{error}");
        assert_eq!(error.offset(), Some(9));
    }

    #[test]
    fn a_name_that_stands_twice_is_refused() {
        let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},
                         "a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#;
        refused(header, 8, ErrorKind::Malformed);
    }
}
