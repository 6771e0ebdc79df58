//! Texts and the ids others give them: every recorded pair of a vocabulary that is at hand.

#![allow(missing_docs, reason = "a test binary")]

mod support;

use core::error::Error;
use core::fmt::Write;
use std::fs;

use inkstone_tests::needs;
use inkstone_text::{Options, Tokenizer};
use serde::Deserialize;

/// A set of pairs and a vocabulary that must reproduce it.
struct Set {
    pairs: &'static str,
    vocabulary: &'static str,
    /// Control tokens in the text are parsed.
    parse_special: bool,
    /// Texts begin with the begin token.
    add_bos: Option<bool>,
    /// Texts that this form of the vocabulary treats otherwise than that of the pairs.
    except: fn(&str) -> bool,
}

const fn set(pairs: &'static str, vocabulary: &'static str) -> Set {
    Set {
        pairs,
        vocabulary,
        parse_special: false,
        add_bos: Some(false),
        except: |_| false,
    }
}

const fn special(pairs: &'static str, vocabulary: &'static str) -> Set {
    Set {
        parse_special: true,
        ..set(pairs, vocabulary)
    }
}

/// As the tokenizer that the pairs come from adds it.
const fn added(pairs: &'static str, vocabulary: &'static str) -> Set {
    Set {
        add_bos: None,
        ..special(pairs, vocabulary)
    }
}

static SETS: &[Set] = &[
    special("kitoken/gpt2", "hf-json/gpt2.json"),
    special("kitoken/gpt2", "gguf-vocab/ggml-vocab-gpt-2.gguf"),
    special("kitoken/llama2", "hf-json/llama2.json"),
    special("kitoken/llama2", "sentencepiece/llama2.model"),
    special("kitoken/llama2", "gguf-vocab/ggml-vocab-llama-spm.gguf"),
    special("kitoken/gemma3", "hf-json/gemma3.tokenizer.json.xz"),
    special("kitoken/gemma3", "models:gemma3-270m.gguf"),
    special("kitoken/gemma4", "gguf-vocab/ggml-vocab-gemma-4.gguf.xz"),
    special("kitoken/llama32", "hf-json/llama3.tokenizer.json.xz"),
    special("kitoken/llama32", "gguf-vocab/ggml-vocab-llama-bpe.gguf.xz"),
    special("kitoken/mistral03", "hf-json/mistral03.json"),
    Set {
        // SentencePiece puts a space before a space too; the JSON of the pairs does not.
        except: |text| text.starts_with(' '),
        ..special("kitoken/mistral03", "sentencepiece/mistral03.model")
    },
    set(
        "llama.cpp/deepseek-coder",
        "gguf-vocab/ggml-vocab-deepseek-coder.gguf",
    ),
    set(
        "llama.cpp/deepseek-llm",
        "gguf-vocab/ggml-vocab-deepseek-llm.gguf.xz",
    ),
    set("llama.cpp/falcon", "gguf-vocab/ggml-vocab-falcon.gguf"),
    set("llama.cpp/gemma-4", "gguf-vocab/ggml-vocab-gemma-4.gguf.xz"),
    set("llama.cpp/gpt-2", "gguf-vocab/ggml-vocab-gpt-2.gguf"),
    set("llama.cpp/gpt-2", "hf-json/gpt2.json"),
    set(
        "llama.cpp/llama-bpe",
        "gguf-vocab/ggml-vocab-llama-bpe.gguf.xz",
    ),
    set("llama.cpp/llama-bpe", "hf-json/llama3.tokenizer.json.xz"),
    set(
        "llama.cpp/llama-spm",
        "gguf-vocab/ggml-vocab-llama-spm.gguf",
    ),
    set("llama.cpp/llama-spm", "hf-json/llama2.json"),
    set("llama.cpp/phi-3", "gguf-vocab/ggml-vocab-phi-3.gguf"),
    set("llama.cpp/qwen2", "gguf-vocab/ggml-vocab-qwen2.gguf"),
    set("llama.cpp/qwen2", "hf-json/qwen3.tokenizer.json.xz"),
    set("llama.cpp/qwen35", "gguf-vocab/ggml-vocab-qwen35.gguf.xz"),
    set(
        "llama.cpp/starcoder",
        "gguf-vocab/ggml-vocab-starcoder.gguf",
    ),
    added("transformers.js/llama2", "hf-json/llama2.json"),
    Set {
        // This copy of the JSON has lost its template.
        add_bos: Some(true),
        ..special("transformers.js/llama3", "hf-json/llama3.tokenizer.json.xz")
    },
    added(
        "transformers.js/deepseek-coder",
        "gguf-vocab/ggml-vocab-deepseek-coder.gguf",
    ),
    added("transformers.js/gpt2", "hf-json/gpt2.json"),
    added("transformers.js/qwen1.5", "hf-json/qwen3.tokenizer.json.xz"),
    added(
        "transformers.js/falcon",
        "gguf-vocab/ggml-vocab-falcon.gguf",
    ),
    special("reference/qwen3-hf", "hf-json/qwen3.tokenizer.json.xz"),
    special("reference/gemma3-hf", "hf-json/gemma3.tokenizer.json.xz"),
    special("reference/gemma3-hf", "models:gemma3-270m.gguf"),
    set(
        "reference/internlm2",
        "sentencepiece/tokenizer_internlm2.model",
    ),
    set(
        "reference/internlm",
        "sentencepiece/tokenizer_internlm.model",
    ),
    special("reference/smollm2", "hf-json/smollm2.tokenizer.json"),
    special("reference/smollm2", "models:smollm2-135m.gguf"),
];

#[derive(Deserialize)]
struct Pair {
    case: String,
    text: String,
    ids: Vec<u32>,
}

fn main() {
    let trials = SETS.iter().map(|set| {
        let name = format!("{}_by_{}", set.pairs, set.vocabulary);
        let pairs = needs::materials("tokenizers/pairs").is_some();
        let present = pairs && support::locate(set.vocabulary).is_some();
        let check = move || check(set).map_err(|error| error.to_string().into());
        needs::trial(name, present, support::need(set.vocabulary), check)
    });
    needs::run(trials.collect());
}

fn check(set: &Set) -> Result<(), Box<dyn Error>> {
    let section = support::section(set.vocabulary)?;
    let tokenizer = Tokenizer::parse(&section)?;
    let options = Options {
        parse_special: set.parse_special,
        add_bos: set.add_bos,
        add_eos: Some(false),
    };
    let file =
        needs::materials(&format!("tokenizers/pairs/{}.jsonl", set.pairs)).ok_or("absent")?;
    let (mut cases, mut wrong) = (0, 0);
    let mut report = String::new();
    for line in fs::read_to_string(file)?.lines() {
        let pair: Pair = serde_json::from_str(line)?;
        if (set.except)(&pair.text) {
            continue;
        }
        cases += 1;
        let mut ids = Vec::new();
        tokenizer.encode(&pair.text, options, &mut ids);
        if ids != pair.ids {
            wrong += 1;
            writeln!(report, "{}", difference(&tokenizer, &pair, &ids))?;
        }
    }
    if wrong == 0 {
        return Ok(());
    }
    Err(format!("{wrong} of {cases} cases differ\n{report}").into())
}

/// The tokens from the first that differs.
fn difference(tokenizer: &Tokenizer<'_>, pair: &Pair, ids: &[u32]) -> String {
    let same = ids
        .iter()
        .zip(&pair.ids)
        .take_while(|(a, b)| a == b)
        .count();
    let show = |ids: &[u32]| {
        let tokens = ids.iter().skip(same).take(6);
        let show = |id: &u32| {
            let bytes = tokenizer.token_bytes(*id).unwrap_or_default();
            format!("{id} {:?}", String::from_utf8_lossy(bytes))
        };
        tokens.map(show).collect::<Vec<_>>().join(", ")
    };
    let (expected, found) = (show(&pair.ids), show(ids));
    format!(
        "{} from token {same}: expected [{expected}], found [{found}]",
        pair.case
    )
}
