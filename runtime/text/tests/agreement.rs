//! The `tokenizers` crate as the oracle: the same ids for corpora and for random text, over whole
//! vocabularies where they are at hand and over small ones trained here.

#![allow(missing_docs, reason = "a test binary")]

#[allow(dead_code, reason = "each test binary uses a part")]
mod support;
mod trained;

use core::error::Error;
use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use inkstone_converter::tokenizer::from_json;
use inkstone_tests::needs;
use inkstone_text::{Detokenizer, Options, Tokenizer, build};

/// A `tokenizer.json`, and whether decoding gives back what was encoded, whatever it was.
struct Case {
    vocabulary: &'static str,
    round_trip: bool,
}

static CASES: &[Case] = &[
    Case {
        vocabulary: "hf-json/gpt2.json",
        round_trip: true,
    },
    Case {
        vocabulary: "hf-json/llama2.json",
        round_trip: true,
    },
    // A space before the text is lost, and so is the form of what is not in normal form.
    Case {
        vocabulary: "hf-json/mistral03.json",
        round_trip: false,
    },
    Case {
        vocabulary: "hf-json/qwen3.tokenizer.json.xz",
        round_trip: false,
    },
    Case {
        vocabulary: "hf-json/llama3.tokenizer.json.xz",
        round_trip: true,
    },
    Case {
        vocabulary: "hf-json/gemma3.tokenizer.json.xz",
        round_trip: true,
    },
    // Some bytes have no token.
    Case {
        vocabulary: "hf-json/smollm2.tokenizer.json",
        round_trip: false,
    },
];

static CORPORA: &[&str] = &[
    "wikitext-2-test.txt",
    "tinyshakespeare.txt",
    "chinese_classics.txt",
    "wagahaiwa_nekodearu_ja.txt",
    "botchan_en.txt",
    "tinystories_sample.txt",
];

/// What is spliced into random text besides random characters.
static PIECES: &[&str] = &[
    " ",
    "  ",
    "\n",
    "\r\n",
    "\t",
    "\u{a0}",
    "\u{3000}",
    "\u{85}",
    "'s",
    "'LL",
    "'\u{17f}",
    "ing",
    "the",
    " the",
    "Hello",
    "été",
    "e\u{301}",
    "中文",
    "，。",
    "ひらがな",
    "한국어",
    "العربية",
    "हिन्दी",
    "😀",
    "👩‍👩‍👧",
    "\u{fe0f}",
    "123",
    "٣٤",
    "½",
    "Ⅷ",
    "x_y",
    "->",
    "!?",
    "\u{0}",
    "\u{7f}",
    "ǅ",
    "ß",
    "<|endoftext|>",
    "<s>",
    "<bos>",
    "<|im_start|>",
    "<unk>",
    "<0x0A>",
    "[INST]",
    "</",
    "\u{10ffff}",
    "ﬀ",
    "a\u{328}\u{301}",
];

fn main() {
    let mut trials = trained::trials();
    for case in CASES {
        let present = support::locate(case.vocabulary).is_some();
        let corpora = present && needs::materials("corpora").is_some();
        let mut add = |name: &str, present, check: fn(&Case) -> Result<(), Box<dyn Error>>| {
            let name = format!("{}_{name}", case.vocabulary);
            let check = move || check(case).map_err(|error| error.to_string().into());
            trials.push(needs::trial(name, present, "materials", check));
        };
        add("agrees_on_corpora", corpora, on_corpora);
        add("agrees_on_random_text", present, on_random_text);
        add("takes_a_megabyte_a_second", corpora, in_a_second);
    }
    needs::run(trials);
}

/// Both tokenizers of one `tokenizer.json`.
pub(crate) struct Both {
    section: Vec<u8>,
    oracle: tokenizers::Tokenizer,
}

impl Both {
    pub(crate) fn of(json: &[u8]) -> Result<Self, Box<dyn Error>> {
        let oracle = tokenizers::Tokenizer::from_bytes(json).map_err(|e| e.to_string())?;
        let section = build(&from_json(json, None)?)?;
        Ok(Self { section, oracle })
    }

    fn tokenizer(&self) -> Result<Tokenizer<'_>, Box<dyn Error>> {
        Ok(Tokenizer::parse(&self.section)?)
    }

    /// Both give the same ids, and what they decode to is the text if `round_trip`.
    pub(crate) fn agree(&self, text: &str, round_trip: bool) -> Result<(), Box<dyn Error>> {
        let tokenizer = self.tokenizer()?;
        let options = Options {
            parse_special: true,
            ..Options::PLAIN
        };
        let mut ids = Vec::new();
        tokenizer.encode(text, options, &mut ids);
        let expected = self.oracle.encode(text, false).map_err(|e| e.to_string())?;
        if ids != expected.get_ids() {
            return Err(different(&tokenizer, text, &ids, expected.get_ids()).into());
        }
        let mut decoded = String::new();
        let mut detokenizer = Detokenizer::new(tokenizer).showing_special();
        for &id in &ids {
            detokenizer.push(id, &mut decoded)?;
        }
        detokenizer.finish(&mut decoded)?;
        if round_trip && decoded != text {
            return Err(format!("{text:?} came back as {decoded:?}").into());
        }
        Ok(())
    }
}

fn different(tokenizer: &Tokenizer<'_>, text: &str, ids: &[u32], expected: &[u32]) -> String {
    let same = ids.iter().zip(expected).take_while(|(a, b)| a == b).count();
    let show = |ids: &[u32]| {
        let tokens = ids[same.saturating_sub(1)..].iter().take(8);
        let bytes = tokens.map(|&id| tokenizer.token_bytes(id).unwrap_or_default());
        bytes
            .map(|b| format!("{:?}", String::from_utf8_lossy(b)))
            .collect::<Vec<_>>()
            .join(" ")
    };
    let (found, expected) = (show(ids), show(expected));
    let text: String = text.chars().take(300).collect();
    format!("{text:?}: token {same}: expected {expected}, found {found}")
}

fn both(case: &Case) -> Result<Both, Box<dyn Error>> {
    Both::of(&support::bytes(case.vocabulary)?)
}

/// The first bytes of each corpus, in stretches of some lines.
fn on_corpora(case: &Case) -> Result<(), Box<dyn Error>> {
    const BYTES: usize = 60_000;
    let both = both(case)?;
    for name in CORPORA {
        let text = corpus(name, BYTES)?;
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        for stretch in lines.chunks(7) {
            let text = stretch.concat();
            both.agree(&text, case.round_trip && !text.contains('<'))?;
        }
    }
    Ok(())
}

fn corpus(name: &str, bytes: usize) -> Result<String, Box<dyn Error>> {
    let path =
        needs::materials(&format!("corpora/{name}")).ok_or_else(|| format!("{name} is absent"))?;
    let mut text = fs::read_to_string(path)?;
    text.truncate(character_start(&text, bytes));
    Ok(text)
}

/// The start of the character that holds byte `at`.
pub(crate) fn character_start(text: &str, at: usize) -> usize {
    let boundary = |place: &usize| text.is_char_boundary(*place);
    (0..=at.min(text.len())).rev().find(boundary).unwrap_or(0)
}

fn on_random_text(case: &Case) -> Result<(), Box<dyn Error>> {
    let both = both(case)?;
    let mut random = Random(7);
    for _ in 0..3000 {
        let text = random.text();
        // Special tokens in the text and the blocks that stand for spaces do not come back.
        let plain = case.round_trip && !text.contains(['<', '[', '\u{2581}']);
        both.agree(&text, plain)?;
    }
    Ok(())
}

/// A megabyte of text and a megabyte of one letter each take a second at most.
fn in_a_second(case: &Case) -> Result<(), Box<dyn Error>> {
    // Unoptimised checks make test builds slower; a quadratic path would take minutes.
    let limit = if cfg!(debug_assertions) { 4.0 } else { 1.0 };
    let both = both(case)?;
    let tokenizer = both.tokenizer()?;
    let texts = [
        corpus("war-and-peace.txt", 1 << 20)?,
        "a".repeat(1 << 20),
        " ".repeat(1 << 20),
    ];
    for (name, text) in ["prose", "letters", "spaces"].iter().zip(&texts) {
        let mut ids = Vec::new();
        let start = cpu_seconds();
        tokenizer.encode(text, Options::PLAIN, &mut ids);
        let taken = cpu_seconds() - start;
        if taken > limit {
            return Err(format!("{name}: {taken:.3} s for {} bytes", text.len()).into());
        }
    }
    Ok(())
}

/// Time this thread has had a processor, where the system tells; else the time of day.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = stat.split(' ').next().and_then(|n| n.parse::<f64>().ok());
    let wall = || {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map(|d| d.as_secs_f64())
    };
    nanos.map_or_else(|| wall().unwrap_or_default(), |nanos| nanos / 1e9)
}

/// `SplitMix64`: the same numbers in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((x ^ (x >> 31)) % limit as u64) as usize
    }

    /// Pieces and characters of all kinds, some of them in runs.
    pub(crate) fn text(&mut self) -> String {
        let mut text = String::new();
        for _ in 0..self.below(24) {
            let times = [1, 1, 1, 2, 3, 40][self.below(6)];
            let piece = match self.below(4) {
                0 => self.character().to_string(),
                1 => char::from(b' ' + self.below(95) as u8).to_string(),
                _ => PIECES[self.below(PIECES.len())].to_string(),
            };
            text.push_str(&piece.repeat(times));
        }
        text
    }

    fn character(&mut self) -> char {
        let limit = [0x80, 0x250, 0x3000, 0x1_0000, 0x11_0000][self.below(5)];
        char::from_u32(self.below(limit) as u32).unwrap_or('\u{fffd}')
    }
}
