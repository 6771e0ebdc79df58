//! `inkstone completions`: a completion script for a shell.

use std::io::Write;

use clap::Args;
use clap_complete::Shell;

use crate::arguments;
use crate::terminal::Terminal;

/// Print a completion script for a shell
///
/// The script goes to stdout.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone completions bash > ~/.local/share/bash-completion/completions/inkstone"
)]
pub(crate) struct Arguments {
    /// Which shell
    shell: Shell,
}

/// Prints the script; `--json` does not change it.
pub(crate) fn run(arguments: Arguments, _terminal: &Terminal) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(
        arguments.shell,
        &mut arguments::command(),
        "inkstone",
        &mut script,
    );
    let mut out = std::io::stdout().lock();
    out.write_all(&script)?;
    out.flush()?;
    Ok(())
}
