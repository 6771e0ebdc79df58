//! What a text must not be: rules of Gopher (Rae et al. 2021), C4 (Raffel et al. 2020) and FineWeb (Penedo et al. 2024)
//! that hold in any language.

use std::collections::HashSet;

use crate::duplicates::words;

/// A text and what rules look at.
pub(super) struct Text<'a> {
    whole: &'a str,
    words: Vec<&'a str>,
    lines: Vec<&'a str>,
}

/// One rule.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    /// What it is called, and counted as.
    pub name: &'static str,
    /// What it drops.
    pub about: &'static str,
    /// Where it drops, unless told otherwise.
    pub limit: f64,
    side: Side,
    measure: Measure,
}

#[derive(Debug, Clone, Copy)]
enum Side {
    Below,
    Above,
}

/// Every rule; a text is counted under the first that drops it.
pub static RULES: &[Rule] = &[
    below("words", "fewer words", 3.0, |t| t.words.len() as f64),
    below(
        "letters",
        "a smaller share of letters and digits",
        0.5,
        letters,
    ),
    above(
        "control",
        "a larger share of control and replacement characters",
        0.01,
        control,
    ),
    above("symbols", "more # and ellipses per word", 0.1, symbols),
    above(
        "long_words",
        "longer words in the mean, in letters",
        16.0,
        word_length,
    ),
    above(
        "bullets",
        "a larger share of lines with bullets",
        0.9,
        bullets,
    ),
    above(
        "ellipses",
        "a larger share of lines that end in an ellipsis",
        0.3,
        ellipses,
    ),
    above(
        "lines",
        "a larger share of text in lines that stood before",
        0.3,
        repeated_lines,
    ),
    above(
        "phrases",
        "a larger share of five-word phrases that stood before",
        0.3,
        repeated_phrases,
    ),
    above("filler", "more of `lorem ipsum`", 0.0, |t| {
        t.whole.to_lowercase().matches("lorem ipsum").count() as f64
    }),
];

type Measure = fn(&Text<'_>) -> f64;

const fn below(name: &'static str, about: &'static str, limit: f64, measure: Measure) -> Rule {
    Rule {
        name,
        about,
        limit,
        side: Side::Below,
        measure,
    }
}

const fn above(name: &'static str, about: &'static str, limit: f64, measure: Measure) -> Rule {
    Rule {
        side: Side::Above,
        ..below(name, about, limit, measure)
    }
}

impl<'a> Text<'a> {
    pub(super) fn new(whole: &'a str) -> Text<'a> {
        let lines = whole.lines().map(str::trim);
        let spoken = |word: &&str| word.contains(char::is_alphanumeric);
        Text {
            whole,
            words: words(whole).into_iter().filter(spoken).collect(),
            lines: lines.filter(|line| !line.is_empty()).collect(),
        }
    }
}

impl Rule {
    /// Whether it drops a text at `limit`.
    pub(super) fn drops(&self, text: &Text<'_>, limit: f64) -> bool {
        let measured = (self.measure)(text);
        match self.side {
            Side::Below => measured < limit,
            Side::Above => measured > limit,
        }
    }
}

fn share(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn letters(text: &Text<'_>) -> f64 {
    let seen = text.whole.chars().filter(|c| !c.is_whitespace());
    let (letters, all) = seen.fold((0, 0), |(letters, all), c| {
        (letters + usize::from(c.is_alphanumeric()), all + 1)
    });
    share(letters, all)
}

fn control(text: &Text<'_>) -> f64 {
    let bad = |c: &char| *c == '\u{fffd}' || c.is_control() && !c.is_whitespace();
    share(
        text.whole.chars().filter(bad).count(),
        text.whole.chars().count(),
    )
}

fn symbols(text: &Text<'_>) -> f64 {
    let marks = ["#", "...", "…"];
    let count = marks.iter().map(|mark| text.whole.matches(mark).count());
    share(count.sum(), text.words.len())
}

fn word_length(text: &Text<'_>) -> f64 {
    let letters = text.words.iter().map(|word| word.chars().count());
    share(letters.sum(), text.words.len())
}

fn bullets(text: &Text<'_>) -> f64 {
    let begins = |line: &&&str| line.starts_with(['-', '*', '•', '‣', '·', '●']);
    share(text.lines.iter().filter(begins).count(), text.lines.len())
}

fn ellipses(text: &Text<'_>) -> f64 {
    let ends = |line: &&&str| line.ends_with("...") || line.ends_with('…');
    share(text.lines.iter().filter(ends).count(), text.lines.len())
}

fn repeated_lines(text: &Text<'_>) -> f64 {
    let mut seen = HashSet::new();
    let again = text.lines.iter().filter(|line| !seen.insert(**line));
    share(again.map(|line| line.len()).sum(), text.whole.len())
}

fn repeated_phrases(text: &Text<'_>) -> f64 {
    let mut seen = HashSet::new();
    let phrases = text.words.windows(5);
    let all = phrases.len();
    share(phrases.filter(|phrase| !seen.insert(*phrase)).count(), all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropped_by(text: &str) -> Option<&'static str> {
        let text = Text::new(text);
        let rule = RULES.iter().find(|rule| rule.drops(&text, rule.limit));
        rule.map(|rule| rule.name)
    }

    #[test]
    fn each_rule_drops_what_it_is_for() {
        let lines = "The same line again and again.\n".repeat(3);
        let phrase = "one two three four five ".repeat(4);
        let bad = [
            ("words", "Hello there"),
            ("letters", "$$$ %%% one ((( two ))) three *** !!! ??? +++"),
            ("control", "a text with\u{1}\u{2} odd\u{3} bytes"),
            ("symbols", "a # heading # of # marks"),
            (
                "long_words",
                "aaaaaaaaaaaaaaaaaaaaaaaaa bbbbbbbbbbbbbbbbbbbbbbbbbb ccccccccccccccc",
            ),
            ("bullets", "- one thing\n- another thing\n- a third"),
            (
                "ellipses",
                "It goes on and on and nobody knows what comes in the end of it all ...\nA whole line.",
            ),
            ("lines", &lines),
            ("phrases", &phrase),
            ("filler", "Here stands lorem ipsum dolor sit amet."),
        ];
        for (rule, text) in bad {
            assert_eq!(dropped_by(text), Some(rule), "{text}");
        }
        assert_eq!(bad.len(), RULES.len());
    }

    #[test]
    fn good_texts_of_any_language_stay() {
        for text in [
            "A cup of tea stood on the table, and nobody drank it.",
            "桌上放着一杯茶，没有人喝。",
            "Auf dem Tisch stand eine Tasse Tee, die niemand trank.",
            "fn main() {\n    println!(\"tea\");\n}",
        ] {
            assert_eq!(dropped_by(text), None, "{text}");
        }
    }
}
