//! Files made by hand, sound and hostile: one test for each class of attack known on this format.

use super::*;
use crate::error::ErrorKind;

/// Builds a file field by field.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn header(tensors: u64, entries: u64) -> Self {
        Self(b"GGUF".to_vec()).u32(3).u64(tensors).u64(entries)
    }
    fn u32(mut self, v: u32) -> Self {
        self.0.extend(v.to_le_bytes());
        self
    }
    fn u64(mut self, v: u64) -> Self {
        self.0.extend(v.to_le_bytes());
        self
    }
    fn text(mut self, v: &str) -> Self {
        self = self.u64(v.len() as u64);
        self.0.extend(v.bytes());
        self
    }
    fn tensor(mut self, name: &str, dims: &[u64], kind: u32, offset: u64) -> Self {
        self = self.text(name).u32(dims.len() as u32);
        for &dim in dims {
            self = self.u64(dim);
        }
        self.u32(kind).u64(offset)
    }
    fn data(mut self, bytes: usize) -> Self {
        let start = self.0.len().next_multiple_of(32);
        self.0.resize(start + bytes, 7);
        self
    }
    fn parse(&self) -> Result<Header> {
        Header::parse(self.0.as_slice(), self.0.len() as u64)
    }
    fn refused(&self, kind: ErrorKind, offset: u64) {
        let error = self.parse().expect_err("hostile");
        assert_eq!(
            (error.kind(), error.offset()),
            (kind, Some(offset)),
            "{error}"
        );
    }
}

#[test]
fn a_sound_file_is_read() {
    let file = Bytes::header(2, 3)
        .text("general.architecture")
        .u32(8)
        .text("llama")
        .text("llama.block_count")
        .u32(4)
        .u32(7)
        .text("tokenizer.ggml.tokens")
        .u32(9)
        .u32(8)
        .u64(2)
        .text("a")
        .text("é")
        .tensor("a", &[32, 2], 8, 0)
        .tensor("b", &[3], 0, 96)
        .data(108);
    let header = file.parse().unwrap();
    assert_eq!(
        header.get("general.architecture").unwrap().as_str(),
        Some("llama")
    );
    assert_eq!(header.get("llama.block_count").unwrap().as_u64(), Some(7));
    assert_eq!(
        header
            .get("tokenizer.ggml.tokens")
            .unwrap()
            .as_strs()
            .unwrap()[1],
        "é"
    );
    assert_eq!(header.offset_of("general.architecture"), Some(24 + 28 + 4));
    let [a, b] = &header.tensors[..] else {
        panic!()
    };
    assert_eq!((a.bytes, b.bytes, b.offset - a.offset), (68, 12, 96));
    assert_eq!(a.offset % 32, 0);
}

#[test]
fn every_truncation_is_an_error() {
    let file = Bytes::header(1, 1)
        .text("k")
        .u32(9)
        .u32(8)
        .u64(2)
        .text("a")
        .text("b")
        .tensor("a", &[32, 2], 8, 0)
        .data(68)
        .0;
    Header::parse(&file[..], file.len() as u64).unwrap();
    for end in 0..file.len() {
        Header::parse(&file[..end], end as u64).unwrap_err();
        // The length was true when it was asked for, and the file was cut since.
        if end < file.len() - 68 - 20 {
            Header::parse(&file[..end], file.len() as u64).unwrap_err();
        }
    }
}

#[test]
fn class_a_counts_that_overflow_are_refused() {
    Bytes::header(1 << 62, 0).refused(ErrorKind::Truncated, 24);
    Bytes::header(0, u64::MAX).refused(ErrorKind::Truncated, 24);
    Bytes::header(0, 1)
        .text("k")
        .u32(9)
        .u32(4)
        .u64(1 << 62)
        .refused(ErrorKind::Limit, 41);
    Bytes::header(0, 1)
        .u64(u64::MAX)
        .refused(ErrorKind::Limit, 24);
    Bytes::header(1, 0)
        .tensor("a", &[1 << 32, 1 << 32], 0, 0)
        .refused(ErrorKind::Malformed, 37);
    Bytes::header(1, 0)
        .tensor("a", &[1 << 62, 1], 0, 0)
        .refused(ErrorKind::Malformed, 37);
    Bytes::header(1, 0)
        .tensor("a", &[u64::MAX], 0, 0)
        .refused(ErrorKind::Malformed, 37);
}

#[test]
fn class_b_tensors_outside_the_file_are_refused() {
    Bytes::header(1, 0)
        .tensor("a", &[32], 8, 0)
        .data(33)
        .refused(ErrorKind::Truncated, 64);
    Bytes::header(1, 0)
        .tensor("a", &[32], 8, 1 << 40)
        .data(64)
        .refused(ErrorKind::Malformed, 49);
    let two = |second| {
        Bytes::header(2, 0)
            .tensor("a", &[32], 8, 0)
            .tensor("b", &[32], 8, second)
            .data(256)
    };
    two(64).parse().unwrap();
    two(32).refused(ErrorKind::Malformed, 82);
    two(96).refused(ErrorKind::Malformed, 82);
}

#[test]
fn class_b_values_keep_their_element_type() {
    let header = Bytes::header(0, 1)
        .text("k")
        .u32(9)
        .u32(0)
        .u64(4)
        .u32(1)
        .parse()
        .unwrap();
    let value = header.get("k").unwrap();
    assert_eq!(value.as_i32s(), None);
    assert_eq!(value.as_f32s(), None);
    assert_eq!(value.as_u64s(), Some(vec![1, 0, 0, 0]));
    Bytes::header(0, 1)
        .text("k")
        .u32(99)
        .u32(0)
        .refused(ErrorKind::Malformed, 33);
}

#[test]
fn class_c_more_dimensions_than_four_are_refused() {
    for rank in [0, 5, u32::MAX] {
        let file = Bytes::header(1, 0)
            .text("a")
            .u32(rank)
            .u64(1)
            .u64(1)
            .u64(1)
            .u64(1)
            .u64(1);
        file.refused(ErrorKind::Limit, 33);
    }
}

#[test]
fn class_d_zeros_are_refused() {
    Bytes::header(1, 0)
        .tensor("a", &[32, 0], 8, 0)
        .refused(ErrorKind::Malformed, 37);
    Bytes::header(0, 1)
        .text("")
        .u32(4)
        .u32(0)
        .refused(ErrorKind::Malformed, 24);
    Bytes::header(1, 0)
        .tensor("", &[32], 8, 0)
        .refused(ErrorKind::Malformed, 24);
    for alignment in [0, 12, 1 << 17, u32::MAX] {
        Bytes::header(0, 1)
            .text(ALIGNMENT_KEY)
            .u32(4)
            .u32(alignment)
            .refused(ErrorKind::Malformed, 24 + 8 + 17 + 4);
    }
    Bytes::header(0, 1)
        .text(ALIGNMENT_KEY)
        .u32(8)
        .text("32")
        .refused(ErrorKind::Malformed, 53);
}

#[test]
fn class_e_bombs_are_refused_before_they_cost_memory() {
    // A true length of many gigabytes (a sparse file) does not let a string or a header grow.
    let file = Bytes::header(0, 1).text("k").u32(8).u64(1 << 30);
    let error = Header::parse(file.0.as_slice(), 1 << 40).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Limit, Some(37)));
    let file = Bytes::header(0, 1).text("k").u32(9).u32(0).u64(1 << 34);
    let error = Header::parse(file.0.as_slice(), 1 << 40).unwrap_err();
    assert_eq!((error.kind(), error.offset()), (ErrorKind::Limit, Some(49)));
    let mut nested = Bytes::header(0, 1).text("k").u32(9);
    for _ in 0..20_000 {
        nested = nested.u32(9).u64(1);
    }
    nested.refused(ErrorKind::Unsupported, 37);
}

#[test]
fn class_f_names_and_keys_are_text_and_unique() {
    let mut file = Bytes::header(0, 1).text("kk").u32(4).u32(1);
    file.0[33] = 0xff;
    file.refused(ErrorKind::Malformed, 33);
    Bytes::header(0, 2)
        .text("k")
        .u32(4)
        .u32(1)
        .text("k")
        .u32(4)
        .u32(2)
        .refused(ErrorKind::Malformed, 41);
    Bytes::header(2, 0)
        .tensor("a", &[32], 8, 0)
        .tensor("a", &[32], 8, 64)
        .data(128)
        .refused(ErrorKind::Malformed, 57);
}

#[test]
fn a_negative_number_is_no_count() {
    assert_eq!(Value::I32(-1).as_u64(), None);
    assert_eq!(Value::Array(Array::I32(vec![1, -1])).as_u64s(), None);
}

#[test]
fn other_versions_are_refused_by_name() {
    for version in [0, 1, 4, 0x0300_0000] {
        let mut file = Bytes::header(0, 0);
        file.0[4..8].copy_from_slice(&u32::to_le_bytes(version));
        file.refused(ErrorKind::Version, 4);
    }
}
