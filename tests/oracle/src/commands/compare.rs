//! `oracle compare`: one reference, several candidates, the same tokens.

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use inkstone_oracle::Source;
use inkstone_oracle::compare::{self, Agreement};
use inkstone_oracle::llama::{Kv, Model, Settings};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// A stream is `llama:FILE`, then options with commas: `kv=f32`, `kv=f16`, `kv=q8`, `flash`.
#[derive(Args)]
pub(crate) struct Compare {
    /// The stream that is taken for true; its tokenizer is used.
    #[arg(long, value_parser = parse)]
    reference: Stream,
    /// A stream that is compared with it.
    #[arg(long, required = true, value_parser = parse)]
    candidate: Vec<Stream>,
    /// A file of text, cut into chunks of `--context` tokens.
    #[arg(long)]
    text: Vec<PathBuf>,
    /// A file with a JSON object a line, whose `text` is a sequence of its own.
    #[arg(long)]
    prompts: Option<PathBuf>,
    /// The most chunks of each text.
    #[arg(long, default_value_t = 14)]
    chunks: usize,
    /// Tokens of a chunk.
    #[arg(short, long, default_value_t = 512)]
    context: u32,
    /// Threads that compute.
    #[arg(short, long, default_value_t = 2)]
    threads: u32,
}

#[derive(Clone, Debug)]
struct Stream {
    path: PathBuf,
    kv: Kv,
    flash: bool,
}

/// Tokens that are compared under one name.
struct Set {
    name: String,
    sequences: Vec<Vec<u32>>,
}

impl Compare {
    pub(crate) fn run(&self) -> Result<Value> {
        let model = Model::load(&self.reference.path, false)?;
        let others = self
            .candidate
            .iter()
            .map(|stream| Model::load(&stream.path, false));
        let others = others.collect::<Result<Vec<_>>>()?;
        let mut reference = model.start(self.settings(&self.reference))?;
        let mut candidates = Vec::new();
        for (stream, other) in self.candidate.iter().zip(&others) {
            candidates.push(other.start(self.settings(stream))?);
        }
        let mut candidates: Vec<&mut dyn Source> = candidates.iter_mut().map(|c| c as _).collect();
        let mut answer = Map::new();
        let mut totals = vec![Agreement::default(); candidates.len()];
        for set in self.sets(&model)? {
            let mut sums = vec![Agreement::default(); candidates.len()];
            for tokens in &set.sequences {
                let each = compare::sequence(&mut reference, &mut candidates, tokens)?;
                sums.iter_mut()
                    .zip(&each)
                    .for_each(|(sum, one)| sum.add(one));
            }
            totals
                .iter_mut()
                .zip(&sums)
                .for_each(|(total, sum)| total.add(sum));
            answer.insert(set.name, sums.iter().map(report).collect());
        }
        answer.insert("total".into(), totals.iter().map(report).collect());
        Ok(Value::Object(answer))
    }

    fn settings(&self, stream: &Stream) -> Settings {
        Settings {
            context: self.context,
            kv: stream.kv,
            flash: stream.flash,
            threads: self.threads,
        }
    }

    fn sets(&self, model: &Model) -> Result<Vec<Set>> {
        let mut sets = Vec::new();
        for path in &self.text {
            sets.push(self.chunks(model, path)?);
        }
        if let Some(path) = &self.prompts {
            let mut sequences = Vec::new();
            for text in prompts(path)? {
                let mut tokens = model.tokenize(&text, true);
                tokens.truncate(usize::try_from(self.context)?);
                sequences.push(tokens);
            }
            sets.push(Set {
                name: name(path),
                sequences,
            });
        }
        ensure!(
            !sets.is_empty(),
            "nothing to compare: give --text or --prompts"
        );
        Ok(sets)
    }

    fn chunks(&self, model: &Model, path: &Path) -> Result<Set> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let mut tokens = model.tokenize(&text, false);
        let mut sequences = Vec::new();
        for chunk in tokens
            .chunks_exact_mut(usize::try_from(self.context)?)
            .take(self.chunks)
        {
            if let Some(first) = model.first_token() {
                chunk[0] = first;
            }
            sequences.push(chunk.to_vec());
        }
        Ok(Set {
            name: name(path),
            sequences,
        })
    }
}

/// The texts of a file of prompts, in order.
pub(crate) fn prompts(path: &Path) -> Result<Vec<String>> {
    #[derive(Deserialize)]
    struct Prompt {
        text: String,
    }
    let lines = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    lines
        .lines()
        .map(|line| Ok(serde_json::from_str::<Prompt>(line)?.text))
        .collect()
}

fn parse(text: &str) -> Result<Stream> {
    let mut parts = text.split(',');
    let head = parts.next().unwrap_or_default();
    let path = head
        .strip_prefix("llama:")
        .with_context(|| format!("{head}: a stream starts with llama:"))?;
    let mut stream = Stream {
        path: path.into(),
        kv: Kv::F16,
        flash: false,
    };
    for part in parts {
        match part {
            "kv=f32" => stream.kv = Kv::F32,
            "kv=f16" => stream.kv = Kv::F16,
            "kv=q8" => stream.kv = Kv::Q8,
            "flash" => stream.flash = true,
            other => bail!("{other}: no such option of a stream"),
        }
    }
    Ok(stream)
}

fn report(agreement: &Agreement) -> Value {
    json!({
        "positions": agreement.positions,
        "top1": agreement.top1(),
        "top1_where_margin_over_0.1": agreement.same_best_clear as f64 / agreement.clear.max(1) as f64,
        "kl_mean": agreement.kl(),
        "kl_max": agreement.kl_max,
        "difference_max": agreement.difference_max,
    })
}

fn name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}
