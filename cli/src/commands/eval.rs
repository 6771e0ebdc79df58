//! `inkstone eval`: how good a model is.

mod compare;
mod examples;
mod list;
mod ppl;
mod run;

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::terminal::Terminal;

/// Measure how good a model is
///
/// A task is a TOML file: what is asked, what an answer may be, when it is right. Each way of measuring is a command of
/// its own.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone eval run smollm2-135m home -o before.jsonl\n  inkstone eval compare before.jsonl after.jsonl"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    measure: Measure,
}

#[derive(Subcommand)]
enum Measure {
    List(list::Arguments),
    Run(run::Arguments),
    Compare(compare::Arguments),
    Examples(examples::Arguments),
    Ppl(ppl::Arguments),
}

/// Measures.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    match arguments.measure {
        Measure::List(arguments) => list::run(&arguments, terminal),
        Measure::Run(arguments) => run::run(arguments, terminal),
        Measure::Compare(arguments) => compare::run(&arguments, terminal),
        Measure::Examples(arguments) => examples::run(&arguments, terminal),
        Measure::Ppl(arguments) => ppl::run(&arguments, terminal),
    }
}

/// Where the data of the tasks that come with the program lies.
#[derive(Args)]
struct Materials {
    /// Folder of the data of tasks that come with the program
    #[arg(
        long,
        value_name = "FOLDER",
        env = "INKSTONE_MATERIALS",
        default_value = "../shared/materials"
    )]
    materials: PathBuf,
}

/// A share in per cent, and its interval.
fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

fn interval(low: f64, high: f64) -> String {
    format!("{:.1} to {:.1}", 100.0 * low, 100.0 * high)
}
