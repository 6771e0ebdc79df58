//! What the readers make of small files, and of hostile ones.

use inkstone_text::{Algorithm, Kind, Options, SpacePrefix, Tokenizer, Vocabulary, build};

use super::{from_json, from_llama2c, from_sentencepiece};
use crate::error::ErrorKind;

const JSON: &str = r#"{
  "added_tokens": [{"id": 4, "content": "<s>", "special": true}, {"id": 6, "content": "<u>"}],
  "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
  "pre_tokenizer": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": false},
  "post_processor": {"type": "TemplateProcessing",
    "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}],
    "special_tokens": {"<s>": {"ids": [4]}}},
  "model": {"type": "BPE", "byte_fallback": true,
    "vocab": {"▁": 0, "a": 1, "▁a": 2, "<0x0A>": 3}, "merges": ["▁ a"]}
}"#;

fn ids(vocabulary: &Vocabulary, text: &str) -> Vec<u32> {
    let section = build(vocabulary).expect("the vocabulary is sound");
    let tokenizer = Tokenizer::parse(&section).expect("the section is sound");
    let mut ids = Vec::new();
    tokenizer.encode(text, Options::default(), &mut ids);
    ids
}

/// A field of a message: its number, and bytes.
fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u8::try_from(bytes.len()).expect("test messages are short");
    [&[number << 3 | 2, length], bytes].concat()
}

/// A piece with its score and type.
fn piece(text: &str, score: f32, kind: u8) -> Vec<u8> {
    let score = [&[2 << 3 | 5], score.to_le_bytes().as_slice()].concat();
    field(
        1,
        &[field(1, text.as_bytes()), score, vec![3 << 3, kind]].concat(),
    )
}

fn sentencepiece() -> Vec<u8> {
    [
        piece("<unk>", 0.0, 2),
        piece("<s>", 0.0, 3),
        piece("</s>", 0.0, 3),
        piece("▁a", -1.0, 1),
        piece("▁", -2.0, 1),
        piece("a", -3.0, 1),
        field(2, &[3 << 3, 2]),
        field(3, &[4 << 3, 0]),
    ]
    .concat()
}

fn llama2c() -> Vec<u8> {
    let mut file = 6_u32.to_le_bytes().to_vec();
    for text in ["<unk>", "\n<s>\n", "\n</s>\n", "<0x41>", " a", " ", "a"] {
        let score = -(file.len() as f32);
        file.extend(score.to_le_bytes());
        file.extend((text.len().min(6) as u32).to_le_bytes());
        file.extend(&text.as_bytes()[..text.len().min(6)]);
    }
    file
}

#[test]
fn a_tokenizer_json_is_read_with_its_steps() {
    let vocabulary = from_json(JSON.as_bytes(), None).expect("sound");
    assert!(matches!(vocabulary.algorithm, Algorithm::Characters(ref merges) if merges.len() == 1));
    assert_eq!(vocabulary.space_prefix, SpacePrefix::FirstUnlessSpace);
    assert_eq!((vocabulary.bos, vocabulary.add_bos), (Some(4), true));
    let kinds: Vec<Kind> = vocabulary.tokens.iter().map(|token| token.kind).collect();
    let normal = [Kind::Normal; 3];
    let rest = [Kind::Byte, Kind::Control, Kind::Unused, Kind::UserDefined];
    assert_eq!(kinds, [normal.as_slice(), &rest].concat());
    assert_eq!(ids(&vocabulary, "a a\n<u>"), [4, 2, 2, 3, 6]);
}

#[test]
fn a_configuration_overrides_begin_and_end() {
    let config =
        br#"{"eos_token": {"content": "<u>"}, "add_bos_token": false, "add_eos_token": true}"#;
    let vocabulary = from_json(JSON.as_bytes(), Some(config)).expect("sound");
    assert_eq!(ids(&vocabulary, "a"), [2, 6]);
}

#[test]
fn steps_that_are_not_known_are_named() {
    let json = JSON.replace("\"Metaspace\"", "\"Whatever\"");
    let error = from_json(json.as_bytes(), None).expect_err("the step is unknown");
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert!(error.to_string().contains("Whatever"), "{error}");
}

#[test]
fn hostile_json_is_refused() {
    for (from, to) in [
        ("\"▁ a\"", "\"▁ b\""),
        ("\"▁ a\"", "\"a\""),
        ("\"▁a\": 2", "\"▁a\": 4000000000"),
        ("\"id\": 4", "\"id\": -1"),
        ("[4]", "[]"),
        ("\"vocab\"", "\"cab\""),
    ] {
        let json = JSON.replacen(from, to, 1);
        assert!(from_json(json.as_bytes(), None).is_err(), "{to}");
    }
    let nested = "[".repeat(100_000);
    assert!(from_json(nested.as_bytes(), None).is_err());
}

#[test]
fn a_sentencepiece_model_is_read() {
    let vocabulary = from_sentencepiece(&sentencepiece(), None).expect("sound");
    assert_eq!(ids(&vocabulary, "a aé"), [1, 3, 3, 0]);
}

#[test]
fn a_sentencepiece_model_cut_inside_a_field_is_refused() {
    let model = sentencepiece();
    let cut = &model[..model.len() - 1];
    let error = from_sentencepiece(cut, None).expect_err("it is cut");
    assert_eq!(error.kind(), ErrorKind::Truncated);
    assert!(error.offset().is_some());
    for length in 0..model.len() {
        let _ = from_sentencepiece(&model[..length], None);
    }
}

#[test]
fn a_llama2c_tokenizer_is_read() {
    let vocabulary = from_llama2c(&llama2c()).expect("sound");
    assert_eq!(ids(&vocabulary, "aA"), [1, 4, 3]);
}

#[test]
fn a_llama2c_tokenizer_cut_anywhere_but_between_tokens_is_refused() {
    let file = llama2c();
    let error = from_llama2c(&file[..file.len() - 1]).expect_err("it is cut");
    assert_eq!(error.kind(), ErrorKind::Truncated);
    let huge = [6_u32.to_le_bytes(), [0; 4], u32::MAX.to_le_bytes()].concat();
    let error = from_llama2c(&huge).expect_err("the token is longer than the longest");
    assert_eq!(
        (error.kind(), error.offset()),
        (ErrorKind::Malformed, Some(8))
    );
}
