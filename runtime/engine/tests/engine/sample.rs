//! A tiny model with a tokenizer of single bytes, and sessions of it on every device.

use inkstone_engine::format::{Declaration, File, SectionKind, Writer};
use inkstone_engine::text::{
    Algorithm, Kind, PRETOKENIZERS, SpacePrefix, Token, Vocabulary, build,
};
use inkstone_engine::{DEVICES, Event, Model, Session, SessionConfig, Step};
use inkstone_quant::Format;
use inkstone_tests::tiny::{self, Recipe};
use std::io::Write;
use std::path::Path;
use tempfile::TempDir;

/// Begins a text.
pub(crate) const BOS: u32 = 256;
/// Ends a text and an answer.
pub(crate) const EOS: u32 = 257;

/// A template as models have them.
pub(crate) const TEMPLATE: &str = "{{ bos_token }}{% for m in messages %}[{{ m.role }}]{{ m.content }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}[assistant]{% endif %}";

/// A model in a folder that goes with it.
pub(crate) struct Sample {
    pub(crate) model: Model,
    pub(crate) folder: TempDir,
}

/// Two layers of integer and plain formats in turn; 258 tokens.
pub(crate) fn recipe() -> Recipe {
    Recipe {
        formats: ["q4", "F32", "q8", "Q4_1"].map(format).to_vec(),
        embed: format("q8"),
        vocabulary: 258,
        width: 32,
        heads: 4,
        kv_heads: 2,
        head_width: 8,
        ffn_width: 48,
        ..Recipe::default()
    }
}

fn format(name: &str) -> &'static Format {
    Format::by_name(name).unwrap()
}

/// As [`recipe`], with a window in the second layer.
pub(crate) fn windowed() -> Recipe {
    Recipe {
        windows: vec![None, Some(24)],
        ..recipe()
    }
}

pub(crate) fn open(recipe: &Recipe) -> Sample {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tiny.ink");
    write(recipe, &path, &[EOS]);
    Sample {
        model: Model::open(&path).unwrap(),
        folder,
    }
}

/// Writes a tiny model with the sections that text needs.
pub(crate) fn write(recipe: &Recipe, path: &Path, stops: &[u32]) {
    let tokenizer = build(&vocabulary()).unwrap();
    let stops: Vec<u8> = stops.iter().flat_map(|id| id.to_le_bytes()).collect();
    let sections = [
        (SectionKind::Tokenizer, tokenizer.as_slice()),
        (SectionKind::Template, TEMPLATE.as_bytes()),
        (SectionKind::Stops, stops.as_slice()),
    ];
    write_with(recipe, path, &sections);
}

/// Writes a tiny model with `sections` beside its own.
pub(crate) fn write_with(recipe: &Recipe, path: &Path, sections: &[(SectionKind, &[u8])]) {
    let bytes = tiny::ink(recipe);
    let file = File::parse(&bytes).unwrap();
    let mut all = vec![(SectionKind::Spec, file.section(SectionKind::Spec).unwrap())];
    all.extend(sections);
    let declarations: Vec<Declaration> = file.tensors().map(Into::into).collect();
    let mut writer = Writer::create(path, &all, &declarations).unwrap();
    for (index, tensor) in file.tensors().enumerate() {
        writer
            .tensor(index)
            .unwrap()
            .write_all(file.payload(&tensor))
            .unwrap();
    }
    writer.finish().unwrap();
}

/// A tokenizer section in which one token has another name.
pub(crate) fn foreign() -> Vec<u8> {
    let mut vocabulary = vocabulary();
    vocabulary.tokens[257] = Token::new(b"</t>".to_vec(), 0.0, Kind::Control);
    build(&vocabulary).unwrap()
}

fn vocabulary() -> Vocabulary {
    let byte = |b: u8| Token::new(vec![b], 0.0, Kind::Normal);
    let mut tokens: Vec<Token> = (0..=255).map(byte).collect();
    tokens.push(Token::new(b"<s>".to_vec(), 0.0, Kind::Control));
    tokens.push(Token::new(b"</s>".to_vec(), 0.0, Kind::Control));
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
        bos: Some(BOS),
        eos: Some(EOS),
        unknown: None,
        add_bos: true,
        add_eos: false,
    }
}

/// Configurations of small sessions, one a device.
pub(crate) fn configs() -> impl Iterator<Item = SessionConfig> {
    DEVICES.iter().map(|device| SessionConfig {
        device: device.name.to_owned(),
        context: Some(96),
        threads: Some(2),
        batch: 8,
        rewind: 16,
        ..SessionConfig::default()
    })
}

/// Tokens without meaning.
pub(crate) fn tokens(n: u32) -> Vec<u32> {
    (0..n).map(|i| (i * 37 + i * i * 11 + 5) % 256).collect()
}

/// Runs all that is queued and gives the bits of the logits that follow.
pub(crate) fn logits(session: &mut Session) -> Vec<u32> {
    while session.advance().unwrap() != Step::Ready {}
    session.logits(0).iter().map(|x| x.to_bits()).collect()
}

/// The bits of the logits that follow `tokens` in a new session.
pub(crate) fn fresh(model: &Model, config: &SessionConfig, tokens: &[u32]) -> Vec<u32> {
    let mut session = model.session(config).unwrap();
    session.feed(tokens).unwrap();
    logits(&mut session)
}

/// Draws `n` tokens.
pub(crate) fn draw(session: &mut Session, n: usize) -> Vec<u32> {
    let mut drawn = Vec::new();
    while drawn.len() < n {
        match session.step().unwrap() {
            Event::Token(id) | Event::Stop(id) => {
                session.go_on();
                drawn.push(id);
            }
            Event::Progress { .. } | Event::Shifted { .. } => {}
            Event::Idle => panic!("idle after {drawn:?}"),
        }
    }
    drawn
}
