//! `hash MODEL.ink TEXT`: the hash of the logits after each token of a text, the same on every CPU.

#![allow(clippy::print_stdout)]

use core::error::Error;
use std::path::Path;

use inkstone_engine::{LogitsHash, Model, SessionConfig};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(text)) = (arguments.next(), arguments.next()) else {
        return Err("usage: hash MODEL.ink TEXT".into());
    };
    let model = Model::open(Path::new(&path))?;
    let tokens = model.encode(&text);
    let logits = SessionConfig::default().batch;
    let mut session = model.session(&SessionConfig {
        logits,
        ..SessionConfig::default()
    })?;
    session.feed(&tokens)?;
    let mut hash = LogitsHash::new();
    while session.done() < tokens.len() as u32 {
        for row in 0..session.advance_all()? {
            hash.row(session.logits(row));
        }
    }
    println!("{}", hash.finish());
    Ok(())
}
