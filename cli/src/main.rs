//! The `inkstone` command: reads the command line, runs one command, prints its error once.

mod answer;
mod arguments;
mod commands;
mod exit;
mod files;
mod interrupt;
mod machine;
mod nearest;
mod resolve;
mod store;
mod terminal;
mod text_side;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match arguments::parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let terminal = terminal::Terminal::new(&cli.global);
    exit::report(commands::dispatch(cli.command, &terminal))
}
