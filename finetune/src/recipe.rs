//! A recipe: everything that a training run depends on, in one TOML file.

use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use inkstone_cpu::train::{Form, Precision};
use serde::{Deserialize, Serialize};

use crate::net::{Method, Options};
use crate::optimizer::Settings;
use crate::written;

/// Everything that a run depends on. What a file leaves out has a default, which is printed back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// What is trained.
    pub model: ModelPart,
    /// What on.
    pub data: DataPart,
    /// How.
    #[serde(default)]
    pub method: MethodPart,
    /// How fast.
    #[serde(default)]
    pub optimizer: OptimizerPart,
    /// Where to, and how often what is written.
    #[serde(default)]
    pub run: RunPart,
}

/// What is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelPart {
    /// A model as the command line names it.
    pub base: String,
}

/// What on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataPart {
    /// Files of examples.
    pub train: Vec<PathBuf>,
    /// Files of examples whose loss is watched; none: a share of `train` is held out.
    #[serde(default)]
    pub held_out: Vec<PathBuf>,
    /// Share of `train` that is held out where there is no file.
    #[serde(default = "share")]
    pub held_out_share: f32,
    /// Tokens of a pack, and of a sample at most.
    #[serde(default = "length")]
    pub length: usize,
    /// Whether several samples share a pack.
    #[serde(default = "yes")]
    pub packing: bool,
}

/// How it is trained.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MethodPart {
    /// `lora`, `qlora` (frozen weights stay packed) or `full`.
    pub kind: Kind,
    /// Rows of an adapter.
    pub rank: usize,
    /// An adapter's product is scaled by `alpha / rank`.
    pub alpha: f32,
    /// `auto`, `f32`, `bf16` or `int8`.
    pub precision: Rounding,
    /// Whether layers are computed again on the way back, to save memory.
    pub checkpointing: bool,
}

/// What is learnt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Adapters beside weights that are unpacked ahead.
    Lora,
    /// Adapters beside weights that stay packed as they ship.
    Qlora,
    /// Every weight.
    Full,
}

/// What products are computed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Rounding {
    /// `int8` where weights are frozen, else the fastest that the processor has.
    Auto,
    /// 24 significant bits.
    F32,
    /// Eight significant bits.
    Bf16,
    /// Frozen matrices in the integers that ship, all else in the fastest of the others.
    Int8,
}

impl Rounding {
    fn form(self, kind: Kind) -> Form {
        match self {
            Rounding::Auto | Rounding::Int8 => Form::new(Precision::detect(), kind != Kind::Full),
            Rounding::F32 => Precision::F32.into(),
            Rounding::Bf16 => Precision::Bf16.into(),
        }
    }
}

/// How weights move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptimizerPart {
    /// Highest learning rate.
    pub rate: f32,
    /// Decays of the means of gradients and of their squares.
    pub betas: [f32; 2],
    /// Added to the root.
    pub eps: f32,
    /// Weight decay.
    pub decay: f32,
    /// Largest norm of a gradient.
    pub clip: f32,
    /// Share of the steps in which the rate rises.
    pub warmup: f32,
    /// Share of the highest rate that is left at the end.
    pub least: f32,
    /// Packs of a step.
    pub batch: usize,
    /// Times that all examples are seen.
    pub epochs: f32,
    /// Steps; 0: as many as the epochs take.
    pub steps: usize,
}

/// Where to, and how often what is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RunPart {
    /// The folder of everything that the run writes.
    pub output: PathBuf,
    /// Whatever is random follows from it.
    pub seed: u64,
    /// Steps from one look at the held-out examples to the next; 0: ten looks.
    pub evaluate_every: usize,
    /// Looks without a better loss after which the run ends; 0: never.
    pub patience: usize,
    /// Steps from one checkpoint to the next.
    pub save_every: usize,
    /// What the model is asked at every look at the held-out examples.
    pub prompts: Vec<String>,
    /// Stored form of a model that was trained whole: a form of `inkstone merge`.
    pub format: String,
}

fn share() -> f32 {
    0.05
}

fn length() -> usize {
    512
}

fn yes() -> bool {
    true
}

impl Default for MethodPart {
    fn default() -> Self {
        MethodPart {
            kind: Kind::Lora,
            rank: 16,
            alpha: 32.0,
            precision: Rounding::Auto,
            checkpointing: false,
        }
    }
}

impl Default for OptimizerPart {
    fn default() -> Self {
        OptimizerPart {
            rate: 5e-4,
            betas: [0.9, 0.999],
            eps: 1e-8,
            decay: 0.0,
            clip: 1.0,
            warmup: 0.05,
            least: 0.1,
            batch: 4,
            epochs: 3.0,
            steps: 0,
        }
    }
}

impl Default for RunPart {
    fn default() -> Self {
        RunPart {
            output: "finetuned".into(),
            seed: 1,
            evaluate_every: 0,
            patience: 0,
            save_every: 50,
            prompts: Vec::new(),
            format: "q8".into(),
        }
    }
}

impl Recipe {
    /// Reads a recipe.
    ///
    /// # Errors
    /// Names the line and the field.
    pub fn parse(text: &str) -> Result<Recipe> {
        let recipe: Recipe = toml::from_str(text)?;
        recipe.check()?;
        Ok(recipe)
    }

    /// The recipe with every default, as TOML.
    ///
    /// # Errors
    /// A path is not UTF-8.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string_pretty(self).context("the recipe as TOML")
    }

    /// BLAKE3 of [`Self::to_toml`], without where and how things are written.
    ///
    /// # Errors
    /// As there.
    pub fn hash(&self) -> Result<String> {
        let anywhere = Recipe {
            run: RunPart {
                output: PathBuf::new(),
                format: RunPart::default().format,
                prompts: Vec::new(),
                ..self.run.clone()
            },
            ..self.clone()
        };
        Ok(blake3::hash(anywhere.to_toml()?.as_bytes())
            .to_hex()
            .to_string())
    }

    fn check(&self) -> Result<()> {
        let (d, m, o) = (&self.data, &self.method, &self.optimizer);
        ensure!(!d.train.is_empty(), "data.train names no file");
        ensure!(
            (8..=65_536).contains(&d.length),
            "data.length is {}, wanted 8 to 65536",
            d.length
        );
        ensure!(
            (0.0..0.9).contains(&d.held_out_share),
            "data.held_out_share is {}, wanted 0 to 0.9",
            d.held_out_share
        );
        ensure!(
            (1..=512).contains(&m.rank),
            "method.rank is {}, wanted 1 to 512",
            m.rank
        );
        ensure!(
            m.kind != Kind::Full || m.precision != Rounding::Int8,
            "method.precision is `int8`, which is for frozen weights: nothing is frozen where method.kind is `full`"
        );
        ensure!(
            o.rate > 0.0 && o.rate < 1.0,
            "optimizer.rate is {}, wanted 0 to 1",
            o.rate
        );
        ensure!(
            (1..=4096).contains(&o.batch),
            "optimizer.batch is {}, wanted 1 to 4096",
            o.batch
        );
        ensure!(
            o.clip > 0.0 && o.eps > 0.0,
            "optimizer.clip is {} and optimizer.eps {}, wanted above 0; a large clip clips nothing",
            o.clip,
            o.eps
        );
        ensure!(
            (0.0..=1.0).contains(&o.decay) && (0.0..=1.0).contains(&o.least),
            "optimizer.decay is {} and optimizer.least {}, wanted 0 to 1",
            o.decay,
            o.least
        );
        ensure!(
            o.epochs > 0.0 && o.epochs <= 10_000.0,
            "optimizer.epochs is {}",
            o.epochs
        );
        ensure!(
            o.betas.iter().all(|b| (0.0..1.0).contains(b)),
            "optimizer.betas are {:?}",
            o.betas
        );
        ensure!(
            (0.0..=1.0).contains(&o.warmup),
            "optimizer.warmup is {}, wanted 0 to 1",
            o.warmup
        );
        ensure!(self.run.save_every > 0, "run.save_every is 0");
        let forms = written::forms();
        ensure!(
            forms.contains(&self.run.format.as_str()),
            "run.format is `{}`, wanted one of {}",
            self.run.format,
            forms.join(", ")
        );
        Ok(())
    }

    /// How a net is made of it.
    #[must_use]
    pub fn options(&self) -> Options {
        let m = &self.method;
        Options {
            method: match m.kind {
                Kind::Full => Method::Full,
                kind => Method::Lora {
                    rank: m.rank,
                    alpha: m.alpha,
                    packed: kind == Kind::Qlora,
                },
            },
            form: m.precision.form(m.kind),
            checkpointing: m.checkpointing,
            seed: self.run.seed,
        }
    }

    /// How weights move in a run of `steps` steps.
    #[must_use]
    pub fn settings(&self, steps: usize) -> Settings {
        let o = &self.optimizer;
        Settings {
            rate: o.rate,
            betas: o.betas,
            eps: o.eps,
            decay: o.decay,
            clip: o.clip,
            warmup: (steps as f32 * o.warmup).round() as usize,
            steps,
            least: o.least,
        }
    }
}
