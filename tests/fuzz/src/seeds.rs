//! Writes small valid inputs of every fuzz target into `corpus/TARGET`, for the fuzzer to begin with.

use inkstone_tests::tiny::{self, Recipe};
use inkstone_text::{Algorithm, Kind, Merge, PRETOKENIZERS, SpacePrefix, Token, Vocabulary};
use std::fs;
use std::io::Result;
use std::path::Path;

fn main() -> Result<()> {
    write("ink", "v1", &golden_file())?;
    write("ink", "plain", &tiny::ink(&Recipe::default()))?;
    let windows = vec![Some(24), None];
    write(
        "ink",
        "parts",
        &tiny::ink(&Recipe {
            windows,
            biases: true,
            qk_norms: true,
            ..Recipe::default()
        }),
    )?;
    write("gguf", "tiny", &gguf())?;
    let header =
        br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"__metadata__":{"format":"pt"}}"#;
    let length = (header.len() as u64).to_le_bytes();
    write(
        "safetensors",
        "tiny",
        &[&length[..], header, &[0; 8]].concat(),
    )?;
    let merges = || {
        vec![Merge {
            left: 3,
            right: 4,
            into: 5,
        }]
    };
    for (name, algorithm) in [
        ("bytes", Algorithm::Bytes(merges())),
        ("characters", Algorithm::Characters(merges())),
        ("scores", Algorithm::Scores),
        ("unigram", Algorithm::Unigram),
    ] {
        let section =
            inkstone_text::build(&vocabulary(algorithm)).expect("the vocabulary is sound");
        let text = b"abba <s> ab\xe4\xb8\xad";
        write(
            "tokenizer",
            name,
            &[&[1, text.len() as u8], &text[..], &section].concat(),
        )?;
    }
    write(
        "vocabulary",
        "json",
        &[b"j", &include_bytes!("seeds/tokenizer.json")[..]].concat(),
    )?;
    write(
        "vocabulary",
        "sentencepiece",
        &[b"s", &sentencepiece()[..]].concat(),
    )?;
    write(
        "vocabulary",
        "llama2c",
        b"l\x03\0\0\0\0\0\0\0\x01\0\0\0a\0\0\x80\xbf\x02\0\0\0ab",
    )
}

fn write(target: &str, name: &str, bytes: &[u8]) -> Result<()> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("corpus")
        .join(target);
    fs::create_dir_all(&folder)?;
    fs::write(folder.join(name), bytes)
}

/// The file that pins the first version of the format, from its committed listing.
fn golden_file() -> Vec<u8> {
    let listing = include_str!("../../../runtime/format/tests/data/v1.hex");
    let mut lines = listing.lines();
    let first = lines.next().and_then(|line| line.strip_prefix("bytes "));
    let length = first.and_then(|length| usize::from_str_radix(length, 16).ok());
    let length = length.expect("the listing begins with a length");
    let mut bytes = vec![0; length];
    for line in lines {
        let (at, row) = line
            .split_once(": ")
            .expect("a line is an offset and bytes");
        let at = usize::from_str_radix(at, 16).expect("offsets are hexadecimal");
        for (place, byte) in bytes[at..].iter_mut().zip(row.split(' ')) {
            *place = u8::from_str_radix(byte, 16).expect("bytes are hexadecimal");
        }
    }
    bytes
}

/// A GGUF file with a vocabulary of three tokens and one tensor.
fn gguf() -> Vec<u8> {
    let mut out = b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0".to_vec();
    let entries: [(&str, u32, Vec<u8>); 6] = [
        ("general.architecture", 8, string("llama")),
        ("general.alignment", 4, 32u32.to_le_bytes().to_vec()),
        ("tokenizer.ggml.model", 8, string("llama")),
        (
            "tokenizer.ggml.tokens",
            9,
            array(8, &["<unk>", "a", "ab"].map(string)),
        ),
        (
            "tokenizer.ggml.scores",
            9,
            array(6, &[0f32, -1.0, -2.0].map(|x| x.to_le_bytes().to_vec())),
        ),
        (
            "tokenizer.ggml.token_type",
            9,
            array(5, &[2i32, 1, 1].map(|x| x.to_le_bytes().to_vec())),
        ),
    ];
    out.extend((entries.len() as u64).to_le_bytes());
    for (key, kind, value) in entries {
        out.extend(string(key));
        out.extend(kind.to_le_bytes());
        out.extend(value);
    }
    out.extend(string("output.weight"));
    out.extend(2u32.to_le_bytes());
    out.extend([4u64, 2].iter().flat_map(|n| n.to_le_bytes()));
    out.extend([0; 12]);
    out.resize(out.len().next_multiple_of(32) + 32, 0);
    out
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

fn array(kind: u32, items: &[Vec<u8>]) -> Vec<u8> {
    [
        &kind.to_le_bytes()[..],
        &(items.len() as u64).to_le_bytes(),
        &items.concat(),
    ]
    .concat()
}

/// A SentencePiece model of four pieces: field 1 is a piece of text, score and kind.
fn sentencepiece() -> Vec<u8> {
    let mut out = Vec::new();
    for (text, score, kind) in [
        ("<unk>", 0f32, 2u8),
        ("a", -1.0, 1),
        ("\u{2581}a", -2.0, 1),
        ("<0x0A>", 0.0, 6),
    ] {
        let mut piece = vec![0x0a, text.len() as u8];
        piece.extend(text.as_bytes());
        piece.push(0x15);
        piece.extend(score.to_le_bytes());
        piece.extend([0x18, kind]);
        out.extend([0x0a, piece.len() as u8]);
        out.extend(piece);
    }
    out
}

fn vocabulary(algorithm: Algorithm) -> Vocabulary {
    let token = |text: &str, score, kind| Token::new(text.as_bytes().to_vec(), score, kind);
    let mut tokens = vec![
        token("<unk>", 0.0, Kind::Unknown),
        token("<s>", 0.0, Kind::Control),
        token(" ", -1.0, Kind::Normal),
        token("a", -1.0, Kind::Normal),
        token("b", -1.5, Kind::Normal),
        token("ab", -2.0, Kind::Normal),
        token("<tool>", 0.0, Kind::UserDefined),
    ];
    tokens.extend((0..=255u8).map(|byte| Token::new(vec![byte], 0.0, Kind::Byte)));
    Vocabulary {
        algorithm,
        tokens,
        pretokenizer: &PRETOKENIZERS[0],
        nfc: false,
        fold_spaces: false,
        collapse_spaces: false,
        space_prefix: SpacePrefix::First,
        ignore_merges: false,
        byte_fallback: true,
        fuse_unknown: false,
        bos: Some(1),
        eos: None,
        unknown: Some(0),
        add_bos: true,
        add_eos: false,
    }
}
