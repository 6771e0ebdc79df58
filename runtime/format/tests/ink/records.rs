//! The postcard forms of version 1, pinned byte for byte.

use inkstone_format::records::{
    ManifestV1, OriginV1, PartV1, PatternV1, ProvenanceV1, Record, RecordError, RewriteV1,
    SourceV1, decode, encode,
};

fn manifest() -> ManifestV1 {
    ManifestV1 {
        name: "tea".into(),
        licence: Some("LicenseRef-Tea".into()),
        licence_address: None,
        licence_text: Some("drink".into()),
        attribution: vec!["A".into()],
        base_models: vec!["B".into()],
        changes: vec!["C".into(), "D".into()],
        languages: vec!["zh".into()],
    }
}

fn provenance() -> ProvenanceV1 {
    let origin = |role, rewrites| OriginV1 {
        layer: 300,
        role,
        source: "w".into(),
        stored_as: "F32".into(),
        rewrites,
    };
    ProvenanceV1 {
        converter: "ink".into(),
        command: vec!["convert".into()],
        sources: vec![SourceV1 {
            name: "a".into(),
            bytes: 200,
            digest: "blake3:0".into(),
        }],
        tensors: vec![
            origin(0, vec![RewriteV1::SplitRows { first: 1, rows: 2 }]),
            origin(1, PARTS.map(grouped).to_vec()),
            origin(2, vec![permuted(), RewriteV1::AddOne]),
            origin(3, vec![tied(), transcoded()]),
        ],
    }
}

const PARTS: [PartV1; 3] = [PartV1::Queries, PartV1::Keys, PartV1::Values];

fn grouped(part: PartV1) -> RewriteV1 {
    RewriteV1::GroupedRows {
        part,
        kv_heads: 3,
        queries: 4,
        head_rows: 5,
    }
}

fn permuted() -> RewriteV1 {
    RewriteV1::PermuteRows {
        heads: 9,
        pattern: PatternV1::InterleavedToHalves,
    }
}

fn tied() -> RewriteV1 {
    RewriteV1::Tied { with: "o".into() }
}

fn transcoded() -> RewriteV1 {
    RewriteV1::Transcode {
        from: "F32".into(),
        to: "q8".into(),
    }
}

/// Version, then fields in order: strings and lists behind their lengths, `Some` behind a 1.
const MANIFEST: &[u8] =
    b"\x01\0\x03tea\x01\x0eLicenseRef-Tea\0\x01\x05drink\x01\x01A\x01\x01B\x02\x01C\x01D\x01\x02zh";

/// Layer 300 is the varint `ac 02`; rewrites stand behind their numbers 0 to 5.
const PROVENANCE: &[u8] = b"\x01\0\x03ink\x01\x07convert\x01\x01a\xc8\x01\x08blake3:0\x04\
    \xac\x02\0\x01w\x03F32\x01\0\x01\x02\
    \xac\x02\x01\x01w\x03F32\x03\x01\0\x03\x04\x05\x01\x01\x03\x04\x05\x01\x02\x03\x04\x05\
    \xac\x02\x02\x01w\x03F32\x02\x02\x09\0\x04\
    \xac\x02\x03\x01w\x03F32\x02\x03\x01o\x05\x03F32\x02q8";

#[test]
fn the_manifest_of_version_1_keeps_its_bytes() {
    assert_eq!(
        encode(&manifest()).escape_ascii().to_string(),
        MANIFEST.escape_ascii().to_string()
    );
    assert_eq!(decode(MANIFEST), Ok(manifest()));
}

#[test]
fn the_provenance_of_version_1_keeps_its_bytes() {
    assert_eq!(
        encode(&provenance()).escape_ascii().to_string(),
        PROVENANCE.escape_ascii().to_string()
    );
    assert_eq!(decode(PROVENANCE), Ok(provenance()));
}

#[test]
fn damaged_records_are_refused() {
    check_damage::<ManifestV1>(MANIFEST);
    check_damage::<ProvenanceV1>(PROVENANCE);
    let future = decode::<ManifestV1>(&[2, 0]);
    assert_eq!(future, Err(RecordError::Version(2)));
    let claims = decode::<ProvenanceV1>(b"\x01\0\0\xff\xff\xff\xff\xff\xff\xff\xff\x7f");
    assert_eq!(claims, Err(RecordError::Damaged));
}

fn check_damage<R: Record>(bytes: &[u8]) {
    for len in 0..bytes.len() {
        assert!(decode::<R>(&bytes[..len]).is_err());
    }
    let longer = [bytes, &[0]].concat();
    assert!(decode::<R>(&longer).is_err());
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut edited = bytes.to_vec();
            edited[at] ^= 1 << bit;
            let _ = decode::<R>(&edited);
        }
    }
}
