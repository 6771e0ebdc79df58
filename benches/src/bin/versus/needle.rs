//! A needle in a haystack: how surprised a model is by what it was told far back.

use anyhow::{Result, bail};
use inkstone_engine::{Model, Session, SessionConfig};

/// Characters of the text around the needle.
const HAYSTACK: usize = 6000;

/// Where needles are hidden: hundredths of the text.
static PLACES: &[usize] = &[10, 30, 50, 70, 90];

/// What is told, and where the question takes it up again.
static NEEDLES: &[(&str, &str)] = &[
    ("The number of the blue lighthouse is", " 7 4 1 9 2."),
    ("The password of the old library is", " copper kettle."),
];

/// The mean loss of a token of the answers, natural logarithm.
pub(crate) fn loss(model: &Model, config: &SessionConfig, text: &str) -> Result<f64> {
    let config = SessionConfig {
        context: None,
        ..config.clone()
    };
    let mut session = model.session(&config)?;
    let (mut sum, mut count) = (0.0, 0);
    for (index, &(told, answer)) in NEEDLES.iter().enumerate() {
        let haystack = haystack(text, index);
        for &place in PLACES {
            let (losses, tokens) = one(
                model,
                &mut session,
                &hidden(haystack, place, told, answer),
                answer,
            )?;
            sum += losses;
            count += tokens;
        }
    }
    Ok(sum / count as f64)
}

/// Another part of the text for each needle.
fn haystack(text: &str, index: usize) -> &str {
    let start = boundary(text, index * HAYSTACK);
    let end = boundary(text, (index + 1) * HAYSTACK);
    &text[start..end]
}

/// The first place from `byte` on where a character begins, or the end.
fn boundary(text: &str, byte: usize) -> usize {
    let places = byte..text.len();
    let mut places = places.filter(|&place| text.is_char_boundary(place));
    places.next().unwrap_or(text.len())
}

/// The text with a needle at a place, and at its end the needle's beginning again.
fn hidden(haystack: &str, place: usize, told: &str, answer: &str) -> String {
    let near = boundary(haystack, haystack.len() * place / 100);
    let at = haystack[near..]
        .find(" . ")
        .map_or(near, |found| near + found + 3);
    let (before, after) = haystack.split_at(at);
    format!("{before}{told}{answer} {after}\n{told}")
}

/// The sum of the losses of the answer's tokens behind a prompt, and how many there are.
fn one(model: &Model, session: &mut Session, prompt: &str, answer: &str) -> Result<(f64, usize)> {
    let tokens = model.encode(&format!("{prompt}{answer}"));
    let known = model.encode(prompt);
    let same = tokens.iter().zip(&known).take_while(|(a, b)| a == b);
    let first = same.count();
    if first == tokens.len() || first == 0 {
        bail!("the needle's answer has no tokens of its own");
    }
    session.rewind(0)?;
    session.feed(&tokens[..first])?;
    let mut sum = 0.0;
    for &token in &tokens[first..] {
        while session.done() < session.position() {
            session.advance()?;
        }
        sum += cost(session.logits(0), token as usize);
        session.feed(&[token])?;
    }
    Ok((sum, tokens.len() - first))
}

/// `−ln softmax(logits)[token]`.
fn cost(logits: &[f32], token: usize) -> f64 {
    let highest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers = logits.iter().map(|&x| f64::from(x - highest).exp());
    powers.sum::<f64>().ln() - f64::from(logits[token] - highest)
}
