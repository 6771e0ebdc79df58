//! A safetensors header from outside.
#![no_main]

use inkstone_converter::safetensors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = safetensors::parse(data, data.len() as u64);
});
