//! How a command ends: exit codes, and errors as one line on stderr.
//!
//! | code | meaning |
//! |--:|---|
//! | 0 | done; also when whoever read the output closed it |
//! | 1 | failed: the line on stderr says what, where and what to do |
//! | 2 | asked wrongly: an unknown command, name or option, or options that exclude each other |
//! | 130 | interrupted by Ctrl-C |

use core::fmt;
use std::io;
use std::process::ExitCode;

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::nearest::nearest;
use crate::terminal;

const FAILED: u8 = 1;
const ASKED_WRONGLY: u8 = 2;
const INTERRUPTED: u8 = 130;

/// The command was asked for something that cannot be: exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(String);

impl Usage {
    /// An error that says what was wrong with the command line.
    pub(crate) fn error(message: impl Into<String>) -> anyhow::Error {
        Self(message.into()).into()
    }
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl core::error::Error for Usage {}

/// Ctrl-C stopped the command: exit code 130.
#[derive(Debug)]
pub(crate) struct Interrupted;

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted")
    }
}

impl core::error::Error for Interrupted {}

/// Prints what went wrong, if anything, and gives the exit code.
pub(crate) fn report(result: anyhow::Result<()>) -> ExitCode {
    let Err(error) = result else {
        return ExitCode::SUCCESS;
    };
    if error.chain().any(is_broken_pipe) {
        return ExitCode::SUCCESS;
    }
    let error = if error.chain().any(is_cancelled) {
        Interrupted.into()
    } else {
        error
    };
    terminal::error(&format!("{error:#}"));
    if error.chain().any(|e| e.is::<Interrupted>()) {
        ExitCode::from(INTERRUPTED)
    } else if error.chain().any(|e| e.is::<Usage>()) {
        ExitCode::from(ASKED_WRONGLY)
    } else {
        ExitCode::from(FAILED)
    }
}

/// Prints help or the version where that was asked for, else the mistake in one line.
pub(crate) fn usage(error: &clap::Error) -> ExitCode {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // Whoever closed the pipe has read enough help.
            let _ = error.print();
            ExitCode::SUCCESS
        }
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            ExitCode::from(ASKED_WRONGLY)
        }
        _ => {
            terminal::error(&one_line(error));
            ExitCode::from(ASKED_WRONGLY)
        }
    }
}

/// The first paragraph of clap's message, its suggestion, and where help is.
fn one_line(error: &clap::Error) -> String {
    let rendered = error.to_string();
    let (head, _) = rendered.split_once("\n\n").unwrap_or((&rendered, ""));
    let words: Vec<&str> = head.split_whitespace().collect();
    let mut line = words.join(" ");
    if let Some(rest) = line.strip_prefix("error: ") {
        line = rest.to_owned();
    }
    if let Some(near) = suggestion(error).or_else(|| near_command(error)) {
        line.push_str(&format!("; did you mean `{near}`?"));
    }
    line.push_str(&format!("; see `{} --help`", command_path()));
    line
}

fn suggestion(error: &clap::Error) -> Option<String> {
    const KINDS: [ContextKind; 3] = [
        ContextKind::SuggestedSubcommand,
        ContextKind::SuggestedArg,
        ContextKind::SuggestedValue,
    ];
    KINDS.iter().find_map(|&kind| match error.get(kind)? {
        ContextValue::String(one) => Some(one.clone()),
        // The likeliest stands last.
        ContextValue::Strings(many) => many.last().cloned(),
        _ => None,
    })
}

/// The command nearest to an unknown one, where clap sees none.
fn near_command(error: &clap::Error) -> Option<String> {
    let ContextValue::String(wanted) = error.get(ContextKind::InvalidSubcommand)? else {
        return None;
    };
    let known = crate::arguments::command();
    let names = known.get_subcommands().map(clap::Command::get_name);
    nearest(wanted, names).map(str::to_owned)
}

/// `inkstone` with the commands that were named, as far as they exist.
fn command_path() -> String {
    let mut path = "inkstone".to_owned();
    let mut command = crate::arguments::command();
    for word in crate::arguments::words().skip(1) {
        let Some(named) = command.find_subcommand(&word).cloned() else {
            break;
        };
        path = format!("{path} {word}");
        command = named;
    }
    path
}

/// Whether the engine was told to stop, by Ctrl-C.
pub(crate) fn is_cancelled(cause: &(dyn core::error::Error + 'static)) -> bool {
    cause
        .downcast_ref::<inkstone_engine::Error>()
        .is_some_and(|e| e.kind() == inkstone_engine::ErrorKind::Cancelled)
}

fn is_broken_pipe(cause: &(dyn core::error::Error + 'static)) -> bool {
    cause
        .downcast_ref::<io::Error>()
        .is_some_and(|e| e.kind() == io::ErrorKind::BrokenPipe)
}
