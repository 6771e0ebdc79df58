//! Damaged and hostile files: an error or a file whose every accessor works, never a panic.

use crate::sample::{HEADER, ROW, Random, SECTIONS, built, sample, table_of, tensors};
use inkstone_format::{ErrorKind, File, KINDS, SectionKind, seal};

#[test]
fn every_truncation_is_found_at_open() {
    let bytes = sample();
    for len in 0..bytes.len() {
        let error = File::parse(&bytes[..len]).err().unwrap();
        assert_eq!(
            (error.kind, error.offset),
            (ErrorKind::Truncated, len as u64)
        );
    }
}

#[test]
fn every_flipped_bit_of_header_and_tables_is_found_at_open() {
    let mut bytes = sample();
    for at in table_bytes(&bytes) {
        for bit in 0..8 {
            bytes[at] ^= 1 << bit;
            assert!(File::parse(&bytes).is_err(), "byte {at} bit {bit}");
            bytes[at] ^= 1 << bit;
        }
    }
}

#[test]
fn flipped_bits_under_a_renewed_seal_never_lead_out_of_the_file() {
    let bytes = sample();
    for at in table_bytes(&bytes) {
        for value in (0..8)
            .map(|bit| bytes[at] ^ 1 << bit)
            .chain([0, 0x7f, 0x80, 0xff])
        {
            let mut edited = bytes.clone();
            edited[at] = value;
            seal(&mut edited);
            walk(&edited);
        }
    }
}

#[test]
fn random_edits_under_a_renewed_seal_never_lead_out_of_the_file() {
    let bytes = sample();
    let places = table_bytes(&bytes);
    let mut random = Random(1);
    for _ in 0..20_000 {
        let mut edited = bytes.clone();
        for _ in 0..1 + random.below(4) {
            let at = places[random.below(places.len() as u64) as usize];
            let width = 1 << random.below(4);
            let value = interesting(&mut random, bytes.len() as u64);
            edited[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        }
        edited.truncate(edited.len() - random.below(2) as usize * 100);
        seal(&mut edited);
        walk(&edited);
    }
}

#[test]
fn noise_is_refused() {
    let mut random = Random(2);
    for len in 0..2_000 {
        let mut noise: Vec<u8> = (0..len).map(|_| random.next() as u8).collect();
        walk(&noise);
        noise.splice(..0, inkstone_format::MAGIC);
        seal(&mut noise);
        walk(&noise);
    }
}

/// What is edited: the header, the row of a kind of section, or a row of the tensor table.
enum Place {
    Header,
    Section(SectionKind),
    Tensor(usize),
}
use Place::{Header, Section, Tensor};

/// An edit of `value` in little-endian `width` bytes at a field, and the error that must name the field.
type Case = (Place, usize, usize, u64, ErrorKind);

const CASES: &[Case] = &[
    (Header, 0, 1, 0x88, ErrorKind::Magic),
    (Header, 8, 4, 0x0403_0201, ErrorKind::Endianness),
    (Header, 12, 2, 0, ErrorKind::Version),
    (Header, 12, 2, 2, ErrorKind::Version),
    (Header, 16, 8, 0x326e, ErrorKind::Numerics),
    (Header, 24, 8, 0, ErrorKind::Length),
    (Header, 24, 8, 16 * 1024, ErrorKind::Range),
    (Header, 24, 8, u64::MAX, ErrorKind::Truncated),
    (Header, 32, 4, 1 << 31, ErrorKind::Feature),
    (Header, 40, 4, 255, ErrorKind::Count),
    (Header, 40, 4, u32::MAX as u64, ErrorKind::Count),
    (Header, 40, 4, 3, ErrorKind::Length),
    (Header, 44, 1, 1, ErrorKind::Reserved),
    (Header, 95, 1, 1, ErrorKind::Reserved),
    (Section(SectionKind::Spec), 0, 2, 0, ErrorKind::Order),
    (Section(SectionKind::Spec), 0, 2, 2, ErrorKind::Order),
    (Section(SectionKind::Turns), 0, 2, 0x300, ErrorKind::Order),
    (
        Section(SectionKind::Signature),
        0,
        2,
        0x300,
        ErrorKind::Section,
    ),
    (Section(SectionKind::Spec), 2, 2, 2, ErrorKind::Feature),
    (Section(SectionKind::Spec), 4, 4, 1, ErrorKind::Reserved),
    (Section(SectionKind::Spec), 24, 8, 1, ErrorKind::Reserved),
    (Section(SectionKind::Spec), 8, 8, 0, ErrorKind::Range),
    (
        Section(SectionKind::Spec),
        8,
        8,
        16 * 1024 + 64,
        ErrorKind::Alignment,
    ),
    (
        Section(SectionKind::Spec),
        16,
        8,
        16 * 1024 + 1,
        ErrorKind::Range,
    ),
    (
        Section(SectionKind::Spec),
        16,
        8,
        u64::MAX,
        ErrorKind::Range,
    ),
    (
        Section(SectionKind::Signature),
        8,
        8,
        1 << 40,
        ErrorKind::Range,
    ),
    (
        Section(SectionKind::Signature),
        16,
        8,
        1 << 40,
        ErrorKind::Range,
    ),
    (Section(SectionKind::Signature), 16, 8, 0, ErrorKind::Length),
    (Section(SectionKind::Tensors), 16, 8, 63, ErrorKind::Table),
    (Section(SectionKind::Payload), 16, 8, 63, ErrorKind::Range),
    (Section(SectionKind::Payload), 0, 2, 8, ErrorKind::Table),
    (Tensor(0), 0, 4, 1 << 16, ErrorKind::Order),
    (Tensor(3), 0, 2, 0, ErrorKind::Order),
    (Tensor(1), 4, 2, 0xffff, ErrorKind::Format),
    (Tensor(1), 6, 1, 0, ErrorKind::Shape),
    (Tensor(1), 6, 1, 17, ErrorKind::Shape),
    (Tensor(1), 6, 1, 1, ErrorKind::Bytes),
    (Tensor(1), 7, 1, 1, ErrorKind::Reserved),
    (Tensor(1), 8, 4, 0, ErrorKind::Shape),
    (Tensor(1), 8, 4, 33, ErrorKind::Bytes),
    (Tensor(1), 8, 4, u32::MAX as u64, ErrorKind::Bytes),
    (Tensor(1), 12, 4, 0, ErrorKind::Shape),
    (Tensor(1), 12, 4, u32::MAX as u64, ErrorKind::Shape),
    (Tensor(1), 12, 4, 1 << 24, ErrorKind::Bytes),
    (Tensor(1), 16, 8, 0, ErrorKind::Range),
    (Tensor(1), 16, 8, 129, ErrorKind::Alignment),
    (Tensor(1), 16, 8, u64::MAX - 63, ErrorKind::Range),
    (Tensor(3), 16, 8, 1 << 20, ErrorKind::Range),
    (Tensor(1), 24, 8, 0, ErrorKind::Bytes),
    (Tensor(1), 24, 8, u64::MAX, ErrorKind::Bytes),
];

#[test]
fn hostile_fields_are_refused_by_name() {
    let bytes = sample();
    for (i, (place, field, width, value, kind)) in CASES.iter().enumerate() {
        let mut edited = bytes.clone();
        let at = locate(&bytes, place) + field;
        edited[at..at + width].copy_from_slice(&value.to_le_bytes()[..*width]);
        if matches!(place, Section(SectionKind::Signature)) && *kind == ErrorKind::Section {
            edited[at + 2] = 1;
        }
        seal(&mut edited);
        let found = File::parse(&edited).map(|_| ()).map_err(|e| e.kind);
        assert_eq!(found, Err(*kind), "case {i}");
    }
}

#[test]
fn a_later_minor_version_and_unknown_optional_parts_are_read() {
    let mut bytes = sample();
    let signature = locate(&bytes, &Section(SectionKind::Signature));
    bytes[14] = 9;
    bytes[36] = 1;
    bytes[signature..signature + 2].copy_from_slice(&0x7fff_u16.to_le_bytes());
    seal(&mut bytes);
    let file = File::parse(&bytes).unwrap();
    assert_eq!(file.section(SectionKind::Signature), None);
    let last = file.sections().last().unwrap();
    assert_eq!(SectionKind::by_id(last.kind), None);
    assert_eq!(file.content(&last), b"signature");
}

#[test]
fn tensors_of_another_file_give_nothing_or_bytes_of_this_one() {
    let (large, small) = (sample(), built(&[], &[]));
    let (large, small) = (File::parse(&large).unwrap(), File::parse(&small).unwrap());
    for mut tensor in large.tensors() {
        assert!(small.payload(&tensor).is_empty());
        tensor.offset = u64::MAX;
        assert!(large.payload(&tensor).is_empty());
    }
}

#[test]
fn verify_finds_every_flipped_byte() {
    let mut bytes = built(&SECTIONS[..1], &tensors());
    let file = File::parse(&bytes).unwrap();
    let contents: Vec<_> = file
        .sections()
        .map(|s| s.offset as usize..(s.offset + s.bytes) as usize)
        .collect();
    let padding = (0..bytes.len())
        .step_by(97)
        .chain([16 * 1024 - 1, 2 * 16 * 1024 - 1]);
    for at in contents.into_iter().flatten().chain(padding) {
        bytes[at] ^= 0x10;
        let found = File::parse(&bytes).and_then(|file| file.verify(&mut |_, _| {}));
        assert!(found.is_err(), "byte {at}");
        bytes[at] ^= 0x10;
    }
}

#[test]
fn verify_reports_progress_up_to_the_whole_file() {
    let bytes = sample();
    let mut last = 0;
    let mut progress = |done, total| {
        assert!(last <= done && done <= total);
        assert_eq!(total, bytes.len() as u64);
        last = done;
    };
    File::parse(&bytes).unwrap().verify(&mut progress).unwrap();
    assert_eq!(last, bytes.len() as u64);
}

/// Calls every accessor of the file, if it is one.
fn walk(bytes: &[u8]) {
    let Ok(file) = File::parse(bytes) else { return };
    for section in file.sections() {
        assert_eq!(file.content(&section).len() as u64, section.bytes);
    }
    for kind in KINDS {
        let _ = file.section(kind.kind);
    }
    for tensor in file.tensors() {
        assert_eq!(file.payload(&tensor).len() as u64, tensor.bytes);
        assert_eq!(file.tensor(tensor.layer, tensor.role), Some(tensor));
    }
    let _ = file.verify(&mut |_, _| {});
    let _ = (file.id(), file.version(), file.bytes());
}

/// Places of the header, the section rows and the tensor rows.
fn table_bytes(bytes: &[u8]) -> Vec<usize> {
    let file = File::parse(bytes).unwrap();
    let table = table_of(bytes);
    let rows = HEADER + file.sections().len() * ROW;
    (0..rows)
        .chain(table..table + file.tensors().len() * ROW)
        .collect()
}

fn locate(bytes: &[u8], place: &Place) -> usize {
    match place {
        Header => 0,
        Section(kind) => {
            let mut sections = File::parse(bytes).unwrap().sections();
            HEADER + ROW * sections.position(|s| s.kind == kind.id()).unwrap()
        }
        Tensor(index) => table_of(bytes) + index * ROW,
    }
}

/// A number at or beside a border.
fn interesting(random: &mut Random, len: u64) -> u64 {
    let borders = [
        0,
        64,
        16 * 1024,
        len,
        1 << 16,
        1 << 24,
        1 << 32,
        1 << 63,
        random.next(),
    ];
    let border = borders[random.below(borders.len() as u64) as usize];
    border.wrapping_add(random.below(5)).wrapping_sub(2)
}
