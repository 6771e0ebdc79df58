//! Models for tests of the whole engine: tiny ones with a tokenizer of bytes, and real ones, converted.
#![allow(dead_code, reason = "each test uses a part")]

pub(crate) mod golden;

use inkstone_converter::convert::Options;
use inkstone_converter::{Source, convert};
use inkstone_engine::format::SectionKind;
use inkstone_engine::text::{
    Algorithm, Kind, PRETOKENIZERS, SpacePrefix, Token, Vocabulary, build,
};
use inkstone_engine::{LogitsHash, Model, SessionConfig, Step};
use inkstone_quant::{FORMATS, Format};
use inkstone_tests::needs;
use inkstone_tests::tiny::{self, Recipe};
use std::fs;
use std::path::{Path, PathBuf};
use std::process;

/// The real models that tests know, by the names of their files without ending.
pub(crate) static REAL: &[&str] = &["smollm2-135m", "gemma3-270m"];

/// The token of tiny models that ends an answer.
const END: u32 = 257;

/// The name of the device under test.
pub(crate) const DEVICE: &str = "cpu";

/// A folder for the files of this process, emptied by `cargo clean`.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).to_path_buf()
}

/// A real model, converted anew for this test program, if its GGUF file is there.
pub(crate) fn converted(name: &str) -> Option<PathBuf> {
    let from = needs::model(&format!("{name}.gguf"))?;
    let to = folder().join(format!("{name}-{}.ink", program()));
    convert_to(&from, &to);
    Some(to)
}

/// Converts a model of any kind, losslessly.
pub(crate) fn convert_to(from: &Path, to: &Path) {
    let source = Source::open(from).expect("the model is sound");
    convert(&source, to, &Options::default(), &mut |_| true).expect("the model can be converted");
}

/// A tiny model in which each kind of layer has all optional parts, its matrices in `format`.
pub(crate) fn recipe(format: &'static Format) -> Recipe {
    Recipe {
        formats: vec![format],
        embed: format,
        vocabulary: 258,
        windows: vec![Some(24), None],
        biases: true,
        qk_norms: true,
        post_norms: true,
        cap: Some(30.0),
        ..Recipe::default()
    }
}

/// A recipe for every row of `FORMATS`, by its name.
pub(crate) fn recipes() -> impl Iterator<Item = (&'static str, Recipe)> {
    FORMATS.iter().map(|format| (format.name, recipe(format)))
}

/// Writes a tiny model with a tokenizer and opens it.
pub(crate) fn tiny(name: &str, recipe: &Recipe) -> Model {
    let path = folder().join(format!("tiny-{name}-{}-{}.ink", program(), process::id()));
    let tokenizer = build(&bytes()).expect("bytes are a vocabulary");
    let stops = END.to_le_bytes();
    let sections = [
        (SectionKind::Tokenizer, &tokenizer[..]),
        (SectionKind::Stops, &stops),
    ];
    tiny::write_with(recipe, &path, &sections);
    let model = Model::open(&path).expect("the recipe is sound");
    fs::remove_file(&path).expect("it was just written");
    model
}

/// Tokens without meaning.
pub(crate) fn tokens(count: u32, vocabulary: u32) -> Vec<u32> {
    (0..count)
        .map(|i| i.wrapping_mul(2_654_435_761) / 7 % vocabulary)
        .collect()
}

/// The hash of the logits after each token.
pub(crate) fn hash_of_all(model: &Model, config: &SessionConfig, tokens: &[u32]) -> String {
    let config = SessionConfig {
        logits: config.batch,
        ..config.clone()
    };
    let mut session = model.session(&config).expect("the session fits");
    session.feed(tokens).expect("the context holds the tokens");
    let mut hash = LogitsHash::new();
    loop {
        let rows = session.advance_all().expect("logits are finite");
        if rows == 0 {
            return hash.finish().to_string();
        }
        (0..rows).for_each(|row| hash.row(session.logits(row)));
    }
}

/// The hash of the logits after the last token, and after each of `more` greedy ones.
pub(crate) fn hash_of_last(
    model: &Model,
    config: &SessionConfig,
    tokens: &[u32],
    more: u32,
) -> String {
    let mut session = model.session(config).expect("the session fits");
    session.feed(tokens).expect("the context holds the tokens");
    let mut hash = LogitsHash::new();
    for _ in 0..=more {
        while session.advance().expect("logits are finite") != Step::Ready {}
        let row = session.logits(0);
        let best = (0..row.len())
            .rev()
            .max_by(|&a, &b| row[a].total_cmp(&row[b]));
        hash.row(row);
        session
            .feed(&[best.expect("rows are not empty") as u32])
            .expect("there is room");
    }
    hash.finish().to_string()
}

/// The name of the test program.
fn program() -> &'static str {
    env!("CARGO_CRATE_NAME")
}

/// A token a byte, and two marks.
fn bytes() -> Vocabulary {
    let byte = |byte: u8| Token::new(vec![byte], 0.0, Kind::Normal);
    let mut tokens: Vec<Token> = (0..=255).map(byte).collect();
    tokens.extend(["<s>", "</s>"].map(|mark| Token::new(mark.into(), 0.0, Kind::Control)));
    Vocabulary {
        algorithm: Algorithm::Bytes(Vec::new()),
        tokens,
        pretokenizer: &PRETOKENIZERS[0],
        nfc: false,
        fold_spaces: false,
        collapse_spaces: false,
        space_prefix: SpacePrefix::Never,
        ignore_merges: false,
        byte_fallback: false,
        fuse_unknown: false,
        bos: Some(256),
        eos: Some(END),
        unknown: None,
        add_bos: true,
        add_eos: false,
    }
}
