//! Small vocabularies trained by the oracle on a text of our own, so that these tests need no data.

use core::error::Error;

use inkstone_tests::needs;
use libtest_mimic::Trial;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::normalizers::{Prepend, Replace, Sequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{AddedToken, Tokenizer};

use crate::{Both, Random, character_start};

/// What the vocabularies are trained on.
static TEXT: &str = include_str!("../data/tea.txt");

/// One way to train a vocabulary; gives its `tokenizer.json`.
struct Kind {
    name: &'static str,
    train: fn() -> tokenizers::Result<Tokenizer>,
}

static KINDS: &[Kind] = &[
    Kind {
        name: "byte_level_bpe",
        train: byte_level,
    },
    Kind {
        name: "character_bpe_with_prefix_and_byte_fallback",
        train: characters,
    },
    Kind {
        name: "unigram_of_words",
        train: || unigram(true),
    },
    Kind {
        name: "unigram_across_words",
        train: || unigram(false),
    },
];

pub(crate) fn trials() -> Vec<Trial> {
    let trial = |kind: &'static Kind| {
        let check = move || check(kind).map_err(|error| error.to_string().into());
        needs::trial(format!("trained_{}_agrees", kind.name), true, "", check)
    };
    KINDS.iter().map(trial).collect()
}

fn check(kind: &Kind) -> Result<(), Box<dyn Error>> {
    let trained = (kind.train)().map_err(|e| e.to_string())?;
    let json = trained.to_string(false).map_err(|e| e.to_string())?;
    let both = Both::of(&as_models_are(&json)?)?;
    for line in TEXT.lines() {
        both.agree(line, false)?;
    }
    both.agree(TEXT, false)?;
    let mut random = Random(11);
    for _ in 0..2000 {
        both.agree(&random.text(), false)?;
        both.agree(&shuffled(&mut random), false)?;
    }
    Ok(())
}

/// The trainer knows no byte tokens but added ones; models have them as tokens of their own. Its scores are f64, those of
/// models f32: two ways of the same score would part by what is rounded off.
fn as_models_are(json: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut json: serde_json::Value = serde_json::from_str(json)?;
    if let Some(added) = json["added_tokens"].as_array_mut() {
        added.retain(|token| {
            token["content"]
                .as_str()
                .is_none_or(|name| !name.starts_with("<0x"))
        });
    }
    if json["model"]["type"] == "Unigram"
        && let Some(pieces) = json["model"]["vocab"].as_array_mut()
    {
        for piece in pieces {
            let score = piece[1].as_f64().ok_or("a score is a number")?;
            piece[1] = f64::from(score as f32).into();
        }
    }
    Ok(serde_json::to_vec(&json)?)
}

/// Stretches of the training text, cut anywhere.
fn shuffled(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..random.below(12) {
        let start = character_start(TEXT, random.below(TEXT.len()));
        let end = character_start(TEXT, start + random.below(14));
        text.push_str(&TEXT[start..end]);
    }
    text
}

fn byte_level() -> tokenizers::Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(BPE::default());
    tokenizer.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    let trainer = BpeTrainer::builder()
        .vocab_size(500)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![AddedToken::from("<|endoftext|>", true)])
        .build();
    trained(tokenizer, trainer.into())
}

fn characters() -> tokenizers::Result<Tokenizer> {
    let model = BPE::builder()
        .unk_token("<unk>".into())
        .fuse_unk(true)
        .byte_fallback(true);
    let mut tokenizer = Tokenizer::new(model.build()?);
    tokenizer.with_normalizer(Some(Sequence::new(vec![
        Prepend::new("▁".into()).into(),
        Replace::new(" ", "▁")?.into(),
    ])))?;
    let mut specials = vec![
        AddedToken::from("<unk>", true),
        AddedToken::from("<s>", true),
    ];
    specials.extend((0..=255).map(|byte: u8| AddedToken::from(format!("<0x{byte:02X}>"), true)));
    let trainer = BpeTrainer::builder()
        .vocab_size(700)
        .show_progress(false)
        .special_tokens(specials)
        .build();
    trained(tokenizer, trainer.into())
}

fn unigram(split: bool) -> tokenizers::Result<Tokenizer> {
    let mut tokenizer = Tokenizer::new(Unigram::default());
    tokenizer.with_pre_tokenizer(Some(Metaspace::new('▁', PrependScheme::Always, split)));
    let trainer = UnigramTrainer::builder()
        .vocab_size(200)
        .show_progress(false)
        .unk_token(Some("<unk>".into()))
        .special_tokens(vec![AddedToken::from("<unk>", true)])
        .build()?;
    trained(tokenizer, trainer.into())
}

fn trained(
    mut tokenizer: Tokenizer,
    mut trainer: tokenizers::models::TrainerWrapper,
) -> tokenizers::Result<Tokenizer> {
    tokenizer.train(&mut trainer, TEXT.lines())?;
    Ok(tokenizer)
}
