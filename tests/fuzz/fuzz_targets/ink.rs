//! A `.ink` file from outside, sealed so that its tables are reached: opened, looked through, planned.
#![no_main]

use inkstone_format::{File, seal};
use inkstone_model::{Config, Model, Plan};
use inkstone_text::Tokenizer;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut bytes = data.to_vec();
    seal(&mut bytes);
    let Ok(file) = File::parse(&bytes) else {
        return;
    };
    for section in file.sections() {
        let content = file.content(&section);
        let _ = Tokenizer::parse(content);
    }
    for tensor in file.tensors() {
        let _ = file.payload(&tensor).len();
    }
    let _ = file.verify(&mut |_, _| ());
    let Ok(model) = Model::new(file) else { return };
    if let Ok(plan) = Plan::new(&model, Config::default()) {
        let _ = plan.ops(&model).count();
    }
});
