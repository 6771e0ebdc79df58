//! The pre-tokenizers: which pieces of text are tokenised apart, as a table.

use crate::scan::{self, Scanner};

/// One way to split text into pieces that no token crosses.
#[derive(Debug)]
pub struct Pretokenizer {
    /// The number it has in a file; never used again for another.
    pub id: u32,
    /// Its name.
    pub name: &'static str,
    /// What GGUF files call it (`tokenizer.ggml.pre`).
    pub ggml_names: &'static [&'static str],
    /// What each step isolates, as regular expressions, for those who recognise one by them.
    pub patterns: &'static [&'static str],
    /// Each step splits the pieces of the step before.
    steps: &'static [Scanner],
}

/// `gpt2` splits words with the space before them, numbers, and runs of other characters.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN35: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// The pre-tokenizers.
pub static PRETOKENIZERS: &[Pretokenizer] = &[
    Pretokenizer {
        id: 0,
        name: "none",
        ggml_names: &[],
        patterns: &[],
        steps: &[],
    },
    Pretokenizer {
        id: 1,
        name: "gpt2",
        ggml_names: &["gpt-2", "phi-2", "mpt", "olmo", "jais", "roberta-bpe"],
        patterns: &[GPT2],
        steps: &[scan::gpt2],
    },
    Pretokenizer {
        id: 2,
        name: "smollm",
        ggml_names: &[
            "smollm",
            "starcoder",
            "refact",
            "command-r",
            "codeshell",
            "exaone",
        ],
        patterns: &[r"\p{N}", GPT2],
        steps: &[scan::number, scan::gpt2],
    },
    Pretokenizer {
        id: 3,
        name: "llama3",
        ggml_names: &[
            "llama3",
            "llama-v3",
            "llama-bpe",
            "falcon3",
            "pixtral",
            "dbrx",
            "smaug-bpe",
        ],
        patterns: &[LLAMA3],
        steps: &[scan::llama3],
    },
    Pretokenizer {
        id: 4,
        name: "qwen2",
        ggml_names: &[
            "qwen2",
            "deepseek-r1-qwen",
            "megrez",
            "stablelm2",
            "hunyuan",
        ],
        patterns: &[QWEN2],
        steps: &[scan::qwen2],
    },
    Pretokenizer {
        id: 5,
        name: "qwen35",
        ggml_names: &["qwen35"],
        patterns: &[QWEN35],
        steps: &[scan::qwen35],
    },
    Pretokenizer {
        id: 6,
        name: "falcon",
        ggml_names: &["falcon"],
        patterns: &[r"[\p{P}\$\+<=>\^~\|`]+", GPT2, "[0-9][0-9][0-9]"],
        steps: &[scan::ascii_or_punctuation, scan::gpt2, scan::three_digits],
    },
    Pretokenizer {
        id: 7,
        name: "deepseek-coder",
        ggml_names: &["deepseek-coder"],
        patterns: &[
            r"[\r\n]",
            r"\s?\p{L}+",
            r"\s?\p{P}+",
            "[一-龥ࠀ-一가-퟿]+",
            r"\p{N}",
        ],
        steps: &[
            scan::line_break,
            scan::spaced_letters,
            scan::spaced_punctuation,
            scan::east_asian,
            scan::number,
        ],
    },
    Pretokenizer {
        id: 8,
        name: "deepseek-llm",
        ggml_names: &["deepseek-llm"],
        patterns: &[],
        steps: &[
            scan::line_break,
            scan::spaced_cased_letters,
            scan::spaced_marks,
            scan::trailing_space,
            scan::east_asian,
            scan::numbers,
        ],
    },
    Pretokenizer {
        id: 9,
        name: "lines",
        ggml_names: &["gemma4"],
        patterns: &[r"[^\n]+|[\n]+"],
        steps: &[scan::lines],
    },
    Pretokenizer {
        id: 10,
        name: "words",
        ggml_names: &[],
        patterns: &[],
        steps: &[scan::spaced_word],
    },
];

/// The pre-tokenizer that splits nothing.
pub static NONE: &Pretokenizer = &PRETOKENIZERS[0];

impl Pretokenizer {
    /// The pre-tokenizer with the number `id`.
    #[must_use]
    pub fn by_id(id: u32) -> Option<&'static Self> {
        PRETOKENIZERS.iter().find(|row| row.id == id)
    }

    /// Whether it splits text at all.
    pub(crate) fn splits(&self) -> bool {
        !self.steps.is_empty()
    }

    /// The pre-tokenizer called `name`.
    #[must_use]
    pub fn by_name(name: &str) -> Option<&'static Self> {
        PRETOKENIZERS.iter().find(|row| row.name == name)
    }

    /// The pre-tokenizer a GGUF file calls `name`.
    #[must_use]
    pub fn by_ggml_name(name: &str) -> Option<&'static Self> {
        PRETOKENIZERS
            .iter()
            .find(|row| row.ggml_names.contains(&name))
    }

    /// The pre-tokenizer whose steps isolate `patterns`.
    #[must_use]
    pub fn by_patterns(patterns: &[&str]) -> Option<&'static Self> {
        PRETOKENIZERS
            .iter()
            .find(|row| !row.patterns.is_empty() && row.patterns == patterns)
    }

    /// Gives the pieces of `text`, in order, to `take`.
    pub fn split<'t>(&self, text: &'t str, take: &mut dyn FnMut(&'t str)) {
        split(text, self.steps, take);
    }
}

fn split<'t>(text: &'t str, steps: &[Scanner], take: &mut dyn FnMut(&'t str)) {
    let Some((scanner, steps)) = steps.split_first() else {
        if !text.is_empty() {
            take(text);
        }
        return;
    };
    let mut rest = text;
    let mut skipped = 0;
    while let Some(tail) = rest.get(skipped..).filter(|tail| !tail.is_empty()) {
        let step = scanner(tail);
        // A scanner that says nothing skips a character, so that every step gets on.
        let length = match step.length {
            0 => tail.chars().next().map_or(1, char::len_utf8),
            length => length,
        };
        if !step.found {
            skipped += length;
            continue;
        }
        split(&rest[..skipped], steps, take);
        let (piece, after) = tail.split_at(length.min(tail.len()));
        split(piece, steps, take);
        rest = after;
        skipped = 0;
    }
    split(rest, steps, take);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    fn pieces<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
        let row = Pretokenizer::by_name(name).expect("the table has the name");
        let mut pieces = Vec::new();
        row.split(text, &mut |piece| pieces.push(piece));
        pieces
    }

    #[test]
    fn rows_have_their_own_ids_and_names() {
        for (index, row) in PRETOKENIZERS.iter().enumerate() {
            let others = &PRETOKENIZERS[..index];
            assert!(others.iter().all(|o| o.id != row.id && o.name != row.name));
            let shared = |o: &Pretokenizer| o.ggml_names.iter().any(|n| row.ggml_names.contains(n));
            assert!(!others.iter().any(shared), "{}", row.name);
        }
    }

    #[test]
    fn pieces_joined_are_the_text() {
        let text =
            "Ünïcode's  12345\r\n\n\t x_y 'LL 'ſ 中文，。 ½ \u{301}a\u{301} 😶‍🌫️ \u{85}\u{3000} ";
        for row in PRETOKENIZERS {
            let mut joined = alloc::string::String::new();
            row.split(text, &mut |piece| joined.push_str(piece));
            assert_eq!(joined, text, "{}", row.name);
        }
    }

    #[test]
    fn rows_split_as_their_patterns_do() {
        let text = "I'll  'LL pay 12345\n\n x";
        let cases: [(&str, &[&str]); 4] = [
            (
                "gpt2",
                &["I", "'ll", " ", " '", "LL", " pay", " 12345", "\n\n", " x"],
            ),
            (
                "smollm",
                &[
                    "I", "'ll", " ", " '", "LL", " pay", " ", "1", "2", "3", "4", "5", "\n\n", " x",
                ],
            ),
            (
                "llama3",
                &[
                    "I", "'ll", " ", " '", "LL", " pay", " ", "123", "45", "\n\n", " x",
                ],
            ),
            (
                "qwen2",
                &[
                    "I", "'ll", " ", " '", "LL", " pay", " ", "1", "2", "3", "4", "5", "\n\n", " x",
                ],
            ),
        ];
        for (name, expected) in cases {
            assert_eq!(pieces(name, text), expected, "{name}");
        }
    }
}
