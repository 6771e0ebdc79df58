//! `oracle compare`: one reference, several candidates, the same tokens.

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use clap::{Args, ValueEnum as _};
use inkstone_oracle::compare::{self, Agreement};
use inkstone_oracle::ink::{self, Ink};
use inkstone_oracle::llama::{Kv, Model, Settings};
use inkstone_oracle::{Source, greedy};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::fs;
use std::path::{Path, PathBuf};

/// The distance of the two best logits from which on a greedy choice counts.
const SURE: f32 = 0.1;

/// A stream is `llama:FILE`, then options with commas: `kv=f32`, `kv=f16`, `kv=q8`, `flash`, `lora=FILE`;
/// or `ink:FILE` with `kv=NAME` and `exact` (activations are not rounded).
#[derive(Args)]
pub(crate) struct Compare {
    /// The stream that is taken for true.
    #[arg(long, value_parser = parse)]
    reference: Stream,
    /// A stream that is compared with it.
    #[arg(long, required = true, value_parser = parse)]
    candidate: Vec<Stream>,
    /// A GGUF file whose tokenizer is used.
    #[arg(long)]
    tokenizer: PathBuf,
    /// A file of text, cut into chunks of `--context` tokens.
    #[arg(long)]
    text: Vec<PathBuf>,
    /// A file with a JSON object a line, whose `text` is a sequence of its own.
    #[arg(long)]
    prompts: Option<PathBuf>,
    /// Tokens by which each prompt is continued greedily, too.
    #[arg(short = 'n', default_value_t = 32)]
    limit: usize,
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
enum Stream {
    Llama {
        path: PathBuf,
        kv: Kv,
        flash: bool,
        lora: Option<PathBuf>,
    },
    Ink {
        path: PathBuf,
        kv: String,
        exact: bool,
    },
}

/// Tokens that are compared under one name.
struct Set {
    name: String,
    sequences: Vec<Vec<u32>>,
}

impl Compare {
    pub(crate) fn run(&self) -> Result<Value> {
        let streams: Vec<&Stream> = [&self.reference]
            .into_iter()
            .chain(&self.candidate)
            .collect();
        let models = streams
            .iter()
            .map(|stream| stream.llama())
            .collect::<Result<Vec<_>>>()?;
        let mut sources = Vec::new();
        for (stream, model) in streams.iter().zip(&models) {
            sources.push(self.start(stream, model.as_ref())?);
        }
        let [reference, candidates @ ..] = &mut sources[..] else {
            bail!("there is no reference")
        };
        let mut answer = Map::new();
        let mut totals = vec![Agreement::default(); candidates.len()];
        let tokenizer = Model::load(&self.tokenizer, true)?;
        for set in self.sets(&tokenizer)? {
            let mut sums = vec![Agreement::default(); candidates.len()];
            for tokens in &set.sequences {
                let each = compare::sequence(reference.as_mut(), candidates, tokens)?;
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
        if self.prompts.is_some() {
            let greedy = self.greedy(&tokenizer, reference.as_mut(), candidates)?;
            answer.insert("greedy".into(), greedy);
        }
        Ok(Value::Object(answer))
    }

    /// How many prompts each candidate continues as the reference does, while the reference is sure.
    fn greedy(
        &self,
        tokenizer: &Model,
        reference: &mut dyn Source,
        candidates: &mut [Box<dyn Source + '_>],
    ) -> Result<Value> {
        let prompts = self.prompt_tokens(tokenizer, self.limit)?;
        let mut same = vec![0; candidates.len()];
        for prompt in &prompts {
            let ends = |token| tokenizer.ends(token);
            let truth = greedy::greedy(reference, prompt, self.limit, ends)?;
            for (candidate, same) in candidates.iter_mut().zip(&mut same) {
                let claim = greedy::greedy(candidate.as_mut(), prompt, self.limit, ends)?;
                *same += usize::from(greedy::agree(&truth, &claim, SURE));
            }
        }
        Ok(json!({ "prompts": prompts.len(), "same": same }))
    }

    fn start<'model>(
        &self,
        stream: &Stream,
        model: Option<&'model Model>,
    ) -> Result<Box<dyn Source + 'model>> {
        let (context, threads) = (self.context, self.threads);
        match (stream, model) {
            (Stream::Llama { kv, flash, .. }, Some(model)) => {
                Ok(Box::new(model.start(Settings {
                    context,
                    kv: *kv,
                    flash: *flash,
                    threads,
                })?))
            }
            (Stream::Ink { path, kv, exact }, _) => {
                let settings = ink::Settings {
                    context,
                    kv: kv.clone(),
                    exact: *exact,
                    threads,
                };
                Ok(Box::new(Ink::open(path, &settings)?))
            }
            (Stream::Llama { path, .. }, None) => bail!("{}: not loaded", path.display()),
        }
    }

    fn sets(&self, model: &Model) -> Result<Vec<Set>> {
        let mut sets = Vec::new();
        for path in &self.text {
            sets.push(self.chunks(model, path)?);
        }
        if let Some(path) = &self.prompts {
            let sequences = self.prompt_tokens(model, 0)?;
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

    /// The tokens of each prompt, cut so that `more` have room.
    fn prompt_tokens(&self, model: &Model, more: usize) -> Result<Vec<Vec<u32>>> {
        let mut sequences = Vec::new();
        let texts = self.prompts.as_deref().map_or(Ok(Vec::new()), prompts)?;
        for text in &texts {
            let mut tokens = model.tokenize(text, true);
            tokens.truncate(usize::try_from(self.context)?.saturating_sub(more));
            sequences.push(tokens);
        }
        sequences.retain(|tokens| !tokens.is_empty());
        Ok(sequences)
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

impl Stream {
    /// The model of llama.cpp that the stream needs.
    fn llama(&self) -> Result<Option<Model>> {
        match self {
            Stream::Llama { path, lora, .. } => {
                let mut model = Model::load(path, false)?;
                lora.iter().try_for_each(|lora| model.adapt(lora))?;
                Ok(Some(model))
            }
            Stream::Ink { .. } => Ok(None),
        }
    }
}

fn parse(text: &str) -> Result<Stream> {
    let (head, options) = text.split_once(',').unwrap_or((text, ""));
    let options: Vec<&str> = options
        .split(',')
        .filter(|option| !option.is_empty())
        .collect();
    let option = |name: &str| options.iter().find_map(|option| option.strip_prefix(name));
    let kv = option("kv=").unwrap_or("f16");
    if let Some(other) = options.iter().find(|o| {
        !o.starts_with("kv=") && !o.starts_with("lora=") && !["flash", "exact"].contains(o)
    }) {
        bail!("{other}: no such option of a stream");
    }
    match head.split_once(':') {
        Some(("llama", path)) => {
            let kv = Kv::from_str(kv, false).map_err(|e| anyhow!("kv={kv}: {e}"))?;
            Ok(Stream::Llama {
                path: path.into(),
                kv,
                flash: options.contains(&"flash"),
                lora: option("lora=").map(PathBuf::from),
            })
        }
        Some(("ink", path)) => Ok(Stream::Ink {
            path: path.into(),
            kv: kv.into(),
            exact: options.contains(&"exact"),
        }),
        _ => bail!("{head}: a stream begins with llama: or ink:"),
    }
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
