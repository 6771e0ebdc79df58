//! A tiny file with every kind of section, and helpers to take it apart.

use inkstone_format::{Declaration, File, NO_LAYER, SectionKind, Writer};
use inkstone_quant::Format;
use std::io::Write;
use std::path::Path;

/// Bytes of the header and of a row of either table.
pub(crate) const HEADER: usize = 128;
pub(crate) const ROW: usize = 64;

/// Small contents for every section but those that the writer makes.
pub(crate) const SECTIONS: &[(SectionKind, &[u8])] = &[
    (SectionKind::Spec, b"spec"),
    (SectionKind::Tokenizer, b"tokenizer"),
    (SectionKind::Template, b"{{ messages }}"),
    (SectionKind::Turns, b"turns"),
    (SectionKind::Stops, &[2, 0, 0, 0]),
    (SectionKind::Manifest, b"manifest"),
    (SectionKind::Provenance, b"provenance"),
    (SectionKind::Adapter, b"first adapter"),
    (SectionKind::Adapter, b"second adapter"),
    (SectionKind::Signature, b"signature"),
];

/// Four tensors: a vector, two matrices in panels with ragged edges, a matrix that is looked up.
pub(crate) fn tensors() -> Vec<Declaration> {
    let rows = [
        (0, 0, "F32", 1, 1, 20),
        (0, 1, "Q4_1", 16, 20, 40),
        (1, 0, "q4", 16, 16, 32),
        (NO_LAYER, 7, "q8", 1, 3, 33),
    ];
    let declare = |(layer, role, format, panel_rows, rows, inputs)| Declaration {
        layer,
        role,
        format: Format::by_name(format).unwrap(),
        panel_rows,
        rows,
        inputs,
    };
    rows.map(declare).to_vec()
}

/// What the tensor declared at `index` holds: bytes that are never zero.
pub(crate) fn weights(index: usize, bytes: u64) -> Vec<u8> {
    let byte = |i: u64| ((index as u64 * 101 + i * 7) % 255 + 1) as u8;
    (0..bytes).map(byte).collect()
}

/// Writes sections and tensors to `path` and returns the model's id.
pub(crate) fn write(
    path: &Path,
    sections: &[(SectionKind, &[u8])],
    tensors: &[Declaration],
) -> [u8; 32] {
    let mut writer = Writer::create(path, sections, tensors).unwrap();
    for (i, tensor) in tensors.iter().enumerate() {
        let weights = weights(i, tensor.bytes().unwrap());
        writer.tensor(i).unwrap().write_all(&weights).unwrap();
    }
    writer.finish().unwrap()
}

/// A folder that goes when the test ends.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// The bytes of a file of those sections and tensors.
pub(crate) fn built(sections: &[(SectionKind, &[u8])], tensors: &[Declaration]) -> Vec<u8> {
    let folder = folder();
    let path = folder.path().join("sample.ink");
    write(&path, sections, tensors);
    std::fs::read(path).unwrap()
}

/// The whole sample.
pub(crate) fn sample() -> Vec<u8> {
    built(SECTIONS, &tensors())
}

/// Where the tensor table starts.
pub(crate) fn table_of(bytes: &[u8]) -> usize {
    let file = File::parse(bytes).unwrap();
    let kind = SectionKind::Tensors.id();
    let section = file.sections().find(|s| s.kind == kind).unwrap();
    section.offset as usize
}

/// Random numbers that are the same in every run (xorshift64*).
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        (self.next() >> 32) % n
    }
}
