//! A `.ink` file from outside, sealed so that its tables are reached: opened, looked through, planned.
#![no_main]

use inkstone_format::{File, seal};
use inkstone_model::{Activations, Config, Kv, Model, Plan};
use inkstone_text::Tokenizer;
use libfuzzer_sys::fuzz_target;

const CONFIG: Config = Config {
    context: 256,
    sequences: 1,
    batch: 16,
    logits: 1,
    threads: 2,
    rewind: 16,
    kv: Kv::F16,
    activations: Activations::Int8,
    streamed: false,
};

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
    let Ok(model) = Model::new(file) else { return };
    if let Ok(plan) = Plan::new(&model, CONFIG) {
        let _ = plan.ops(&model).count();
    }
});
