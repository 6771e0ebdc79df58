//! Hand-written scanners for the regular expressions of pre-tokenizers.

use crate::unicode::{Class, class, is_letter, is_number, is_punctuation, is_space};

/// Looks at the beginning of the rest of a piece.
pub(crate) type Scanner = fn(&str) -> Step;

/// What a scanner found.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// Whether the pattern matches here.
    pub(crate) found: bool,
    /// Bytes of the match; or bytes, 0 meaning one character, in which no match begins.
    pub(crate) length: usize,
}

const NOTHING: Step = Step {
    found: false,
    length: 0,
};

/// A match of `length` bytes, or none where that is 0.
fn found(length: usize) -> Step {
    Step {
        found: length > 0,
        length,
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`
pub(crate) fn gpt2(text: &str) -> Step {
    let length = contraction(text, |given, wanted| given == wanted)
        .or_else(|| spaced(text, is_letter))
        .or_else(|| spaced(text, is_number))
        .or_else(|| spaced(text, is_other))
        .unwrap_or_else(|| space_before_word(text));
    found(length)
}

/// As [`modern`] with numbers of up to three digits.
pub(crate) fn llama3(text: &str) -> Step {
    modern(text, 3, is_letter)
}

/// As [`modern`] with single digits.
pub(crate) fn qwen2(text: &str) -> Step {
    modern(text, 1, is_letter)
}

/// As [`modern`] with single digits and marks as parts of words.
pub(crate) fn qwen35(text: &str) -> Step {
    modern(text, 1, |c| {
        matches!(class(c), Class::Cased | Class::Letter | Class::Mark)
    })
}

/// `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?W+|\p{N}{1,digits}| ?[^\s\p{N}W]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`
/// where `W` is what `is_word` accepts.
fn modern(text: &str, digits: usize, is_word: fn(char) -> bool) -> Step {
    let other = |c| !is_word(c) && !matches!(class(c), Class::Space | Class::Number);
    let length = contraction(text, folds_to)
        .or_else(|| word_after_any(text, is_word))
        .or_else(|| some(run_of(text, digits, is_number)))
        .or_else(|| spaced(text, other).map(|length| length + run(&text[length..], is_break)))
        .or_else(|| some(lines_of_space(text)))
        .unwrap_or_else(|| space_before_word(text));
    found(length)
}

/// `\p{N}`
pub(crate) fn number(text: &str) -> Step {
    found(run_of(text, 1, is_number))
}

/// `\p{N}+`
pub(crate) fn numbers(text: &str) -> Step {
    found(run(text, is_number))
}

/// `[0-9][0-9][0-9]`
pub(crate) fn three_digits(text: &str) -> Step {
    match run_of(text, 3, |c| c.is_ascii_digit()) {
        3 => found(3),
        _ => NOTHING,
    }
}

/// Punctuation, and what is punctuation to ASCII: ``[\p{P}\$\+<=>\^~\|`]+``
pub(crate) fn ascii_or_punctuation(text: &str) -> Step {
    found(run(text, |c| c.is_ascii_punctuation() || is_punctuation(c)))
}

/// `[\r\n]`
pub(crate) fn line_break(text: &str) -> Step {
    found(run_of(text, 1, is_break))
}

/// `[^\n]+|[\n]+`
pub(crate) fn lines(text: &str) -> Step {
    let breaks = run(text, |c| c == '\n');
    found(if breaks > 0 {
        breaks
    } else {
        run(text, |c| c != '\n')
    })
}

/// A space, which may be missing at the start of the text, and what follows up to the next.
pub(crate) fn spaced_word(text: &str) -> Step {
    let space = run_of(text, 1, |c| c == ' ');
    found(space + run(&text[space..], |c| c != ' '))
}

/// `\s?\p{L}+`
pub(crate) fn spaced_letters(text: &str) -> Step {
    after_white_space(text, is_letter)
}

/// `\s?\p{P}+`
pub(crate) fn spaced_punctuation(text: &str) -> Step {
    after_white_space(text, is_punctuation)
}

/// White space and letters with case, those of DeepSeek LLM's pattern.
pub(crate) fn spaced_cased_letters(text: &str) -> Step {
    after_white_space(text, |c| class(c) == Class::Cased && !is_newer_cased(c))
}

/// `\s?[!-/:-~！-／：-～‘-‟　-。]+`
pub(crate) fn spaced_marks(text: &str) -> Step {
    after_white_space(
        text,
        |c| matches!(c, '!'..='/' | ':'..='~' | '！'..='／' | '：'..='～' | '‘'..='‟' | '\u{3000}'..='。'),
    )
}

/// `\s+$`
pub(crate) fn trailing_space(text: &str) -> Step {
    let length = run(text, is_space);
    Step {
        found: length > 0 && length == text.len(),
        length,
    }
}

/// `[一-龥ࠀ-一가-퟿]+`
pub(crate) fn east_asian(text: &str) -> Step {
    found(run(
        text,
        |c| matches!(c, '\u{800}'..='\u{9fa5}' | '\u{ac00}'..='\u{d7ff}'),
    ))
}

/// Letters with case that the ranges of DeepSeek LLM's pattern leave out.
fn is_newer_cased(c: char) -> bool {
    matches!(c,
        '\u{560}'..='\u{588}' | '\u{10c7}'..='\u{10ff}'
        | '\u{1c80}'..='\u{1c8f}' | '\u{2d00}'..='\u{2d2d}'
        | '\u{a78f}'..='\u{a7ff}' | '\u{ab30}'..='\u{ab6f}' | '\u{1d400}'..='\u{1d7ff}')
        || (c > '\u{10000}'
            && !matches!(c, '\u{10400}'..='\u{1044f}' | '\u{104b0}'..='\u{104fb}'
                | '\u{10c80}'..='\u{10cf2}' | '\u{118a0}'..='\u{118df}' | '\u{1e900}'..='\u{1e943}'))
}

/// `\s?C+` where `C` is what `accept` accepts.
fn after_white_space(text: &str, accept: fn(char) -> bool) -> Step {
    let space = run_of(text, 1, is_space);
    let length = run(&text[space..], accept);
    if length > 0 {
        return found(space + length);
    }
    // White space may itself be accepted.
    found(run_of(text, usize::MAX, accept))
}

/// ` ?C+` where `C` is what `accept` accepts.
fn spaced(text: &str, accept: impl Fn(char) -> bool) -> Option<usize> {
    let space = usize::from(text.starts_with(' '));
    some(run(&text[space..], accept)).map(|length| space + length)
}

/// `[^\r\n\p{L}\p{N}]?W+` where `W` is what `is_word` accepts.
fn word_after_any(text: &str, is_word: fn(char) -> bool) -> Option<usize> {
    let first = text.chars().next()?;
    let prefix = if is_word(first) || is_break(first) || is_number(first) {
        0
    } else {
        first.len_utf8()
    };
    some(run(&text[prefix..], is_word)).map(|length| prefix + length)
}

/// `\s*[\r\n]+`
fn lines_of_space(text: &str) -> usize {
    let space = &text[..run(text, is_space)];
    space.rfind(is_break).map_or(0, |last| last + 1)
}

/// `\s+(?!\S)|\s+`: white space up to the last one before a word.
fn space_before_word(text: &str) -> usize {
    let length = run(text, is_space);
    if length == text.len() {
        return length;
    }
    let last = text[..length].chars().next_back().map_or(0, char::len_utf8);
    if length > last { length - last } else { length }
}

/// `'s|'t|'re|'ve|'m|'ll|'d`, where `same` compares a letter of the text with one of these.
fn contraction(text: &str, same: fn(char, char) -> bool) -> Option<usize> {
    const ENDINGS: [&str; 7] = ["s", "t", "re", "ve", "m", "ll", "d"];
    let rest = text.strip_prefix('\'')?;
    ENDINGS.iter().find_map(|ending| {
        let mut given = rest.chars();
        let matches = ending
            .chars()
            .all(|wanted| given.next().is_some_and(|c| same(c, wanted)));
        matches.then(|| text.len() - given.as_str().len())
    })
}

/// Whether `c` is `letter` but for case; U+017F, the long s, is an s.
fn folds_to(c: char, letter: char) -> bool {
    c.eq_ignore_ascii_case(&letter) || (letter == 's' && c == 'ſ')
}

/// `[^\s\p{L}\p{N}]`
fn is_other(c: char) -> bool {
    matches!(class(c), Class::Mark | Class::Punctuation | Class::Other)
}

fn is_break(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

fn some(length: usize) -> Option<usize> {
    (length > 0).then_some(length)
}

/// Bytes of the longest beginning of `text` that `accept` accepts.
fn run(text: &str, accept: impl Fn(char) -> bool) -> usize {
    text.find(|c| !accept(c)).unwrap_or(text.len())
}

/// As [`run`], of at most `most` characters.
fn run_of(text: &str, most: usize, accept: impl Fn(char) -> bool) -> usize {
    text.char_indices()
        .take(most)
        .take_while(|(_, c)| accept(*c))
        .map(|(at, c)| at + c.len_utf8())
        .last()
        .unwrap_or(0)
}
