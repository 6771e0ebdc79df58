//! A QLoRA step of a generated model of 8B parameters: `large FILE.ink TOKENS [LAYERS]`.
//!
//! Makes the file where it is not there (4.6 GB of random q4 weights in Llama 3's shape), runs one step as
//! `method.precision = "auto"` does, with checkpointing, and prints its seconds and the most memory ever held.
#![allow(clippy::print_stdout, reason = "what a program of its own is for")]

use std::path::Path;
use std::time::Instant;

use inkstone_cpu::train::{Form, Precision};
use inkstone_engine::Mapped;
use inkstone_finetune::optimizer::{Settings, State};
use inkstone_finetune::random::Random;
use inkstone_finetune::{Method, Net, Options, Pack, Sample};
use inkstone_model::Model;
use inkstone_quant::Format;
use inkstone_tests::tiny::{Recipe, write};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, tokens, rest @ ..] = &arguments[..] else {
        anyhow::bail!("large FILE.ink TOKENS [LAYERS]");
    };
    let (path, tokens): (&Path, usize) = (path.as_ref(), tokens.parse()?);
    let layers = rest.first().map_or(Ok(32), |n| n.parse())?;
    if !path.exists() {
        let format = |name| Format::by_name(name).expect("a row of FORMATS");
        let shape = Recipe {
            formats: vec![format("q4")],
            embed: format("q4"),
            head: Some(format("q4")),
            vocabulary: 128_256,
            width: 4096,
            layers,
            heads: 32,
            kv_heads: 8,
            head_width: 128,
            ffn_width: 14_336,
            ..Recipe::default()
        };
        write(&shape, path);
    }
    let mapped = Mapped::open(path)?;
    let model = Model::new(mapped.file())?;
    let options = Options {
        method: Method::Lora {
            rank: 16,
            alpha: 32.0,
            packed: true,
        },
        form: Form::new(Precision::detect(), true),
        checkpointing: true,
        seed: 1,
    };
    let mut net = Net::new(&model, mapped.bytes(), options);
    let mut state = State::new(&net.trained);
    let mut gradients = net.gradients();
    let mut random = Random::new(1, "tokens");
    let vocabulary = net.spec().vocabulary as usize;
    let mut pack = Pack::default();
    let drawn = (0..tokens).map(|_| random.below(vocabulary) as u32);
    pack.push(&Sample::whole(drawn.collect()));
    let start = Instant::now();
    let losses = net.step(&pack, 1.0 / tokens as f32, &mut gradients);
    let settings = Settings {
        rate: 1e-4,
        betas: [0.9, 0.999],
        eps: 1e-8,
        decay: 0.0,
        clip: 1.0,
        warmup: 0,
        steps: 1,
        least: 1.0,
    };
    let norm = state.step(&settings, &mut net.trained, &gradients);
    println!(
        "{tokens} tokens in {:.1} s, loss {:.3}, gradient {norm:.3}",
        start.elapsed().as_secs_f64(),
        losses.mean()
    );
    let status = std::fs::read_to_string("/proc/self/status")?;
    for line in status
        .lines()
        .filter(|l| l.starts_with("VmHWM") || l.starts_with("Rss"))
    {
        println!("{line}");
    }
    Ok(())
}
