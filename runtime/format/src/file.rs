//! The reader: bytes in, a view out whose every offset is proven.

use crate::error::{Error, ErrorKind};
use crate::kind::{ATTACHMENTS, SectionKind};
use crate::seal::{hash, model_id, seal_of};
use crate::wire::{
    ENDIAN_MARK, HEADER_BYTES, Header, MAGIC, MAJOR, MAX_INPUTS, MAX_SECTIONS, MAX_TENSORS,
    MUST_UNDERSTAND, NUMERICS_ID, ROW_BYTES, Row, SECTION_ALIGNMENT, SectionRow, TENSOR_ALIGNMENT,
    TensorRow,
};
use inkstone_quant::Format;

/// A checked `.ink` file: every offset, length and table inside is in range.
#[derive(Clone, Copy)]
pub struct File<'a> {
    bytes: &'a [u8],
    sections: &'a [Row],
    tensors: &'a [Row],
    /// Where the payload starts.
    payload: u64,
    id: [u8; 32],
}

/// A section as its table row describes it, known or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Number of its kind; see [`SectionKind::by_id`].
    pub kind: u16,
    /// From the start of the file, a multiple of [`SECTION_ALIGNMENT`].
    pub offset: u64,
    /// Length.
    pub bytes: u64,
    /// BLAKE3 of the content; zeros for the payload, whose tensors have their own.
    pub hash: [u8; 32],
}

/// A tensor as its table row describes it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tensor {
    /// The layer it belongs to, or [`NO_LAYER`](crate::NO_LAYER).
    pub layer: u16,
    /// What it is for; numbered by the crate that runs models.
    pub role: u16,
    /// How its weights are stored.
    pub format: &'static Format,
    /// Rows of a panel: 16, or 1 where the matrix is only looked up.
    pub panel_rows: u8,
    /// Logical rows (outputs).
    pub rows: u32,
    /// Logical inputs of a row.
    pub inputs: u32,
    /// From the start of the file, a multiple of [`TENSOR_ALIGNMENT`].
    pub offset: u64,
    /// Length, rows and inputs padded.
    pub bytes: u64,
    /// BLAKE3 of the content.
    pub hash: [u8; 32],
}

impl<'a> File<'a> {
    /// Checks header and tables of the file that `bytes` starts with. Bytes after its recorded length are ignored.
    ///
    /// Reads the header page and the tensor table, each hashed and checked in one pass, and no other page. Allocates
    /// nothing. For words that are used in place, `bytes` should lie at a multiple of 64, as a mapping does.
    pub fn parse(bytes: &'a [u8]) -> Result<File<'a>, Error> {
        let header = check_header(bytes)?;
        if header.file_bytes > bytes.len() as u64 {
            return Err(ErrorKind::Truncated.at(bytes.len() as u64));
        }
        File::checked(header, bytes)
    }

    /// As [`Self::parse`] of a file of which only the beginning is in memory, as far as [`head_bytes`] says: sections
    /// behind it are left out, and no payload is to be asked for.
    pub fn parse_head(bytes: &'a [u8]) -> Result<File<'a>, Error> {
        if bytes.len() < SECTION_ALIGNMENT as usize {
            return Err(ErrorKind::Truncated.at(bytes.len() as u64));
        }
        File::checked(check_header(bytes)?, bytes)
    }

    fn checked(header: Header, bytes: &'a [u8]) -> Result<File<'a>, Error> {
        let count = header.sections as usize;
        let len = usize::try_from(header.file_bytes).map_err(|_| ErrorKind::Truncated.at(24))?;
        let bytes = &bytes[..len.min(bytes.len())];
        let (page, _) = bytes[HEADER_BYTES..].as_chunks();
        let sections = &page[..count];
        if seal_of(bytes, sections) != header.seal {
            return Err(ErrorKind::Hash.at(0));
        }
        if header.reserved.iter().any(|&b| b != 0) {
            return Err(ErrorKind::Reserved.at(44));
        }
        check_sections(sections, header.file_bytes)?;
        let mut file = File {
            bytes,
            sections,
            tensors: &[],
            payload: 0,
            id: model_id(sections),
        };
        file.find_tensors()?;
        Ok(file)
    }

    /// Names the model: equal for files whose sections below kind 0x100, tensors included, are equal.
    pub fn id(&self) -> [u8; 32] {
        self.id
    }

    /// The content of the first section of a kind.
    pub fn section(&self, kind: SectionKind) -> Option<&'a [u8]> {
        let row = self.row_of(kind)?;
        let here = row.offset + row.bytes <= self.bytes.len() as u64;
        here.then(|| self.range(row.offset, row.bytes))
    }

    /// Every section, in the order of the file, those of unknown kinds included.
    pub fn sections(&self) -> impl ExactSizeIterator<Item = Section> + use<'a> {
        self.sections.iter().map(|row| {
            let row = SectionRow::read(row);
            Section {
                kind: row.kind,
                offset: row.offset,
                bytes: row.bytes,
                hash: row.hash,
            }
        })
    }

    /// The content of a section of this file; empty for one of another file that does not fit.
    pub fn content(&self, section: &Section) -> &'a [u8] {
        self.range(section.offset, section.bytes)
    }

    /// Every tensor, by layer, then role; those of no layer last.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = Tensor> + use<'a> {
        let payload = self.payload;
        self.tensors.iter().map(move |row| view(row, payload))
    }

    /// The tensor of a layer (or [`NO_LAYER`](crate::NO_LAYER)) and role.
    pub fn tensor(&self, layer: u16, role: u16) -> Option<Tensor> {
        let key = |row: &Row| {
            let row = TensorRow::read(row);
            (row.layer, row.role)
        };
        let at = self
            .tensors
            .binary_search_by_key(&(layer, role), key)
            .ok()?;
        Some(view(&self.tensors[at], self.payload))
    }

    /// The weights of a tensor of this file; empty for one of another file that does not fit.
    pub fn payload(&self, tensor: &Tensor) -> &'a [u8] {
        self.range(tensor.offset, tensor.bytes)
    }

    /// The whole file, without what followed it in memory.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Major and minor version of the format.
    pub fn version(&self) -> (u16, u16) {
        let header = self.bytes.first_chunk().map(Header::read);
        header.map_or((0, 0), |h| (h.major, h.minor))
    }

    pub(crate) fn range(&self, offset: u64, bytes: u64) -> &'a [u8] {
        usize::try_from(offset)
            .ok()
            .zip(usize::try_from(bytes).ok())
            .and_then(|(start, len)| self.bytes.get(start..start.checked_add(len)?))
            .unwrap_or(&[])
    }

    fn row_of(&self, kind: SectionKind) -> Option<SectionRow> {
        let mut rows = self.sections.iter().map(SectionRow::read);
        rows.find(|row| row.kind == kind.id())
    }

    /// Checks the tensor table and the payload it points into.
    fn find_tensors(&mut self) -> Result<(), Error> {
        let (table, payload) = match (
            self.row_of(SectionKind::Tensors),
            self.row_of(SectionKind::Payload),
        ) {
            (None, None) => return Ok(()),
            (Some(table), Some(payload)) => (table, payload),
            _ => return Err(ErrorKind::Table.at(HEADER_BYTES as u64)),
        };
        let (rows, rest) = self.range(table.offset, table.bytes).as_chunks();
        if !rest.is_empty() {
            return Err(ErrorKind::Table.at(table.offset));
        }
        if rows.len() > MAX_TENSORS {
            return Err(ErrorKind::Count.at(table.offset));
        }
        if hash(rows.as_flattened()) != table.hash {
            return Err(ErrorKind::Hash.at(table.offset));
        }
        check_tensors(rows, table.offset, payload.bytes)?;
        self.tensors = rows;
        self.payload = payload.offset;
        Ok(())
    }
}

/// Checks the header's own fields and that the file is there as far as it says.
fn check_header(bytes: &[u8]) -> Result<Header, Error> {
    if cfg!(target_endian = "big") {
        return Err(ErrorKind::BigEndianHost.at(0));
    }
    if !bytes.starts_with(&MAGIC[..bytes.len().min(MAGIC.len())]) {
        return Err(ErrorKind::Magic.at(0));
    }
    let header = bytes.first_chunk().map(Header::read);
    let header = header.ok_or(ErrorKind::Truncated.at(bytes.len() as u64))?;
    let checks = [
        (header.endian_mark == ENDIAN_MARK, ErrorKind::Endianness, 8),
        (header.major == MAJOR, ErrorKind::Version, 12),
        (header.numerics == NUMERICS_ID, ErrorKind::Numerics, 16),
        (header.required == 0, ErrorKind::Feature, 32),
        (
            header.sections as usize <= MAX_SECTIONS,
            ErrorKind::Count,
            40,
        ),
        (
            header.file_bytes >= SECTION_ALIGNMENT,
            ErrorKind::Length,
            24,
        ),
    ];
    if let Some((_, kind, at)) = checks.iter().find(|(good, ..)| !good) {
        return Err(kind.at(*at));
    }
    Ok(header)
}

/// Bytes of a file before its weights, by its first [`SECTION_ALIGNMENT`] bytes: all of it where it has none.
///
/// # Errors
/// As [`File::parse`]; what lies behind those bytes is not looked at.
pub fn head_bytes(page: &[u8]) -> Result<u64, Error> {
    if page.len() < SECTION_ALIGNMENT as usize {
        return Err(ErrorKind::Truncated.at(page.len() as u64));
    }
    let header = check_header(page)?;
    let (rows, _) = page[HEADER_BYTES..].as_chunks();
    let mut sections = rows[..header.sections as usize]
        .iter()
        .map(SectionRow::read);
    let payload = sections.find(|row| row.kind == SectionKind::Payload.id());
    Ok(payload.map_or(header.file_bytes, |row| row.offset.min(header.file_bytes)))
}

/// Checks order, place and flags of sections: kinds ascend until attachments begin, offsets ascend throughout.
fn check_sections(rows: &[Row], file_bytes: u64) -> Result<(), Error> {
    let mut last_kind = 0;
    let mut end = SECTION_ALIGNMENT;
    for (i, row) in rows.iter().enumerate() {
        let at = (HEADER_BYTES + i * ROW_BYTES) as u64;
        let row = SectionRow::read(row);
        let ordered = row.kind > last_kind || row.kind.min(last_kind) >= ATTACHMENTS;
        let unknown = SectionKind::by_id(row.kind).is_none();
        let checks = [
            (ordered, ErrorKind::Order, 0),
            (row.flags & !MUST_UNDERSTAND == 0, ErrorKind::Feature, 2),
            (!unknown || row.flags == 0, ErrorKind::Section, 2),
            (row.reserved == 0, ErrorKind::Reserved, 4),
            (row.reserved_too == 0, ErrorKind::Reserved, 24),
        ];
        check_row(&checks, at)?;
        end = check_place(row.offset, row.bytes, SECTION_ALIGNMENT, end, file_bytes)
            .map_err(|kind| kind.at(at + 8))?;
        last_kind = row.kind;
    }
    if end != file_bytes {
        return Err(ErrorKind::Length.at(24));
    }
    Ok(())
}

/// Checks order, shape and place of tensors: `(layer, role)` and offsets ascend together.
fn check_tensors(rows: &[Row], table: u64, payload_bytes: u64) -> Result<(), Error> {
    let mut last = None;
    let mut end = 0;
    for (i, row) in rows.iter().enumerate() {
        let at = table + (i * ROW_BYTES) as u64;
        let row = TensorRow::read(row);
        let key = Some((row.layer, row.role));
        let format = Format::by_id(row.format);
        let sane = row.rows > 0 && row.inputs > 0 && row.inputs <= MAX_INPUTS;
        let bytes = format.filter(|_| sane).and_then(|format| {
            format.matrix_bytes(row.rows.into(), row.inputs.into(), row.panel_rows.into())
        });
        let checks = [
            (key > last, ErrorKind::Order, 0),
            (row.reserved == 0, ErrorKind::Reserved, 7),
            (format.is_some(), ErrorKind::Format, 4),
            (bytes.is_some(), ErrorKind::Shape, 6),
            (bytes == Some(row.bytes), ErrorKind::Bytes, 24),
        ];
        check_row(&checks, at)?;
        end = check_place(row.offset, row.bytes, TENSOR_ALIGNMENT, end, payload_bytes)
            .map_err(|kind| kind.at(at + 16))?;
        last = key;
    }
    Ok(())
}

/// The first check that failed, as an error at its place in the row at `at`.
fn check_row(checks: &[(bool, ErrorKind, u64)], at: u64) -> Result<(), Error> {
    match checks.iter().find(|(good, ..)| !good) {
        Some((_, kind, field)) => Err(kind.at(at + field)),
        None => Ok(()),
    }
}

/// The end of a range that must be aligned, start at or after `from` and end at or before `limit`.
fn check_place(
    offset: u64,
    bytes: u64,
    alignment: u64,
    from: u64,
    limit: u64,
) -> Result<u64, ErrorKind> {
    let end = offset.checked_add(bytes).ok_or(ErrorKind::Range)?;
    if !offset.is_multiple_of(alignment) {
        return Err(ErrorKind::Alignment);
    }
    if offset < from || end > limit {
        return Err(ErrorKind::Range);
    }
    Ok(end)
}

fn view(row: &Row, payload: u64) -> Tensor {
    let row = TensorRow::read(row);
    Tensor {
        layer: row.layer,
        role: row.role,
        format: Format::by_id(row.format).expect("`check_tensors` found the format"),
        panel_rows: row.panel_rows,
        rows: row.rows,
        inputs: row.inputs,
        offset: payload + row.offset,
        bytes: row.bytes,
        hash: row.hash,
    }
}
