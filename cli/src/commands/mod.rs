//! The commands, one a file.

mod completions;
mod doctor;
mod list;
mod pull;
mod remove;

use clap::Subcommand;

use crate::terminal::Terminal;

/// Every command. What `--help` says of one stands at its `Arguments`.
#[derive(Subcommand)]
pub(crate) enum Command {
    Pull(pull::Arguments),
    List(list::Arguments),
    Remove(remove::Arguments),
    Doctor(doctor::Arguments),
    Completions(completions::Arguments),
}

/// Runs the command that was asked for.
pub(crate) fn dispatch(command: Command, terminal: &Terminal) -> anyhow::Result<()> {
    match command {
        Command::Pull(arguments) => pull::run(arguments, terminal),
        Command::List(arguments) => list::run(&arguments, terminal),
        Command::Remove(arguments) => remove::run(arguments, terminal),
        Command::Doctor(arguments) => doctor::run(arguments, terminal),
        Command::Completions(arguments) => completions::run(arguments, terminal),
    }
}
