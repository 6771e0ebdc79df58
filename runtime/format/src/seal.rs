//! Hashes that open with the file: the seal of the header page and the id of the model.

use crate::SectionKind;
use crate::kind::RECORDS;
use crate::wire::{HEADER_BYTES, Header, ROW_BYTES, Row, SEALED_BYTES, SectionRow};

/// Recomputes the hash of the tensor table and the seal of the header, in place, after `bytes` were edited.
///
/// Leaves alone what is too short or too damaged to have them. Other sections' and tensors' hashes stay as they are.
/// For tools that edit files and for fuzzers, which would not get past the seal otherwise.
pub fn seal(bytes: &mut [u8]) {
    let Some(header) = bytes.first_chunk::<HEADER_BYTES>().map(Header::read) else {
        return;
    };
    let Some(end) = (header.sections as usize)
        .checked_mul(ROW_BYTES)
        .and_then(|n| n.checked_add(HEADER_BYTES))
        .filter(|&end| end <= bytes.len())
    else {
        return;
    };
    for at in (HEADER_BYTES..end).step_by(ROW_BYTES) {
        rehash_table(bytes, at);
    }
    let (rows, _) = bytes[HEADER_BYTES..end].as_chunks();
    let seal = seal_of(&bytes[..SEALED_BYTES], rows);
    bytes[SEALED_BYTES..HEADER_BYTES].copy_from_slice(&seal);
}

/// Renews the hash in the section row at `at`, if it is that of the tensor table.
fn rehash_table(bytes: &mut [u8], at: usize) {
    let mut row: Row = [0; ROW_BYTES];
    row.copy_from_slice(&bytes[at..at + ROW_BYTES]);
    let mut section = SectionRow::read(&row);
    let range = usize::try_from(section.offset)
        .ok()
        .zip(usize::try_from(section.bytes).ok())
        .and_then(|(start, len)| Some(start..start.checked_add(len)?));
    if section.kind != SectionKind::Tensors.id() {
        return;
    }
    if let Some(table) = range.and_then(|range| bytes.get(range)) {
        section.hash = hash(table);
        bytes[at..at + ROW_BYTES].copy_from_slice(&section.write());
    }
}

/// BLAKE3 over the header's fields and the section rows.
pub(crate) fn seal_of(header: &[u8], rows: &[Row]) -> [u8; 32] {
    blake3::Hasher::new()
        .update(&header[..SEALED_BYTES])
        .update(rows.as_flattened())
        .finalize()
        .into()
}

/// BLAKE3 over the rows of the sections that say what the model computes, their offsets zeroed.
///
/// The tensor table's row holds the table's hash and the table those of all tensors, so this names the model wherever
/// its sections lie and whatever records and attachments stand beside it.
pub(crate) fn model_id(rows: &[Row]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    for row in rows.iter().map(SectionRow::read) {
        if row.kind < RECORDS {
            hasher.update(&SectionRow { offset: 0, ..row }.write());
        }
    }
    hasher.finalize().into()
}

pub(crate) fn hash(bytes: &[u8]) -> [u8; 32] {
    blake3::hash(bytes).into()
}
