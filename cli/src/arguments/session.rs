//! Options of every command that computes with a model.

use clap::Args;
use clap::builder::PossibleValuesParser;
use inkstone_engine::{Activations, DEVICES, Full, KVS, SessionConfig, Speculation};

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
}

static ACTIVATIONS: &[(&str, Activations)] =
    &[("int8", Activations::Int8), ("f32", Activations::F32)];

impl Session {
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

fn named<T: Copy>(table: &[(&str, T)], name: &str) -> T {
    let row = table.iter().find(|row| row.0 == name);
    row.expect("clap lets only names of the table through").1
}

fn names<T>(table: &[(&'static str, T)]) -> PossibleValuesParser {
    table.iter().map(|row| row.0).collect::<Vec<_>>().into()
}

fn device_names() -> PossibleValuesParser {
    DEVICES
        .iter()
        .map(|device| device.name)
        .collect::<Vec<_>>()
        .into()
}
