//! Stories one after the other: `joined SEED CORPUS.jsonl... > joined.jsonl`.
//!
//! Mixes the `text`s of all files and joins them with empty lines until each sequence has over 3,400 characters, so that a
//! model learns from all of its context, and where texts end.
#![allow(clippy::print_stdout, reason = "what a program of its own is for")]

use std::path::Path;

use inkstone_finetune::data;
use inkstone_finetune::duplicates::text_of;
use inkstone_finetune::random::Random;

/// Characters that fill 512 tokens of a vocabulary of 1,024.
const CHARACTERS: usize = 3400;

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [seed, files @ ..] = &arguments[..] else {
        return Err("joined SEED CORPUS.jsonl...".into());
    };
    let mut texts = Vec::new();
    for file in files {
        texts.extend(data::read(Path::new(file))?.iter().map(text_of));
    }
    Random::new(seed.parse()?, "joined").shuffle(&mut texts);
    let mut sequence = String::new();
    for text in texts {
        if !sequence.is_empty() {
            sequence.push_str("\n\n");
        }
        sequence.push_str(&text);
        if sequence.chars().count() > CHARACTERS {
            println!("{}", serde_json::json!({ "text": sequence }));
            sequence.clear();
        }
    }
    Ok(())
}
