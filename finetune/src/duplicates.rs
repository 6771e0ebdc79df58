//! Examples that say the same: exactly, by a hash of their words, or nearly, by MinHash over five-word shingles
//! (Broder 1997) and bands of its signature (Leskovec et al., Mining of Massive Datasets, chapter 3).

use std::collections::{BTreeMap, BTreeSet, HashMap};

use rayon::prelude::*;
use serde::Serialize;
use serde_json::Value;

use crate::data::Example;

/// Words of a shingle.
const SHINGLE: usize = 5;
/// Numbers of a signature.
pub(crate) const HASHES: usize = 128;
/// Numbers of a band: 32 bands of 4 find pairs that share 0.8 of their shingles with probability over 1 − 10⁻⁷, and
/// those that share 0.5 with one of 0.87; what is found is then compared in full.
pub(crate) const BAND: usize = 4;

/// Two examples that say the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Near {
    /// The earlier one, or that of the test set; from 0.
    pub first: usize,
    /// The later one.
    pub second: usize,
    /// Shingles that both have, of all that either has.
    pub share: f64,
    /// Whether they have the same words.
    pub exact: bool,
}

impl Near {
    /// `exactly ` or `nearly `.
    #[must_use]
    pub fn degree(&self) -> &'static str {
        if self.exact { "exactly " } else { "nearly " }
    }
}

/// What an example says: the contents and calls of its messages but the system's, or its text.
#[must_use]
pub fn text_of(example: &Example) -> String {
    match example {
        Example::Text(text) => text.clone(),
        Example::Chat { messages, .. } => {
            let said = messages
                .iter()
                .filter(|message| message["role"] != "system");
            let parts = said.flat_map(|message| [&message["content"], &message["tool_calls"]]);
            let parts = parts.filter_map(|part| match part {
                Value::String(text) => Some(text.clone()),
                Value::Null => None,
                other => Some(other.to_string()),
            });
            parts.collect::<Vec<_>>().join("\n")
        }
    }
}

/// Pairs within one set; each example is named once as a second, with the first one like it.
#[must_use]
pub fn within(texts: &[String], near: f64) -> Vec<Near> {
    let prints = prints(texts);
    let mut index = Index::default();
    let mut found = Vec::new();
    for (second, print) in prints.iter().enumerate() {
        found.extend(
            index
                .like(print, &prints, near)
                .map(|like| Near { second, ..like }),
        );
        index.add(second, print);
    }
    found
}

/// Examples of `texts` that are like one of `test`.
#[must_use]
pub fn between(texts: &[String], test: &[String], near: f64) -> Vec<Near> {
    let (prints, tests) = (prints(texts), prints(test));
    let mut index = Index::default();
    tests
        .iter()
        .enumerate()
        .for_each(|(first, print)| index.add(first, print));
    let like = |(second, print)| {
        index
            .like(print, &tests, near)
            .map(|like| Near { second, ..like })
    };
    prints.iter().enumerate().filter_map(like).collect()
}

/// What an example is compared by.
pub(crate) struct Print {
    /// Of all words.
    pub(crate) whole: blake3::Hash,
    shingles: BTreeSet<u64>,
    /// The least of each hash over all shingles.
    pub(crate) signature: [u64; HASHES],
}

/// Words of a text, the marks of prose apart; where scripts write none, characters; signs that change what is said, such as
/// `-` and `<`, are words too.
pub(crate) fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    for stretch in text.split(|c: char| c.is_whitespace() || MARKS.contains(c)) {
        let mut begin = 0;
        for (at, c) in stretch.char_indices().filter(|(_, c)| is_a_word(*c)) {
            words.extend([&stretch[begin..at], &stretch[at..at + c.len_utf8()]]);
            begin = at + c.len_utf8();
        }
        words.push(&stretch[begin..]);
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Marks that say the same where they are left out.
const MARKS: &str = ",.;:!?…\"'“”„‘’«»`*_#、。，．！？；：「」『』·";

/// Kana, Han, and signs.
fn is_a_word(c: char) -> bool {
    !c.is_alphanumeric()
        || matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
}

fn prints(texts: &[String]) -> Vec<Print> {
    texts.par_iter().map(|text| Print::of(text)).collect()
}

impl Print {
    pub(crate) fn of(text: &str) -> Print {
        let lower = text.to_lowercase();
        let words = words(&lower);
        let width = SHINGLE.min(words.len().max(1));
        let shingles: BTreeSet<u64> = words.windows(width).map(hash).collect();
        let mut signature = [u64::MAX; HASHES];
        for shingle in &shingles {
            for (index, least) in signature.iter_mut().enumerate() {
                *least = (*least).min(mixed(shingle ^ mixed(index as u64 + 1)));
            }
        }
        Print {
            whole: blake3::hash(words.join(" ").as_bytes()),
            shingles,
            signature,
        }
    }

    fn share(&self, other: &Print) -> f64 {
        let both = self.shingles.intersection(&other.shingles).count();
        let either = self.shingles.len() + other.shingles.len() - both;
        if either == 0 {
            0.0
        } else {
            both as f64 / either as f64
        }
    }
}

fn hash(words: &[&str]) -> u64 {
    let bytes = blake3::hash(words.join(" ").as_bytes());
    let (first, _) = bytes.as_bytes().split_at(8);
    u64::from_le_bytes(first.try_into().expect("eight bytes were split off"))
}

/// SplitMix64's finisher.
fn mixed(x: u64) -> u64 {
    let mut z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Examples by the bands of their signatures, and by their words.
#[derive(Default)]
struct Index {
    whole: HashMap<blake3::Hash, usize>,
    bands: HashMap<(usize, [u64; BAND]), Vec<usize>>,
}

impl Index {
    fn add(&mut self, number: usize, print: &Print) {
        self.whole.entry(print.whole).or_insert(number);
        for (band, values) in print.signature.as_chunks::<BAND>().0.iter().enumerate() {
            self.bands.entry((band, *values)).or_default().push(number);
        }
    }

    /// The example most like `print`.
    fn like(&self, print: &Print, prints: &[Print], near: f64) -> Option<Near> {
        let found = |first, share, exact| Near {
            first,
            second: 0,
            share,
            exact,
        };
        if let Some(first) = self.whole.get(&print.whole) {
            return Some(found(*first, 1.0, true));
        }
        let mut candidates = BTreeMap::new();
        for (band, values) in print.signature.as_chunks::<BAND>().0.iter().enumerate() {
            for number in self.bands.get(&(band, *values)).into_iter().flatten() {
                *candidates.entry(*number).or_insert(0) += 1;
            }
        }
        let shares = candidates
            .keys()
            .map(|first| (*first, print.share(&prints[*first])));
        let best = shares.max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        best.filter(|(_, share)| *share >= near)
            .map(|(first, share)| found(first, share, false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_and_marks_of_prose_change_no_words_and_signs_do() {
        let same = |a: &str, b: &str| Print::of(a).whole == Print::of(b).whole;
        assert!(same("Put it on, please!", "put it \"on\" please"));
        assert!(same("它在哪里？", "它在哪里"));
        assert!(!same("return a if a > b", "return a if a < b"));
        assert!(!same("It was -5 degrees.", "It was 5 degrees."));
        assert!(!same("and I sat with it :)", "and I sat with it :("));
    }

    #[test]
    fn calls_are_said_too() {
        let asked = |name: &str| Example::Chat {
            messages: vec![
                serde_json::json!({"role": "user", "content": "light!"}),
                serde_json::json!({"role": "assistant", "content": null, "tool_calls": [{"name": name}]}),
            ],
            tools: None,
        };
        assert_ne!(text_of(&asked("on")), text_of(&asked("off")));
    }
}
