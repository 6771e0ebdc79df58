//! `inkstone data`: examples to learn from: a look at them, a sieve, and more of them.

mod check;
mod clean;
mod generate;
mod show;

use clap::{Args, Subcommand};

use crate::terminal::Terminal;

/// Look at examples before a model learns from them, keep the good ones, make more
///
/// Each step is a command of its own.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone data show examples.csv -m smollm2-135m")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    look: Look,
}

#[derive(Subcommand)]
enum Look {
    Show(show::Arguments),
    Check(check::Arguments),
    Clean(Box<clean::Arguments>),
    Generate(Box<generate::Arguments>),
}

/// A share of shingles.
fn share(text: &str) -> Result<f64, String> {
    let share = text
        .parse()
        .ok()
        .filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| "wanted a number from 0 to 1".to_owned())
}

/// Looks, or keeps.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    match &arguments.look {
        Look::Show(arguments) => show::run(arguments, terminal),
        Look::Check(arguments) => check::run(arguments, terminal),
        Look::Clean(arguments) => clean::run(arguments, terminal),
        Look::Generate(arguments) => generate::run(arguments, terminal),
    }
}
