//! Whether a model repeats what it was taught: `copied MODEL.ink CORPUS.jsonl SAMPLES.jsonl [LENGTH]`.
//!
//! Prints the longest run of tokens that a sample has in common with a text of the corpus, and how many samples have one
//! of LENGTH tokens (40, if not said), which is a failure. Tokens are the model's; both files hold a `text` in each line.
#![allow(clippy::print_stdout, reason = "what a program of its own is for")]

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::process::ExitCode;

use inkstone_engine::Model;
use inkstone_finetune::data;
use inkstone_finetune::duplicates::text_of;

fn main() -> Result<ExitCode, Box<dyn core::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, corpus, samples, rest @ ..] = &arguments[..] else {
        return Err("copied MODEL.ink CORPUS.jsonl SAMPLES.jsonl [LENGTH]".into());
    };
    let length: usize = rest.first().map_or(Ok(40), |n| n.parse())?;
    let model = Model::open(model.as_ref())?;
    let (corpus, samples) = (tokens(&model, corpus)?, tokens(&model, samples)?);
    let copied = |length| copied(&samples, &corpus, length);
    // By halving: whatever has a long run has all its parts.
    let (mut longest, mut beyond) = (0, 1 + samples.iter().map(Vec::len).max().unwrap_or(0));
    while beyond - longest > 1 {
        let middle = usize::midpoint(longest, beyond);
        if copied(middle) > 0 {
            longest = middle;
        } else {
            beyond = middle;
        }
    }
    let found = copied(length);
    println!(
        "{} samples, {} texts of {} tokens: the longest run in common has {longest} tokens; {found} samples have one of {length}",
        samples.len(),
        corpus.len(),
        corpus.iter().map(Vec::len).sum::<usize>(),
    );
    Ok(ExitCode::from(u8::from(found > 0)))
}

/// The tokens of each text of a file.
fn tokens(model: &Model, file: &str) -> Result<Vec<Vec<u32>>, Box<dyn core::error::Error>> {
    let examples = data::read(Path::new(file))?;
    Ok(examples
        .iter()
        .map(|example| model.encode(&text_of(example)))
        .collect())
}

/// How many samples have a run of tokens, as long as that, with some text in common.
fn copied(samples: &[Vec<u32>], corpus: &[Vec<u32>], length: usize) -> usize {
    let mut runs: HashMap<&[u32], Vec<usize>> = HashMap::new();
    for (index, sample) in samples.iter().enumerate() {
        sample
            .windows(length)
            .for_each(|run| runs.entry(run).or_default().push(index));
    }
    let taught = corpus.iter().flat_map(|text| text.windows(length));
    let found: HashSet<usize> = taught
        .filter_map(|run| runs.get(run))
        .flatten()
        .copied()
        .collect();
    found.len()
}
