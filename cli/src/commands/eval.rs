//! `inkstone eval`: how good a model is.

mod ppl;

use clap::{Args, Subcommand};

use crate::terminal::Terminal;

/// Measure how good a model is
///
/// Each way of measuring is a command of its own.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone eval ppl smollm2-135m --text wiki.test.txt --chunks 40"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    measure: Measure,
}

#[derive(Subcommand)]
enum Measure {
    Ppl(ppl::Arguments),
}

/// Measures.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    match &arguments.measure {
        Measure::Ppl(arguments) => ppl::run(arguments, terminal),
    }
}
