//! What `parity.py` compares with PyTorch: `parity MODEL.ink METHOD FOLDER STEPS`.
//!
//! Reads `tokens.json` (a list of sequences, each a list of tokens) and, for `lora`, the adapter in FOLDER/adapter.
//! Writes the gradients of the first step as `gradients.safetensors`, each step's loss and its seconds as `losses.json`,
//! and the adapter as it is then to FOLDER/trained. METHOD is `full`, `lora` or `qlora`; PRECISION in the environment
//! `f32`, `bf16` or `int8`.
#![allow(clippy::print_stdout, reason = "what a program of its own is for")]

use std::path::Path;
use std::time::Instant;

use anyhow::Context;
use inkstone_cpu::train::Form;
use inkstone_engine::Model;
use inkstone_finetune::optimizer::{Settings, State};
use inkstone_finetune::{Method, Net, Options, Pack, Sample, adapter};
use safetensors::tensor::{Dtype, TensorView};

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, method, folder, steps] = &arguments[..] else {
        anyhow::bail!("parity MODEL.ink full|lora|qlora FOLDER STEPS");
    };
    let (folder, steps) = (Path::new(folder), steps.parse::<usize>()?);
    let lora = |packed| Method::Lora {
        rank: 16,
        alpha: 32.0,
        packed,
    };
    let precision = std::env::var("PRECISION").unwrap_or_else(|_| "f32".to_owned());
    let options = Options {
        method: match method.as_str() {
            "full" => Method::Full,
            "lora" => lora(false),
            _ => lora(true),
        },
        form: Form::by_name(&precision).context("PRECISION is int8, bf16 or f32")?,
        checkpointing: std::env::var_os("CHECKPOINTING").is_some(),
        seed: 1,
    };
    let model = Model::open(model.as_ref())?;
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build()?;
    pool.install(|| {
        let mut net = Net::new(&model.view(), model.file_bytes(), options);
        if options.method != Method::Full {
            adapter::load(&mut net, &folder.join("adapter"))?;
        }
        let text = std::fs::read_to_string(folder.join("tokens.json"))?;
        let sequences: Vec<Vec<u32>> = serde_json::from_str(&text)?;
        let settings = Settings {
            rate: 1e-4,
            betas: [0.9, 0.999],
            eps: 1e-8,
            decay: 0.0,
            clip: 1.0,
            warmup: 0,
            steps: usize::MAX,
            least: 1.0,
        };
        let mut state = State::new(&net.trained);
        let mut seen = Vec::new();
        for step in 0..steps {
            let start = Instant::now();
            let mut pack = Pack::default();
            pack.push(&Sample::whole(sequences[step % sequences.len()].clone()));
            let mut gradients = net.gradients();
            let losses = net.step(&pack, 1.0 / pack.targets.len() as f32, &mut gradients);
            if step == 0 {
                write(&net, &gradients, &folder.join("gradients.safetensors"))?;
            }
            state.step(&settings, &mut net.trained, &gradients);
            seen.push((losses.mean(), start.elapsed().as_secs_f64()));
        }
        std::fs::write(folder.join("losses.json"), serde_json::to_string(&seen)?)?;
        if options.method != Method::Full {
            adapter::save(&net, "base", &folder.join("trained"))?;
        }
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let most = status.lines().find(|line| line.starts_with("VmHWM"));
        println!("{}", most.unwrap_or_default());
        Ok(())
    })
}

fn write(net: &Net<'_>, gradients: &[Vec<f32>], path: &Path) -> anyhow::Result<()> {
    let bytes: Vec<Vec<u8>> = gradients
        .iter()
        .map(|g| g.iter().flat_map(|x| x.to_le_bytes()).collect())
        .collect();
    let views = net.trained.iter().zip(&bytes).map(|(tensor, bytes)| {
        let shape = vec![tensor.rows, tensor.columns];
        Ok((
            tensor.name.clone(),
            TensorView::new(Dtype::F32, shape, bytes)?,
        ))
    });
    let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>()?;
    safetensors::serialize_to_file(views, None, path)?;
    Ok(())
}
