//! Options of every command that computes with a model.

use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;
use inkstone_engine::{Activations, DEVICES, Full, KVS, Model, SessionConfig, Speculation};

use crate::resolve;
use crate::terminal::Terminal;

/// How a session is made.
#[derive(Args, Clone)]
#[command(next_help_heading = "Session options")]
pub(crate) struct Session {
    /// Positions of the context [default: what the model was trained for, at most 4096]
    #[arg(short, long, value_name = "N")]
    pub(crate) context: Option<u32>,
    /// Worker threads; `auto` is one for each fast core
    #[arg(short, long, value_name = "auto|N", default_value = "auto", value_parser = threads)]
    threads: Threads,
    /// Bind each worker to a processor of its own; `inkstone devices` shows their order
    #[arg(long)]
    pin: bool,
    /// Stored form of keys and values
    #[arg(long, value_name = "FORM", default_value = "f16", value_parser = names(KVS))]
    kv: String,
    /// What to compute on; `inkstone devices` shows them
    #[arg(long, value_name = "NAME", default_value = DEVICES[0].name, value_parser = device_names())]
    device: String,
    /// What integer weights are multiplied with
    #[arg(long, value_name = "FORM", default_value = "int8", value_parser = names(ACTIVATIONS))]
    activations: String,
    /// Tokens of a prompt that are run at once
    #[arg(long, value_name = "N", default_value_t = 128)]
    batch: u32,
    /// When the context is full, keep the first N tokens, drop the older half of the others and go on
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "0")]
    shift: Option<u32>,
    /// Attach this adapter, a folder of PEFT's or an .ink file, perhaps scaled; again for another one beside it
    #[arg(long, value_name = "ADAPTER[=SCALE]", value_parser = adapter)]
    adapter: Vec<Adapter>,
}

/// An adapter and what it is scaled by.
#[derive(Clone)]
struct Adapter {
    path: PathBuf,
    scale: f32,
}

fn adapter(text: &str) -> Result<Adapter, String> {
    let scaled = text.rsplit_once('=').filter(|_| !Path::new(text).exists());
    let (path, scale) = scaled.unwrap_or((text, "1"));
    let scale = scale.parse().ok().filter(|scale: &f32| scale.is_finite());
    Ok(Adapter {
        path: path.into(),
        scale: scale.ok_or_else(|| format!("{text}: what follows = is no number"))?,
    })
}

static ACTIVATIONS: &[(&str, Activations)] =
    &[("int8", Activations::Int8), ("f32", Activations::F32)];

impl Session {
    /// The model of a name, with the adapters that are asked for.
    pub(crate) fn model(&self, terminal: &Terminal, name: &str) -> anyhow::Result<Model> {
        let model = resolve::model(terminal, name)?;
        let mut adapters = Vec::new();
        for Adapter { path, scale } in &self.adapter {
            let adapter = resolve::adapter(path)?;
            if adapter.made_for().is_some_and(|id| id != model.file().id()) {
                let path = path.display();
                terminal.note(format_args!(
                    "{path} was made for another file than {}, of the same shape at best",
                    model.name()
                ));
            }
            adapters.push((adapter, *scale));
        }
        match adapters.is_empty() {
            true => Ok(model),
            false => Ok(model.attach(&adapters)?),
        }
    }

    /// What the answers of a model depend on besides.
    pub(crate) fn about(&self) -> String {
        let shift = self.shift.map(|keep| format!(", shift {keep}"));
        format!(
            "{}, kv {}, activations {}{}",
            self.device,
            self.kv,
            self.activations,
            shift.unwrap_or_default()
        )
    }

    /// What the engine is asked for.
    pub(crate) fn config(&self) -> SessionConfig {
        SessionConfig {
            device: self.device.clone(),
            context: self.context,
            threads: self.threads.0,
            pin: self.pin,
            // Who wants guesses says so.
            speculation: Speculation::Off,
            batch: self.batch,
            kv: named(KVS, &self.kv),
            activations: named(ACTIVATIONS, &self.activations),
            full: self.shift.map_or(Full::Error, |keep| Full::Shift { keep }),
            ..SessionConfig::default()
        }
    }
}

/// A number of workers, or the engine's choice.
#[derive(Clone)]
struct Threads(Option<u32>);

fn threads(text: &str) -> Result<Threads, String> {
    match text {
        "auto" => Ok(Threads(None)),
        n => n
            .parse()
            .map(|n| Threads(Some(n)))
            .map_err(|_| format!("`{n}` is neither auto nor a number")),
    }
}

pub(crate) fn named<T: Copy>(table: &[(&str, T)], name: &str) -> T {
    let row = table.iter().find(|row| row.0 == name);
    row.expect("clap lets only names of the table through").1
}

pub(crate) fn names<T>(table: &[(&'static str, T)]) -> PossibleValuesParser {
    table.iter().map(|row| row.0).collect::<Vec<_>>().into()
}

fn device_names() -> PossibleValuesParser {
    DEVICES
        .iter()
        .map(|device| device.name)
        .collect::<Vec<_>>()
        .into()
}
