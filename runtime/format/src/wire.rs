//! The fixed-width records of the file, to and from bytes, and their limits. `SPEC.md` draws them.

use inkstone_quant::NUMERICS;

/// First bytes of every file. A transfer that rewrites line ends or strips the eighth bit damages them.
pub const MAGIC: [u8; 8] = *b"\x89INK\r\n\x1a\n";
/// Major version of the format: another one cannot be read.
pub const MAJOR: u16 = 1;
/// Minor version of the format: a later one can be read.
pub const MINOR: u16 = 0;
/// Sections start at multiples of this many bytes; the first lies behind the header page of as many.
pub const SECTION_ALIGNMENT: u64 = 16 * 1024;
/// Tensors start at multiples of this many bytes within the payload, and in memory where the file is mapped.
pub const TENSOR_ALIGNMENT: u64 = 64;
/// Section rows that fit the header page.
pub const MAX_SECTIONS: usize = (SECTION_ALIGNMENT as usize - HEADER_BYTES) / ROW_BYTES;
/// Tensors of a file.
pub const MAX_TENSORS: usize = 1 << 16;
/// Inputs of a tensor: with this limit no product of a shape overflows 32 bits before it is checked.
pub const MAX_INPUTS: u32 = 1 << 24;
/// The layer of tensors that belong to none.
pub const NO_LAYER: u16 = 0xffff;

pub(crate) const HEADER_BYTES: usize = 128;
/// Bytes of the header that its seal covers, along with the section rows.
pub(crate) const SEALED_BYTES: usize = 96;
pub(crate) const ROW_BYTES: usize = 64;
pub(crate) const ENDIAN_MARK: u32 = 0x0102_0304;
/// Section flag: a reader that does not know the kind refuses the file.
pub(crate) const MUST_UNDERSTAND: u16 = 1;

pub(crate) type Row = [u8; ROW_BYTES];

/// The numerics' name, padded with zeros.
pub(crate) const NUMERICS_ID: [u8; 8] = {
    let name = NUMERICS.as_bytes();
    let mut id = [0; 8];
    let mut i = 0;
    while i < name.len() {
        id[i] = name[i];
        i += 1;
    }
    id
};

/// The header's fields, in the order of the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) magic: [u8; 8],
    pub(crate) endian_mark: u32,
    pub(crate) major: u16,
    pub(crate) minor: u16,
    pub(crate) numerics: [u8; 8],
    pub(crate) file_bytes: u64,
    pub(crate) required: u32,
    pub(crate) optional: u32,
    pub(crate) sections: u32,
    pub(crate) reserved: [u8; 52],
    pub(crate) seal: [u8; 32],
}

impl Header {
    pub(crate) fn read(b: &[u8; HEADER_BYTES]) -> Header {
        Header {
            magic: array(b, 0),
            endian_mark: u32::from_le_bytes(array(b, 8)),
            major: u16::from_le_bytes(array(b, 12)),
            minor: u16::from_le_bytes(array(b, 14)),
            numerics: array(b, 16),
            file_bytes: u64::from_le_bytes(array(b, 24)),
            required: u32::from_le_bytes(array(b, 32)),
            optional: u32::from_le_bytes(array(b, 36)),
            sections: u32::from_le_bytes(array(b, 40)),
            reserved: array(b, 44),
            seal: array(b, SEALED_BYTES),
        }
    }

    #[cfg(feature = "std")]
    pub(crate) fn write(&self) -> [u8; HEADER_BYTES] {
        let mut b = [0; HEADER_BYTES];
        put(&mut b, 0, self.magic);
        put(&mut b, 8, self.endian_mark.to_le_bytes());
        put(&mut b, 12, self.major.to_le_bytes());
        put(&mut b, 14, self.minor.to_le_bytes());
        put(&mut b, 16, self.numerics);
        put(&mut b, 24, self.file_bytes.to_le_bytes());
        put(&mut b, 32, self.required.to_le_bytes());
        put(&mut b, 36, self.optional.to_le_bytes());
        put(&mut b, 40, self.sections.to_le_bytes());
        put(&mut b, 44, self.reserved);
        put(&mut b, SEALED_BYTES, self.seal);
        b
    }
}

/// A row of the section table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SectionRow {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) reserved: u32,
    /// From the start of the file.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) reserved_too: u64,
    pub(crate) hash: [u8; 32],
}

impl SectionRow {
    pub(crate) fn read(b: &Row) -> SectionRow {
        SectionRow {
            kind: u16::from_le_bytes(array(b, 0)),
            flags: u16::from_le_bytes(array(b, 2)),
            reserved: u32::from_le_bytes(array(b, 4)),
            offset: u64::from_le_bytes(array(b, 8)),
            bytes: u64::from_le_bytes(array(b, 16)),
            reserved_too: u64::from_le_bytes(array(b, 24)),
            hash: array(b, 32),
        }
    }

    pub(crate) fn write(&self) -> Row {
        let mut b = [0; ROW_BYTES];
        put(&mut b, 0, self.kind.to_le_bytes());
        put(&mut b, 2, self.flags.to_le_bytes());
        put(&mut b, 4, self.reserved.to_le_bytes());
        put(&mut b, 8, self.offset.to_le_bytes());
        put(&mut b, 16, self.bytes.to_le_bytes());
        put(&mut b, 24, self.reserved_too.to_le_bytes());
        put(&mut b, 32, self.hash);
        b
    }
}

/// A row of the tensor table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TensorRow {
    pub(crate) layer: u16,
    pub(crate) role: u16,
    pub(crate) format: u16,
    pub(crate) panel_rows: u8,
    pub(crate) reserved: u8,
    pub(crate) rows: u32,
    pub(crate) inputs: u32,
    /// From the start of the payload.
    pub(crate) offset: u64,
    pub(crate) bytes: u64,
    pub(crate) hash: [u8; 32],
}

impl TensorRow {
    pub(crate) fn read(b: &Row) -> TensorRow {
        TensorRow {
            layer: u16::from_le_bytes(array(b, 0)),
            role: u16::from_le_bytes(array(b, 2)),
            format: u16::from_le_bytes(array(b, 4)),
            panel_rows: b[6],
            reserved: b[7],
            rows: u32::from_le_bytes(array(b, 8)),
            inputs: u32::from_le_bytes(array(b, 12)),
            offset: u64::from_le_bytes(array(b, 16)),
            bytes: u64::from_le_bytes(array(b, 24)),
            hash: array(b, 32),
        }
    }

    #[cfg(feature = "std")]
    pub(crate) fn write(&self) -> Row {
        let mut b = [0; ROW_BYTES];
        put(&mut b, 0, self.layer.to_le_bytes());
        put(&mut b, 2, self.role.to_le_bytes());
        put(&mut b, 4, self.format.to_le_bytes());
        put(&mut b, 6, [self.panel_rows, self.reserved]);
        put(&mut b, 8, self.rows.to_le_bytes());
        put(&mut b, 12, self.inputs.to_le_bytes());
        put(&mut b, 16, self.offset.to_le_bytes());
        put(&mut b, 24, self.bytes.to_le_bytes());
        put(&mut b, 32, self.hash);
        b
    }
}

/// `N` bytes of a record at the constant place `at`.
fn array<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    let mut field = [0; N];
    field.copy_from_slice(&record[at..at + N]);
    field
}

fn put<const N: usize>(record: &mut [u8], at: usize, field: [u8; N]) {
    record[at..at + N].copy_from_slice(&field);
}
