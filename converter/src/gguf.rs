//! Reads GGUF files, versions 2 and 3 (the format: `docs/gguf.md` of ggml).

mod value;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result, malformed, over_limit, unsupported};
use crate::ggml_types::{self, GgmlType};
pub use value::{Array, Value};

/// Bytes all metadata and tensor names together may take.
const HEADER_MAX: u64 = 256 << 20;
/// Bytes of one string.
const STRING_MAX: u64 = 64 << 20;
/// Bytes of one key, as the format says.
const KEY_MAX: u64 = 65_535;
/// Bytes of one tensor name, as the format says.
const NAME_MAX: u64 = 64;
const DIMS_MAX: u32 = 4;
const ALIGNMENT_KEY: &str = "general.alignment";
const ALIGNMENT_DEFAULT: u64 = 32;
const ALIGNMENT_MAX: u64 = 1 << 16;

/// An open GGUF file whose header holds.
#[derive(Debug)]
pub struct Gguf {
    header: Header,
    file: File,
    path: PathBuf,
}

/// The metadata and the tensor list of a file; every tensor lies inside the file.
#[derive(Debug, Clone)]
pub struct Header {
    /// Version of the format: 2 or 3.
    pub version: u32,
    /// Bytes to which tensors are aligned, a power of two.
    pub alignment: u64,
    /// The tensors, in the order of the file.
    pub tensors: Vec<TensorInfo>,
    entries: BTreeMap<String, Entry>,
}

/// Where one tensor lies and what it is made of.
#[derive(Debug, Clone)]
pub struct TensorInfo {
    /// Name, unique in the file.
    pub name: String,
    /// One to four sizes, none zero, the fastest running first: `[inputs, outputs]` of a matrix.
    pub dims: Vec<u64>,
    /// How the elements are stored.
    pub kind: &'static GgmlType,
    /// First byte, from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

#[derive(Debug, Clone)]
struct Entry {
    offset: u64,
    value: Value,
}

impl Gguf {
    /// Opens a file and reads its header; no tensor is touched.
    ///
    /// # Errors
    /// What is wrong with the file and at which byte.
    pub fn open(path: &Path) -> Result<Self> {
        let named = |error: Error| error.in_file(path);
        let file = File::open(path).map_err(|e| named(e.into()))?;
        let length = file.metadata().map_err(|e| named(e.into()))?.len();
        let header = Header::parse(BufReader::new(&file), length).map_err(named)?;
        Ok(Self {
            header,
            file,
            path: path.to_owned(),
        })
    }

    /// The metadata and the tensor list.
    #[must_use]
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.header.get(key)
    }

    /// The tensors, in the order of the file.
    #[must_use]
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.header.tensors
    }

    /// The path the file was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces `into` with the bytes of `tensor`.
    ///
    /// # Errors
    /// The file has become shorter or cannot be read.
    pub fn read(&self, tensor: &TensorInfo, into: &mut Vec<u8>) -> Result<()> {
        read_range(&self.file, tensor.offset, tensor.bytes, into)
            .map_err(|e| e.at(tensor.offset).in_file(&self.path))
    }
}

/// Replaces `into` with `bytes` bytes of `file` from `offset`.
pub(crate) fn read_range(
    mut file: &File,
    offset: u64,
    bytes: u64,
    into: &mut Vec<u8>,
) -> Result<()> {
    into.clear();
    file.seek(SeekFrom::Start(offset))?;
    file.take(bytes).read_to_end(into)?;
    if into.len() as u64 == bytes {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::Truncated,
            "the file has become shorter",
        ))
    }
}

impl Header {
    /// Reads the header of a file of `length` bytes.
    ///
    /// Memory grows with the bytes really read, never with what the header claims.
    ///
    /// # Errors
    /// What is wrong with the header and at which byte.
    pub fn parse(reader: impl Read, length: u64) -> Result<Self> {
        let mut input = Input {
            reader,
            at: 0,
            length,
        };
        let version = input.preamble()?;
        let tensor_count = input.u64()?;
        let entry_count = input.u64()?;
        let entries = input.entries(entry_count)?;
        let alignment = alignment(&entries)?;
        let mut tensors = input.tensors(tensor_count, alignment)?;
        place(&mut tensors, input.at.next_multiple_of(alignment), length)?;
        Ok(Self {
            version,
            alignment,
            tensors,
            entries,
        })
    }

    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// The byte at which the value under `key` starts.
    #[must_use]
    pub fn offset_of(&self, key: &str) -> Option<u64> {
        self.entries.get(key).map(|entry| entry.offset)
    }

    /// All keys and values, in the order of the keys.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(k, e)| (k.as_str(), &e.value))
    }
}

fn alignment(entries: &BTreeMap<String, Entry>) -> Result<u64> {
    let Some(entry) = entries.get(ALIGNMENT_KEY) else {
        return Ok(ALIGNMENT_DEFAULT);
    };
    match entry.value.as_u64() {
        Some(a) if a.is_power_of_two() && a <= ALIGNMENT_MAX => Ok(a),
        _ => Err(malformed(format!(
            "{ALIGNMENT_KEY} is no power of two up to {ALIGNMENT_MAX}"
        ))
        .at(entry.offset)),
    }
}

/// Turns offsets from the data section into offsets from the start of the file, and demands that
/// the tensors end inside the file.
fn place(tensors: &mut [TensorInfo], data: u64, length: u64) -> Result<()> {
    for tensor in tensors {
        let start = data.checked_add(tensor.offset);
        let end = start.and_then(|start| start.checked_add(tensor.bytes));
        let (Some(start), Some(end)) = (start, end) else {
            let message = format!("the extent of tensor {} overflows", tensor.name);
            return Err(malformed(message).at(data));
        };
        if end > length {
            let name = &tensor.name;
            let message = format!("tensor {name} ends at byte {end} of a file of {length}");
            return Err(Error::new(ErrorKind::Truncated, message).at(start));
        }
        tensor.offset = start;
    }
    Ok(())
}

/// A reader that knows where it is and what may still come.
struct Input<R> {
    reader: R,
    at: u64,
    length: u64,
}

impl<R: Read> Input<R> {
    fn preamble(&mut self) -> Result<u32> {
        if self.array::<4>()? != *b"GGUF" {
            return Err(Error::new(ErrorKind::Magic, "not a GGUF file").at(0));
        }
        match self.u32()? {
            version @ (2 | 3) => Ok(version),
            version if version.swap_bytes() <= 3 && version != 0 => {
                Err(Error::new(ErrorKind::Version, "a big-endian GGUF file").at(4))
            }
            version => {
                let message = format!("GGUF version {version}; 2 and 3 are read");
                Err(Error::new(ErrorKind::Version, message).at(4))
            }
        }
    }

    fn entries(&mut self, count: u64) -> Result<BTreeMap<String, Entry>> {
        let mut entries = BTreeMap::new();
        for _ in 0..count {
            let start = self.at;
            let key = self.string(KEY_MAX)?;
            if key.is_empty() {
                return Err(malformed("an empty key").at(start));
            }
            let kind = self.u32()?;
            let offset = self.at;
            let value = self.value(kind)?;
            if entries.contains_key(&key) {
                return Err(malformed(format!("key {key} stands twice")).at(start));
            }
            entries.insert(key, Entry { offset, value });
        }
        Ok(entries)
    }

    fn value(&mut self, kind: u32) -> Result<Value> {
        let start = self.at;
        if kind == value::ARRAY {
            let element = self.u32()?;
            let count = self.u64()?;
            return Ok(Value::Array(self.elements(element, count, start)?));
        }
        if kind == value::STRING {
            return Ok(Value::Str(self.string(STRING_MAX)?));
        }
        let size = value::size(kind)
            .ok_or_else(|| malformed(format!("value type {kind} is unknown")).at(start - 4))?;
        let bytes = self.bytes(size)?;
        Value::scalar(kind, &bytes)
            .ok_or_else(|| malformed("a boolean is neither 0 nor 1").at(start))
    }

    fn elements(&mut self, kind: u32, count: u64, start: u64) -> Result<Array> {
        if kind == value::ARRAY {
            return Err(unsupported("an array of arrays").at(start));
        }
        if kind == value::STRING {
            let mut strings = Vec::new();
            for _ in 0..count {
                strings.push(self.string(STRING_MAX)?);
            }
            return Ok(Array::Str(strings));
        }
        let size = value::size(kind)
            .ok_or_else(|| malformed(format!("array element type {kind} is unknown")).at(start))?;
        let bytes = count
            .checked_mul(size)
            .ok_or_else(|| over_limit(format!("an array of {count} elements")).at(start + 4))?;
        let bytes = self.bytes(bytes)?;
        Array::scalars(kind, &bytes)
            .ok_or_else(|| malformed("a boolean is neither 0 nor 1").at(start))
    }

    /// The list of tensors, which must follow each other without holes or overlaps.
    fn tensors(&mut self, count: u64, alignment: u64) -> Result<Vec<TensorInfo>> {
        let mut tensors = Vec::new();
        let mut names = BTreeSet::new();
        let mut expected = 0_u64;
        for _ in 0..count {
            let start = self.at;
            let tensor = self.tensor()?;
            if !names.insert(tensor.name.clone()) {
                return Err(malformed(format!("tensor {} stands twice", tensor.name)).at(start));
            }
            let (name, offset) = (&tensor.name, tensor.offset);
            if offset != expected {
                let message =
                    format!("tensor {name} starts {offset} bytes into the data, not {expected}");
                return Err(malformed(message).at(self.at - 8));
            }
            expected = expected
                .checked_add(tensor.bytes)
                .and_then(|end| end.checked_next_multiple_of(alignment))
                .ok_or_else(|| malformed(format!("tensor {name} is too long")).at(self.at - 8))?;
            tensors.push(tensor);
        }
        Ok(tensors)
    }

    fn tensor(&mut self) -> Result<TensorInfo> {
        let start = self.at;
        let name = self.string(NAME_MAX)?;
        if name.is_empty() {
            return Err(malformed("a tensor without a name").at(start));
        }
        let at = self.at;
        let rank = self.u32()?;
        if !(1..=DIMS_MAX).contains(&rank) {
            return Err(over_limit(format!("tensor {name} has {rank} dimensions")).at(at));
        }
        let at = self.at;
        let mut dims = Vec::new();
        for _ in 0..rank {
            dims.push(self.u64()?);
        }
        let kind = self.tensor_type(&name)?;
        let bytes = extent(&dims, kind).ok_or_else(|| {
            malformed(format!(
                "tensor {name} of type {} cannot be {dims:?}",
                kind.name
            ))
            .at(at)
        })?;
        let offset = self.u64()?;
        Ok(TensorInfo {
            name,
            dims,
            kind,
            offset,
            bytes,
        })
    }

    fn tensor_type(&mut self, name: &str) -> Result<&'static GgmlType> {
        let at = self.at;
        let id = self.u32()?;
        ggml_types::by_id(id)
            .ok_or_else(|| unsupported(format!("tensor {name} has unknown type {id}")).at(at))
    }

    fn string(&mut self, max: u64) -> Result<String> {
        let start = self.at;
        let length = self.u64()?;
        if length > max {
            return Err(over_limit(format!("a string of {length} bytes, {max} allowed")).at(start));
        }
        let bytes = self.bytes(length)?;
        String::from_utf8(bytes).map_err(|e| {
            let bad = e.utf8_error().valid_up_to() as u64;
            malformed("a string is not UTF-8").at(start + 8 + bad)
        })
    }

    fn u32(&mut self) -> Result<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn u64(&mut self) -> Result<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.claim(N as u64)?;
        let mut array = [0; N];
        self.reader
            .read_exact(&mut array)
            .map_err(|e| Error::from(e).at(self.at))?;
        self.at += N as u64;
        Ok(array)
    }

    fn bytes(&mut self, count: u64) -> Result<Vec<u8>> {
        self.claim(count)?;
        let mut bytes = Vec::new();
        self.reader
            .by_ref()
            .take(count)
            .read_to_end(&mut bytes)
            .map_err(|e| Error::from(e).at(self.at))?;
        if bytes.len() as u64 != count {
            return Err(Error::new(ErrorKind::Truncated, "the file ends").at(self.at));
        }
        self.at += count;
        Ok(bytes)
    }

    /// Refuses to go on where `count` bytes more leave the file or the room for headers.
    fn claim(&self, count: u64) -> Result<()> {
        if count > self.length - self.at {
            let left = self.length - self.at;
            let message = format!("{count} bytes wanted, {left} left");
            return Err(Error::new(ErrorKind::Truncated, message).at(self.at));
        }
        if count > HEADER_MAX - self.at.min(HEADER_MAX) {
            let message = format!("a header of more than {HEADER_MAX} bytes");
            return Err(over_limit(message).at(self.at));
        }
        Ok(())
    }
}

/// Bytes of a tensor; `None` if a size is zero or too large, or rows hold no whole blocks.
fn extent(dims: &[u64], kind: &GgmlType) -> Option<u64> {
    let mut elements = 1_u64;
    for &dim in dims {
        if dim == 0 {
            return None;
        }
        elements = elements.checked_mul(dim)?;
    }
    let small = i64::try_from(elements).is_ok();
    let whole = dims[0].is_multiple_of(kind.block as u64);
    (small && whole).then(|| kind.bytes_of(elements)).flatten()
}

#[cfg(test)]
mod tests;
