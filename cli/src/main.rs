//! The `inkstone` command: reads the command line, runs one command, prints its error once.

mod arguments;
mod commands;
mod exit;
mod interrupt;
mod nearest;
mod store;
mod terminal;

use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = match arguments::parse() {
        Ok(cli) => cli,
        Err(error) => return exit::usage(&error),
    };
    let terminal = terminal::Terminal::new(&cli.global);
    exit::report(commands::dispatch(cli.command, &terminal))
}
