//! How fast a model is trained: `speed MODEL.ink METHOD PRECISION TOKENS STEPS [THREADS [LENGTH [LEARNT]]]`.
//!
//! METHOD is `full`, `lora` or `qlora`. Prints tokens a second, best and median, and the most memory ever held. With
//! LENGTH, TOKENS are sequences as long as that, of each of which the last LEARNT tokens are learnt (all, if not said),
//! and the sequences are also taken one by one, in turn with the pack: what packing gives.
#![allow(clippy::print_stdout, reason = "what a program of its own is for")]

use std::time::Instant;

use inkstone_cpu::train::Form;
use inkstone_engine::Model;
use inkstone_finetune::random::Random;
use inkstone_finetune::{Method, Net, Options, Pack, Sample};

fn main() -> Result<(), Box<dyn core::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [path, method, precision, tokens, steps, rest @ ..] = &arguments[..] else {
        return Err(
            "speed MODEL.ink full|lora|qlora f32|bf16|int8 TOKENS STEPS [THREADS [LENGTH [LEARNT]]]"
                .into(),
        );
    };
    let number = |at: usize| rest.get(at).map(|n| n.parse::<usize>()).transpose();
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
        form: Form::by_name(precision).ok_or("int8, bf16 or f32")?,
        checkpointing: std::env::var_os("CHECKPOINTING").is_some(),
        seed: 1,
    };
    let (tokens, steps): (usize, usize) = (tokens.parse()?, steps.parse()?);
    let length = number(1)?;
    let learnt = number(2)?;
    let model = Model::open(path.as_ref())?;
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(number(0)?.unwrap_or(2))
        .build()?;
    pool.install(|| {
        let net = Net::new(&model.view(), model.file_bytes(), options);
        let samples = samples(net.spec().vocabulary, tokens, length, learnt);
        let (mut packed, mut apart) = (Vec::new(), Vec::new());
        for _ in 0..steps {
            packed.push(seconds(&net, [&samples[..]]));
            if length.is_some() {
                apart.push(seconds(&net, samples.chunks(1)));
            }
        }
        let name = format!("{method} {precision} {tokens} tokens");
        print(&name, tokens, packed);
        if length.is_some() {
            print(&format!("{name}, one by one"), tokens, apart);
        }
    });
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let most = status.lines().find(|line| line.starts_with("VmHWM"));
    println!("{}", most.unwrap_or("VmHWM: ?"));
    Ok(())
}

/// Sequences of `length` tokens, as many as fit, of which the last `learnt` are learnt.
fn samples(
    vocabulary: u32,
    tokens: usize,
    length: Option<usize>,
    learnt: Option<usize>,
) -> Vec<Sample> {
    let mut random = Random::new(1, "tokens");
    let length = length.unwrap_or(tokens);
    let sample = |_| Sample {
        tokens: (0..length)
            .map(|_| random.below(vocabulary as usize) as u32)
            .collect(),
        learnt: (0..length)
            .map(|at| at + learnt.unwrap_or(length) >= length)
            .collect(),
    };
    (0..tokens / length).map(sample).collect()
}

/// The time of a step for each of `packs`.
fn seconds<'a>(net: &Net<'_>, packs: impl IntoIterator<Item = &'a [Sample]>) -> f64 {
    let mut gradients = net.gradients();
    let start = Instant::now();
    for samples in packs {
        let mut pack = Pack::default();
        samples.iter().for_each(|sample| pack.push(sample));
        let losses = net.step(&pack, 1e-3, &mut gradients);
        assert!(losses.mean().is_finite(), "the loss is not a number");
    }
    start.elapsed().as_secs_f64()
}

fn print(name: &str, tokens: usize, mut seconds: Vec<f64>) {
    seconds.sort_by(f64::total_cmp);
    let rate = |seconds: f64| tokens as f64 / seconds;
    println!(
        "{name}: best {:.0}, median {:.0} tokens/s",
        rate(seconds[0]),
        rate(seconds[seconds.len() / 2]),
    );
}
