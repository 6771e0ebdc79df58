//! The streaming writer: everything but the weights is given first, then the weights in pieces.

use crate::Tensor;
use crate::kind::SectionKind;
use crate::seal::{hash, model_id, seal_of};
use crate::wire::{
    ENDIAN_MARK, HEADER_BYTES, Header, MAGIC, MAJOR, MAX_INPUTS, MAX_SECTIONS, MAX_TENSORS, MINOR,
    NUMERICS_ID, ROW_BYTES, Row, SECTION_ALIGNMENT, SectionRow, TENSOR_ALIGNMENT, TensorRow,
};
use core::sync::atomic::{AtomicU32, Ordering};
use core::{error, fmt};
use inkstone_quant::Format;
use std::ffi::OsString;
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::vec::Vec;
use std::{format, process};

/// A tensor that will be written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Declaration {
    /// The layer it belongs to, or [`NO_LAYER`](crate::NO_LAYER).
    pub layer: u16,
    /// What it is for.
    pub role: u16,
    /// How its weights are stored.
    pub format: &'static Format,
    /// Rows of a panel: 16 or 1.
    pub panel_rows: u8,
    /// Logical rows.
    pub rows: u32,
    /// Logical inputs of a row.
    pub inputs: u32,
}

impl From<Tensor> for Declaration {
    /// To write a tensor of a file again.
    fn from(t: Tensor) -> Declaration {
        Declaration {
            layer: t.layer,
            role: t.role,
            format: t.format,
            panel_rows: t.panel_rows,
            rows: t.rows,
            inputs: t.inputs,
        }
    }
}

impl Declaration {
    /// Bytes to be written; `None` where the shape is impossible.
    pub fn bytes(&self) -> Option<u64> {
        if self.rows == 0 || self.inputs == 0 || self.inputs > MAX_INPUTS {
            return None;
        }
        let (rows, inputs) = (self.rows.into(), self.inputs.into());
        self.format
            .matrix_bytes(rows, inputs, self.panel_rows.into())
    }
}

/// Writes a file under a temporary name beside its own, and gives it its name when it is whole.
///
/// Dropped before [`Writer::finish`], it removes the temporary file and what stood under the name stays.
pub struct Writer {
    file: BufWriter<fs::File>,
    temporary: PathBuf,
    path: PathBuf,
    sections: Vec<SectionRow>,
    tensors: Vec<TensorRow>,
    done: Vec<bool>,
    payload: u64,
    file_bytes: u64,
    current: Option<Current>,
}

/// The tensor that is being written.
struct Current {
    index: usize,
    left: u64,
    hasher: blake3::Hasher,
}

/// Takes the bytes of one tensor, in order and in pieces of any size; see [`Writer::tensor`].
pub struct TensorWriter<'w>(&'w mut Writer);

/// Why a file cannot be written.
#[derive(Debug)]
#[non_exhaustive]
pub enum WriteError {
    /// The file system's answer.
    Io(io::Error),
    /// The writer itself makes sections of this kind.
    OwnSection(SectionKind),
    /// A section that may stand once was given twice.
    SectionTwice(SectionKind),
    /// More sections than the header page holds.
    Sections(usize),
    /// More tensors than a file holds.
    Tensors(usize),
    /// The declaration at this index does not ascend by `(layer, role)`.
    Order(usize),
    /// The declaration at this index has an impossible shape or panel height.
    Shape(usize),
    /// No tensor of this index was declared, or it was begun before.
    Tensor(usize),
    /// The tensor at this index ended before all its bytes were written.
    Short {
        /// Index of its declaration.
        tensor: usize,
        /// Bytes that are missing.
        missing: u64,
    },
    /// The file would be longer than 2⁶³ bytes.
    TooLong,
}

impl Writer {
    /// Starts a file at `path` with all sections but tensor table and payload, and the tensors to come.
    ///
    /// `tensors` ascend strictly by `(layer, role)`; sections come in any order. Sections are written at once.
    pub fn create(
        path: &Path,
        sections: &[(SectionKind, &[u8])],
        tensors: &[Declaration],
    ) -> Result<Writer, WriteError> {
        let (tensors, payload_bytes) = place_tensors(tensors)?;
        let table = std::vec![0; tensors.len() * ROW_BYTES];
        let contents = order_sections(sections, &table)?;
        let (sections, file_bytes) = place_sections(&contents, payload_bytes)?;
        let (file, temporary) = create_beside(path)?;
        let mut writer = Writer {
            file: BufWriter::with_capacity(1 << 18, file),
            temporary,
            path: path.to_path_buf(),
            done: std::vec![false; tensors.len()],
            payload: offset_of(&sections, SectionKind::Payload),
            sections,
            tensors,
            file_bytes,
            current: None,
        };
        writer.file.get_ref().set_len(file_bytes)?;
        for (at, (_, content)) in contents.iter().enumerate() {
            let offset = writer.sections[at].offset;
            writer.put(offset, content)?;
        }
        Ok(writer)
    }

    /// Begins the tensor declared at `index`; each is written once, in any order, and whole before the next begins.
    pub fn tensor(&mut self, index: usize) -> Result<TensorWriter<'_>, WriteError> {
        self.end_tensor()?;
        if self.done.get(index) != Some(&false) {
            return Err(WriteError::Tensor(index));
        }
        let row = &self.tensors[index];
        let start = SeekFrom::Start(self.payload + row.offset);
        self.current = Some(Current {
            index,
            left: row.bytes,
            hasher: blake3::Hasher::new(),
        });
        self.file.seek(start)?;
        Ok(TensorWriter(self))
    }

    /// Length of the file.
    pub fn file_bytes(&self) -> u64 {
        self.file_bytes
    }

    /// Writes tables and header, brings all to disk, gives the file its name and returns the model's id.
    pub fn finish(mut self) -> Result<[u8; 32], WriteError> {
        self.end_tensor()?;
        if let Some(index) = self.done.iter().position(|done| !done) {
            let missing = self.tensors[index].bytes;
            return Err(WriteError::Short {
                tensor: index,
                missing,
            });
        }
        self.put_table()?;
        let id = self.put_header()?;
        self.file.flush()?;
        self.file.get_ref().sync_all()?;
        fs::rename(&self.temporary, &self.path)?;
        sync_folder(folder_of(&self.path))?;
        Ok(id)
    }

    fn put(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        self.file.write_all(bytes)
    }

    fn put_table(&mut self) -> io::Result<()> {
        let rows: Vec<Row> = self.tensors.iter().map(TensorRow::write).collect();
        let is_table = |row: &&mut SectionRow| row.kind == SectionKind::Tensors.id();
        let Some(section) = self.sections.iter_mut().find(is_table) else {
            return Ok(());
        };
        section.hash = hash(rows.as_flattened());
        let offset = section.offset;
        self.put(offset, rows.as_flattened())
    }

    fn put_header(&mut self) -> io::Result<[u8; 32]> {
        let rows: Vec<Row> = self.sections.iter().map(SectionRow::write).collect();
        let mut header = Header {
            magic: MAGIC,
            endian_mark: ENDIAN_MARK,
            major: MAJOR,
            minor: MINOR,
            numerics: NUMERICS_ID,
            file_bytes: self.file_bytes,
            required: 0,
            optional: 0,
            sections: rows.len() as u32,
            reserved: [0; 52],
            seal: [0; 32],
        };
        header.seal = seal_of(&header.write(), &rows);
        self.put(0, &header.write())?;
        self.put(HEADER_BYTES as u64, rows.as_flattened())?;
        Ok(model_id(&rows))
    }

    /// Closes the tensor that is being written, if there is one; it must be whole.
    fn end_tensor(&mut self) -> Result<(), WriteError> {
        let Some(current) = self.current.take() else {
            return Ok(());
        };
        if current.left > 0 {
            return Err(WriteError::Short {
                tensor: current.index,
                missing: current.left,
            });
        }
        self.tensors[current.index].hash = current.hasher.finalize().into();
        self.done[current.index] = true;
        Ok(())
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        // After `finish` nothing stands under this name; nothing can be done about a failure either.
        let _ = fs::remove_file(&self.temporary);
    }
}

impl Write for TensorWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let writer = &mut *self.0;
        let current = writer
            .current
            .as_mut()
            .expect("`Writer::tensor` began one and the borrow keeps it open");
        if bytes.len() as u64 > current.left {
            let index = current.index;
            let message = format!("tensor {index} is given more bytes than its shape needs");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let written = writer.file.write(bytes)?;
        current.hasher.update(&bytes[..written]);
        current.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.file.flush()
    }
}

/// Rows of the tensor table without hashes, and the length of the payload.
fn place_tensors(tensors: &[Declaration]) -> Result<(Vec<TensorRow>, u64), WriteError> {
    if tensors.len() > MAX_TENSORS {
        return Err(WriteError::Tensors(tensors.len()));
    }
    let key = |d: &Declaration| (d.layer, d.role);
    let mut rows = Vec::with_capacity(tensors.len());
    let mut end = 0_u64;
    for (i, d) in tensors.iter().enumerate() {
        if i > 0 && key(d) <= key(&tensors[i - 1]) {
            return Err(WriteError::Order(i));
        }
        let bytes = d.bytes().ok_or(WriteError::Shape(i))?;
        let offset = align(end, TENSOR_ALIGNMENT)?;
        end = offset.checked_add(bytes).ok_or(WriteError::TooLong)?;
        rows.push(TensorRow {
            layer: d.layer,
            role: d.role,
            format: d.format.id,
            panel_rows: d.panel_rows,
            reserved: 0,
            rows: d.rows,
            inputs: d.inputs,
            offset,
            bytes,
            hash: [0; 32],
        });
    }
    Ok((rows, end))
}

/// Sections by kind, those of the writer added where there are tensors; the payload's content is left empty.
fn order_sections<'s>(
    given: &[(SectionKind, &'s [u8])],
    table: &'s [u8],
) -> Result<Vec<(SectionKind, &'s [u8])>, WriteError> {
    let own = [(SectionKind::Tensors, table), (SectionKind::Payload, &[])];
    let is_own = |kind| own.iter().any(|&(k, _)| k == kind);
    if let Some(&(kind, _)) = given.iter().find(|&&(kind, _)| is_own(kind)) {
        return Err(WriteError::OwnSection(kind));
    }
    let mut sections = given.to_vec();
    if !table.is_empty() {
        sections.extend(own);
    }
    if sections.len() > MAX_SECTIONS {
        return Err(WriteError::Sections(sections.len()));
    }
    sections.sort_by_key(|&(kind, _)| kind.id());
    let twice = |pair: &&[(SectionKind, &[u8])]| pair[0].0 == pair[1].0 && !pair[0].0.repeats();
    if let Some(pair) = sections.windows(2).find(twice) {
        return Err(WriteError::SectionTwice(pair[0].0));
    }
    Ok(sections)
}

/// Rows of the section table, hashes of given contents included, and the length of the file.
fn place_sections(
    contents: &[(SectionKind, &[u8])],
    payload_bytes: u64,
) -> Result<(Vec<SectionRow>, u64), WriteError> {
    let mut end = SECTION_ALIGNMENT;
    let mut rows = Vec::with_capacity(contents.len());
    for &(kind, content) in contents {
        let (bytes, hash) = match kind {
            SectionKind::Payload => (payload_bytes, [0; 32]),
            _ => (content.len() as u64, hash(content)),
        };
        let offset = align(end, SECTION_ALIGNMENT)?;
        end = offset.checked_add(bytes).ok_or(WriteError::TooLong)?;
        rows.push(SectionRow {
            kind: kind.id(),
            flags: 0,
            reserved: 0,
            offset,
            bytes,
            reserved_too: 0,
            hash,
        });
    }
    if i64::try_from(end).is_err() {
        return Err(WriteError::TooLong);
    }
    Ok((rows, end))
}

fn offset_of(sections: &[SectionRow], kind: SectionKind) -> u64 {
    let row = sections.iter().find(|row| row.kind == kind.id());
    row.map_or(0, |row| row.offset)
}

fn align(offset: u64, alignment: u64) -> Result<u64, WriteError> {
    offset
        .checked_next_multiple_of(alignment)
        .ok_or(WriteError::TooLong)
}

/// Whether a new file may take the place of what stands at `path`: nothing, or a file. A device or a folder may not.
///
/// # Errors
/// [`io::ErrorKind::InvalidInput`] where it may not, and what the system says.
pub fn replaceable(path: &Path) -> io::Result<()> {
    match fs::metadata(path) {
        Ok(found) if !found.is_file() => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "there is something that is no file",
        )),
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A new file in the folder of `path`, hidden and named after it, this process and a counter.
fn create_beside(path: &Path) -> Result<(fs::File, PathBuf), WriteError> {
    replaceable(path)?;
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let Some(name) = path.file_name() else {
        return Err(WriteError::Io(io::ErrorKind::InvalidFilename.into()));
    };
    let count = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut temporary = OsString::from(".");
    temporary.push(name);
    // WebAssembly's system has no processes.
    let process = if cfg!(target_family = "wasm") {
        0
    } else {
        process::id()
    };
    temporary.push(format!(".{process}-{count}.part"));
    let temporary = folder_of(path).join(temporary);
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&temporary)?;
    Ok((file, temporary))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Brings a rename in `folder` to disk.
#[cfg(unix)]
fn sync_folder(folder: &Path) -> io::Result<()> {
    fs::File::open(folder)?.sync_all()
}

/// Folders cannot be opened as files here; the file system orders renames itself.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> WriteError {
        WriteError::Io(error)
    }
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WriteError::Io(error) => write!(f, "{error}"),
            WriteError::OwnSection(kind) => {
                write!(f, "section {} is made by the writer", kind.name())
            }
            WriteError::SectionTwice(kind) => write!(f, "section {} given twice", kind.name()),
            WriteError::Sections(n) => write!(f, "{n} sections, at most {MAX_SECTIONS} fit"),
            WriteError::Tensors(n) => write!(f, "{n} tensors, at most {MAX_TENSORS} fit"),
            WriteError::Order(i) => write!(f, "tensor {i} does not ascend by layer and role"),
            WriteError::Shape(i) => write!(f, "tensor {i} has an impossible shape"),
            WriteError::Tensor(i) => write!(f, "tensor {i} was not declared or begun before"),
            WriteError::Short { tensor, missing } => {
                write!(f, "tensor {tensor} lacks {missing} bytes")
            }
            WriteError::TooLong => write!(f, "file would be too long"),
        }
    }
}

impl error::Error for WriteError {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            // What it says is said already.
            WriteError::Io(error) => error.source(),
            _ => None,
        }
    }
}
