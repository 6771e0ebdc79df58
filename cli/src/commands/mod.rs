//! The commands, one a file.

mod adapter;
mod bench;
mod chat;
mod compare;
mod completions;
mod convert;
mod data;
mod devices;
mod doctor;
mod embed;
mod eval;
mod finetune;
mod inspect;
mod list;
mod logits;
mod merge;
mod plan;
mod pull;
mod remove;
mod render;
mod run;
mod tokenize;

use clap::Subcommand;

use crate::terminal::Terminal;

/// Every command. What `--help` says of one stands at its `Arguments`.
#[derive(Subcommand)]
pub(crate) enum Command {
    Run(run::Arguments),
    Chat(chat::Arguments),
    Embed(embed::Arguments),
    Pull(pull::Arguments),
    List(list::Arguments),
    Remove(remove::Arguments),
    Inspect(inspect::Arguments),
    Convert(convert::Arguments),
    Adapter(adapter::Arguments),
    Merge(merge::Arguments),
    Data(data::Arguments),
    Finetune(finetune::Arguments),
    Bench(bench::Arguments),
    Plan(plan::Arguments),
    Compare(compare::Arguments),
    Eval(eval::Arguments),
    Tokenize(tokenize::Arguments),
    Render(render::Arguments),
    Logits(logits::Arguments),
    Devices(devices::Arguments),
    Doctor(doctor::Arguments),
    Completions(completions::Arguments),
}

/// Runs the command that was asked for.
pub(crate) fn dispatch(command: Command, terminal: &Terminal) -> anyhow::Result<()> {
    match command {
        Command::Run(arguments) => run::run(arguments, terminal),
        Command::Chat(arguments) => chat::run(arguments, terminal),
        Command::Embed(arguments) => embed::run(arguments, terminal),
        Command::Pull(arguments) => pull::run(arguments, terminal),
        Command::List(arguments) => list::run(&arguments, terminal),
        Command::Remove(arguments) => remove::run(arguments, terminal),
        Command::Inspect(arguments) => inspect::run(&arguments, terminal),
        Command::Convert(arguments) => convert::run(&arguments, terminal),
        Command::Adapter(arguments) => adapter::run(&arguments, terminal),
        Command::Merge(arguments) => merge::run(&arguments, terminal),
        Command::Data(arguments) => data::run(&arguments, terminal),
        Command::Bench(arguments) => bench::run(&arguments, terminal),
        Command::Plan(arguments) => plan::run(&arguments, terminal),
        Command::Compare(arguments) => compare::run(&arguments, terminal),
        Command::Eval(arguments) => eval::run(arguments, terminal),
        Command::Finetune(arguments) => finetune::run(&arguments, terminal),
        Command::Tokenize(arguments) => tokenize::run(&arguments, terminal),
        Command::Render(arguments) => render::run(arguments, terminal),
        Command::Logits(arguments) => logits::run(arguments, terminal),
        Command::Devices(arguments) => devices::run(&arguments, terminal),
        Command::Doctor(arguments) => doctor::run(arguments, terminal),
        Command::Completions(arguments) => completions::run(arguments, terminal),
    }
}

/// The number of a layer, where the tensor belongs to one.
fn layer(stored: u16) -> Option<u16> {
    (stored != inkstone_engine::format::NO_LAYER).then_some(stored)
}
