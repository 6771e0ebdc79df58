//! The story model that comes along, beside stories260K of llama2.c, on texts that it was not taught.

use std::fs;
use std::path::Path;

use inkstone_converter::convert::Options as Convert;
use inkstone_converter::{Source, convert};
use inkstone_engine::{Model, SessionConfig};
use inkstone_eval::perplexity::{Options, perplexity};
use inkstone_tests::needs;
use libtest_mimic::Failed;

fn main() {
    let found = needs::materials("corpora/tinystories_sample.txt")
        .zip(needs::materials("models/stories260K-f32.gguf"));
    let test = needs::trial(
        "its_bits_a_byte_are_no_more_than_those_of_stories260k",
        found.is_some(),
        "materials",
        move || {
            let (sample, peer) = found.ok_or("absent")?;
            compare(&fs::read_to_string(sample)?, &peer)
        },
    );
    needs::run(vec![test]);
}

fn compare(sample: &str, peer: &Path) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let converted = folder.path().join("peer.ink");
    convert(
        &Source::open(peer)?,
        &converted,
        &Convert::default(),
        &mut |_| true,
    )?;
    let theirs = Model::open(&converted)?;
    let ours = Model::open(&needs::workspace().join("finetune/models/stories/stories.ink"))?;
    for context in [256, 512] {
        let options = Options {
            context,
            chunks: None,
        };
        let bits = |model| {
            let config = SessionConfig::default();
            let report = perplexity(model, &config, sample, &options, &mut |_| {});
            report.map(|report| report.bits_per_byte)
        };
        let (ours, theirs) = (bits(&ours)?, bits(&theirs)?);
        if ours > theirs {
            return Err(format!("contexts of {context}: {ours} bits a byte, not {theirs}").into());
        }
    }
    Ok(())
}
