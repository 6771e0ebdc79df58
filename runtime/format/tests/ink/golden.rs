//! Format 1.0, pinned: the committed file is read, and the writer still writes it.

use crate::sample::{self, SECTIONS, sample};
use core::fmt::Write;
use inkstone_format::{File, KINDS, NO_LAYER, SectionKind};
use inkstone_quant::FORMATS;

/// The sample as lines `offset: bytes` in hexadecimal; lines of 16 zeros are left out.
const V1: &str = include_str!("../data/v1.hex");

#[test]
fn the_writer_writes_the_committed_file() {
    if std::env::var_os("INKSTONE_BLESS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/v1.hex");
        std::fs::write(path, dump(&sample())).unwrap();
    } else {
        assert_eq!(dump(&sample()), V1);
    }
}

#[test]
fn the_committed_file_is_read() {
    let bytes = load(V1);
    let file = File::parse(&bytes).unwrap();
    assert_eq!(file.version(), (1, 0));
    assert_eq!(file.bytes().len(), bytes.len());
    assert_eq!(file.sections().len(), SECTIONS.len() + 2);
    for &(kind, content) in SECTIONS {
        if !kind.repeats() {
            assert_eq!(file.section(kind), Some(content));
        }
    }
    let adapters = file
        .sections()
        .filter(|s| s.kind == SectionKind::Adapter.id());
    let adapters: Vec<&[u8]> = adapters.map(|s| file.content(&s)).collect();
    assert_eq!(adapters, [&b"first adapter"[..], b"second adapter"]);
    assert_eq!(file.section(SectionKind::Receipt), None);

    for (i, (tensor, declared)) in file.tensors().zip(sample::tensors()).enumerate() {
        let weights = sample::weights(i, declared.bytes().unwrap());
        assert_eq!(file.payload(&tensor), weights);
        assert_eq!(file.tensor(declared.layer, declared.role), Some(tensor));
        assert_eq!(
            (tensor.rows, tensor.inputs),
            (declared.rows, declared.inputs)
        );
        assert_eq!(tensor.format, declared.format);
        assert!(tensor.offset.is_multiple_of(64));
    }
    assert_eq!(file.tensor(0, 2), None);
    assert_eq!(file.tensor(NO_LAYER, NO_LAYER), None);
    file.verify(&mut |_, _| {}).unwrap();
}

#[test]
fn bytes_after_the_recorded_length_are_ignored() {
    let mut bytes = sample();
    let len = bytes.len();
    bytes.extend([0xff; 100]);
    assert_eq!(File::parse(&bytes).unwrap().bytes().len(), len);
}

#[test]
fn the_spec_lists_every_kind_and_every_format() {
    let spec = include_str!("../../SPEC.md");
    let kinds = KINDS.iter().map(|k| (k.kind.id(), k.name));
    let formats = FORMATS.iter().map(|f| (f.id, f.name));
    for (id, name) in kinds.chain(formats) {
        assert!(spec.contains(&format!("\n| {id} | {name} |")), "{name}");
    }
}

fn dump(bytes: &[u8]) -> String {
    let mut text = format!("bytes {:x}\n", bytes.len());
    for (i, line) in bytes.chunks(16).enumerate() {
        if line.iter().all(|&b| b == 0) {
            continue;
        }
        write!(text, "{:05x}:", i * 16).unwrap();
        for byte in line {
            write!(text, " {byte:02x}").unwrap();
        }
        text.push('\n');
    }
    text
}

fn load(text: &str) -> Vec<u8> {
    let hex = |s: &str| usize::from_str_radix(s, 16).unwrap();
    let (first, lines) = text.split_once('\n').unwrap();
    let mut bytes = vec![0; hex(first.strip_prefix("bytes ").unwrap())];
    for line in lines.lines() {
        let (offset, content) = line.split_once(':').unwrap();
        for (i, byte) in content.split_whitespace().enumerate() {
            bytes[hex(offset) + i] = hex(byte) as u8;
        }
    }
    bytes
}
