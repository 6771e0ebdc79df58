//! The tokenizer section of a `.ink` file from outside, put to use on text and ids from outside.
//!
//! Input: one byte of options, one for the length of the text, the text, the section.
#![no_main]

use inkstone_text::{Detokenizer, Options, Tokenizer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let [options, length, rest @ ..] = data else {
        return;
    };
    let Some((text, section)) = rest.split_at_checked(usize::from(*length)) else {
        return;
    };
    let Ok(tokenizer) = Tokenizer::parse(section) else {
        return;
    };
    let text = String::from_utf8_lossy(text);
    let options = Options {
        parse_special: options & 1 != 0,
        ..Options::default()
    };
    let mut ids = Vec::new();
    tokenizer.encode(&text, options, &mut ids);
    ids.extend(text.bytes().map(|byte| u32::from(byte) * 0x0101_0101));
    let _ = tokenizer.decode(&ids);
    let mut detokenizer = Detokenizer::new(tokenizer);
    let mut out = String::new();
    for &id in &ids {
        let _ = detokenizer.push(id, &mut out);
    }
    let _ = detokenizer.finish(&mut out);
});
