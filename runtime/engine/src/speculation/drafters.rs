//! Who guesses: a table. A guess costs time when it is wrong and never changes what is drawn.

use std::time::Instant;

use super::policy::KINDS;
use crate::error::{ErrorKind, Result};
use crate::session::{Event, Session};

/// Something that guesses the tokens that come next.
pub struct Drafter {
    /// Its name.
    pub name: &'static str,
    /// What it guesses, in a sentence.
    pub doc: &'static str,
    /// Its kinds of guesses, by the least confidence of each, and how often they are taken to come true at first.
    pub(super) kinds: &'static [(usize, f64)],
    /// What it could guess behind a sequence.
    pub(super) find: fn(&Sources, &[u32]) -> Option<Found>,
    /// Seconds that a guess takes where a run of one row takes `one`.
    pub(super) seconds: fn(&Sources, one: f64) -> f64,
    /// Guesses as many as `out` is long; how many they are.
    pub(super) guess: fn(&mut Sources, &[u32], Found, &mut [u32]) -> Result<usize>,
}

/// Every drafter; the first that has something to say is heard.
pub static DRAFTERS: &[Drafter] = &[
    Drafter {
        name: "lookup",
        doc: "what followed where the end of the sequence stood before",
        kinds: &[(2, 0.3), (4, 0.5), (8, 0.75), (16, 0.9)],
        find: earlier,
        seconds: |_, _| 0.0,
        guess: copy,
    },
    Drafter {
        name: "draft",
        doc: "what a smaller model of the same vocabulary draws",
        kinds: &[(0, 0.6)],
        find: model,
        seconds: |sources, one| {
            sources
                .draft
                .as_ref()
                .map_or(0.0, |draft| draft.seconds(one))
        },
        guess: draw,
    },
];

/// What drafters draw on beside the sequence.
#[derive(Default)]
pub(super) struct Sources {
    pub(super) draft: Option<Draft>,
    /// Tokens that shifts have dropped before the sequence.
    pub(super) dropped: u64,
    /// Mirostat's bound on surprise at the end of the sequence.
    pub(super) mu: f32,
}

/// A smaller model at work.
pub(super) struct Draft {
    pub(super) session: Box<Session>,
    /// Bytes of its weights as a part of those of the model it guesses for.
    pub(super) share: f64,
    /// Seconds that a token takes, once measured.
    pub(super) seconds: Option<f64>,
}

/// What a drafter could guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// How sure it is, by a measure of its own.
    pub(super) confidence: usize,
    /// A place in the sequence.
    at: usize,
}

impl Drafter {
    /// The kind of a guess, where it is one.
    pub(super) fn kind(&self, found: Found) -> Option<usize> {
        debug_assert!(self.kinds.len() <= KINDS);
        let sure = |&(least, _): &(usize, f64)| found.confidence >= least;
        self.kinds.iter().rposition(sure)
    }
}

/// Tokens of a match that count.
const LONGEST: usize = 32;

/// Tokens that are searched.
const SEARCHED: usize = 1 << 15;

/// Where the longest end of the sequence stood before, the latest of such places; its length is the confidence.
fn earlier(_: &Sources, tokens: &[u32]) -> Option<Found> {
    let last = tokens.last()?;
    let start = tokens.len().saturating_sub(SEARCHED);
    let mut found = Found {
        confidence: 0,
        at: 0,
    };
    for at in (start + 1..tokens.len()).rev() {
        if tokens[at - 1] != *last {
            continue;
        }
        let ends = tokens[..at].iter().rev().zip(tokens.iter().rev());
        let confidence = ends.take(LONGEST).take_while(|(a, b)| a == b).count();
        if confidence > found.confidence {
            found = Found { confidence, at };
        }
        if confidence == LONGEST {
            break;
        }
    }
    (found.confidence > 0).then_some(found)
}

/// What stands behind the place; at the end of the sequence, the guesses themselves go on.
fn copy(_: &mut Sources, tokens: &[u32], found: Found, out: &mut [u32]) -> Result<usize> {
    for index in 0..out.len() {
        let at = found.at + index;
        out[index] = match tokens.get(at) {
            Some(&token) => token,
            None => out[at - tokens.len()],
        };
    }
    Ok(out.len())
}

fn model(sources: &Sources, _: &[u32]) -> Option<Found> {
    sources.draft.as_ref().map(|_| Found {
        confidence: 0,
        at: 0,
    })
}

/// What the draft model draws, by the same parameters and the same randomness.
fn draw(sources: &mut Sources, tokens: &[u32], _: Found, out: &mut [u32]) -> Result<usize> {
    let Some(draft) = &mut sources.draft else {
        return Ok(0);
    };
    let session = &mut draft.session;
    // What cannot be guessed, for another vocabulary's sake or any other, the model draws without.
    if session.follow(tokens, sources.dropped, sources.mu).is_err() {
        return Ok(0);
    }
    let behind = tokens.len() - session.done() as usize > out.len() + 1;
    let mut start = Instant::now();
    for (index, guess) in out.iter_mut().enumerate() {
        match drawn(session) {
            Ok(Some(token)) => *guess = token,
            Err(error) if error.kind() == ErrorKind::Cancelled => return Err(error),
            _ => return Ok(index),
        }
        // What the user has fed had to be run at some time: it is not to be paid for by guesses.
        if index == 0 && behind {
            start = Instant::now();
        }
    }
    let timed = out.len() - usize::from(behind);
    if timed > 0 {
        draft.note(start.elapsed().as_secs_f64() / timed as f64);
    }
    Ok(out.len())
}

/// The next token that a session draws.
fn drawn(session: &mut Session) -> Result<Option<u32>> {
    loop {
        match session.step()? {
            Event::Token(token) | Event::Stop(token) => {
                session.go_on();
                return Ok(Some(token));
            }
            Event::Progress { .. } => {}
            Event::Idle | Event::Shifted { .. } => return Ok(None),
        }
    }
}

impl Draft {
    /// Of one guess, where a run of one row of the model takes `one`.
    fn seconds(&self, one: f64) -> f64 {
        self.seconds.unwrap_or(self.share * one)
    }

    fn note(&mut self, seconds: f64) {
        let before = self.seconds.unwrap_or(seconds);
        // Now and then the system is busy elsewhere.
        self.seconds = Some(before + (seconds.min(2.0 * before) - before) / 8.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guess(tokens: &[u32]) -> Option<(usize, [u32; 5])> {
        let mut sources = Sources::default();
        let found = earlier(&sources, tokens)?;
        let mut out = [0; 5];
        copy(&mut sources, tokens, found, &mut out).unwrap();
        Some((found.confidence, out))
    }

    #[test]
    fn what_followed_the_longest_and_latest_match_is_guessed() {
        assert_eq!(
            guess(&[1, 2, 3, 4, 5, 6, 9, 2, 3, 1, 2, 3]),
            Some((3, [4, 5, 6, 9, 2]))
        );
        assert_eq!(
            guess(&[1, 2, 7, 5, 1, 2, 8, 5, 1, 2]),
            Some((3, [8, 5, 1, 2, 8]))
        );
    }

    #[test]
    fn a_loop_goes_on() {
        assert_eq!(guess(&[7, 7]), Some((1, [7; 5])));
        assert_eq!(guess(&[3, 1, 2, 1, 2]), Some((2, [1, 2, 1, 2, 1])));
    }

    #[test]
    fn what_is_new_is_not_guessed_at() {
        assert_eq!(guess(&[]), None);
        assert_eq!(guess(&[1]), None);
        assert_eq!(guess(&[1, 2, 3]), None);
    }

    #[test]
    fn every_drafter_has_kinds_in_order() {
        for drafter in DRAFTERS {
            assert!(!drafter.kinds.is_empty() && drafter.kinds.len() <= KINDS);
            assert!(drafter.kinds.is_sorted_by(|a, b| a.0 < b.0));
            assert!(
                drafter
                    .kinds
                    .iter()
                    .all(|kind| (0.0..=1.0).contains(&kind.1))
            );
        }
    }
}
