//! How fast a model is trained: `speed MODEL.ink METHOD PRECISION TOKENS STEPS [THREADS]`.
//!
//! METHOD is `full`, `lora` or `qlora`. Prints tokens a second, best and median, and the most memory ever held.
#![allow(clippy::print_stdout, reason = "what a program of its own is for")]

use std::time::Instant;

use inkstone_cpu::train::Precision;
use inkstone_engine::Model;
use inkstone_finetune::random::Random;
use inkstone_finetune::{Method, Net, Options, Pack, Sample};

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, method, precision, tokens, steps, rest @ ..] = &arguments[..] else {
        return Err("speed MODEL.ink full|lora|qlora f32|bf16 TOKENS STEPS [THREADS]".into());
    };
    let threads = rest.first().map_or(Ok(2), |n| n.parse())?;
    let lora = |packed| Method::Lora {
        rank: 16,
        alpha: 32.0,
        packed,
    };
    let options = Options {
        method: match method.as_str() {
            "full" => Method::Full,
            "lora" => lora(false),
            _ => lora(true),
        },
        precision: if precision == "f32" {
            Precision::F32
        } else {
            Precision::Bf16
        },
        checkpointing: std::env::var_os("CHECKPOINTING").is_some(),
        seed: 1,
    };
    let (tokens, steps): (usize, usize) = (tokens.parse()?, steps.parse()?);
    let model = Model::open(path.as_ref())?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()?;
    pool.install(|| {
        let net = Net::new(&model.view(), model.file_bytes(), options);
        let mut gradients = net.gradients();
        let mut random = Random::new(1, "tokens");
        let vocabulary = net.spec().vocabulary as usize;
        let mut pack = Pack::default();
        pack.push(&Sample::whole(
            (0..tokens)
                .map(|_| random.below(vocabulary) as u32)
                .collect(),
        ));
        let mut seconds: Vec<f64> = (0..steps)
            .map(|_| {
                let start = Instant::now();
                let losses = net.step(&pack, 1.0 / tokens as f32, &mut gradients);
                assert!(losses.mean().is_finite(), "the loss is not a number");
                start.elapsed().as_secs_f64()
            })
            .collect();
        seconds.sort_by(f64::total_cmp);
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let most = status
            .lines()
            .find(|line| line.starts_with("VmHWM"))
            .unwrap_or("VmHWM: ?");
        println!(
            "{method} {precision} {tokens} tokens: best {:.0}, median {:.0} tokens/s, {most}",
            tokens as f64 / seconds[0],
            tokens as f64 / seconds[steps / 2],
        );
    });
    Ok(())
}
