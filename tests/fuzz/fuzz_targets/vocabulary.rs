//! Vocabularies as other projects store them: `tokenizer.json`, SentencePiece, llama2.c, chosen by the first byte.
#![no_main]

use inkstone_converter::tokenizer::{from_json, from_llama2c, from_sentencepiece};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((kind, data)) = data.split_first() else {
        return;
    };
    let vocabulary = match kind {
        b'j' => from_json(data, None),
        b's' => from_sentencepiece(data, None),
        _ => from_llama2c(data),
    };
    if let Ok(vocabulary) = vocabulary {
        let _ = inkstone_text::build(&vocabulary);
    }
});
