//! `grammars MODEL.ink SCHEMAS.jsonl [COUNT]`: what holding answers to JSON Schemas costs, beside running the model.
//!
//! Each line of the file has a `schema`. Answers of at most 128 tokens are drawn by it, the likeliest token each time.

#![allow(
    clippy::print_stdout,
    reason = "what it measures is what it is run for"
)]

use core::error::Error;
use core::time::Duration;
use std::fs;
use std::path::Path;

use inkstone_engine::{Generation, Grammar, Grammars, Model, Options, Piece, SessionConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, schemas, rest @ ..] = &arguments[..] else {
        return Err("usage: grammars MODEL.ink SCHEMAS.jsonl [COUNT]".into());
    };
    let count = rest.first().map_or(Ok(40), |count| count.parse())?;
    let model = Model::open(Path::new(path))?;
    let grammars = Grammars::of(&model)?;
    let mut session = model.session(&SessionConfig::default())?;
    let prompt = model.encode("An example of a JSON document: ");
    let options = Options {
        limit: Some(128),
        ..Options::default()
    };
    let (mut tokens, mut refused) = (0, 0);
    let (mut answering, mut held, mut making) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let text = fs::read_to_string(schemas)?;
    for line in text.lines().take(count) {
        let row: serde_json::Value = serde_json::from_str(line)?;
        let begun = std::time::Instant::now();
        let Ok(constraint) = grammars.constraint(&Grammar::JsonSchema(row["schema"].clone()))
        else {
            refused += 1;
            continue;
        };
        making += begun.elapsed();
        session.prompt(&prompt)?;
        let mut answer = Generation::new(&model, &options)?.within(constraint);
        let mut out = Vec::new();
        while !matches!(answer.next(&mut session, &mut out)?, Piece::Finished(_)) {}
        let stats = answer.stats();
        tokens += stats.tokens;
        answering += stats.first + stats.rest;
        held += stats.grammar;
    }
    println!(
        "{tokens} tokens in {answering:.2?}; grammars took {held:.2?}, {:.1} % of the rest; \
         making them {making:.2?}; {refused} of {count} schemas refused",
        100.0 * held.as_secs_f64() / (answering - held).as_secs_f64(),
    );
    Ok(())
}
