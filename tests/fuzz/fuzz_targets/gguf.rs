//! A GGUF header from outside, and the vocabulary inside it.
#![no_main]

use inkstone_converter::gguf::Header;
use inkstone_converter::tokenizer::from_gguf;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(header) = Header::parse(data, data.len() as u64) else {
        return;
    };
    if let Ok(vocabulary) = from_gguf(&header) {
        let _ = inkstone_text::build(&vocabulary);
    }
});
