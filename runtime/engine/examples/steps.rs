//! `steps MODEL.ink PREFILL DECODE`: runs a prompt, then tokens one by one, on one thread. For counting instructions.

use core::error::Error;
use std::path::Path;

use inkstone_engine::{Model, SessionConfig, Step};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, prefill, decode] = &arguments[..] else {
        return Err("usage: steps MODEL.ink PREFILL DECODE".into());
    };
    let (prefill, decode): (u32, u32) = (prefill.parse()?, decode.parse()?);
    let model = Model::open(Path::new(path))?;
    let mut session = model.session(&SessionConfig {
        threads: Some(1),
        context: Some(1024),
        ..SessionConfig::default()
    })?;
    let vocabulary = model.spec().vocabulary;
    let token = |position: u32| position.wrapping_mul(7919) % vocabulary;
    let prompt: Vec<u32> = (0..prefill).map(token).collect();
    session.feed(&prompt)?;
    while let Step::More { .. } = session.advance()? {}
    for position in prefill..prefill + decode {
        session.feed(&[token(position)])?;
        session.advance()?;
    }
    Ok(())
}
