//! What reaches the person: results on stdout, everything else on stderr.

mod progress;
mod prompt;
mod stream;
mod table;
mod units;

use core::fmt::Display;
use std::io::{self, IsTerminal, Write};

use anstyle::{AnsiColor, Style};
use clap::ColorChoice;
use indicatif::{MultiProgress, ProgressDrawTarget};
use serde::Serialize;

use crate::arguments::Global;

pub(crate) use progress::Progress;
pub(crate) use prompt::confirm;
pub(crate) use stream::Stream;
pub(crate) use table::Table;
pub(crate) use units::{Bytes, parse_bytes};

/// How this run speaks.
pub(crate) struct Terminal {
    /// Results are JSON.
    pub(crate) json: bool,
    /// The network is not used.
    pub(crate) offline: bool,
    quiet: bool,
    verbose: bool,
    /// What stands at the terminal's end, and gives way to lines.
    bars: MultiProgress,
}

impl Terminal {
    /// Takes the global options.
    pub(crate) fn new(global: &Global) -> Self {
        Self {
            json: global.json,
            offline: global.offline,
            quiet: global.quiet,
            verbose: global.verbose,
            bars: MultiProgress::with_draw_target(if global.quiet {
                ProgressDrawTarget::hidden()
            } else {
                ProgressDrawTarget::stderr()
            }),
        }
    }

    /// Prints the result: as JSON where that was asked for, else as `text` writes it.
    pub(crate) fn result<T: Serialize>(
        &self,
        value: &T,
        text: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> anyhow::Result<()> {
        let mut out = anstream::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, value).map_err(io::Error::from)?;
            writeln!(out)?;
        } else {
            text(&mut out)?;
        }
        out.flush()?;
        Ok(())
    }

    /// Tells what happens, unless `-q`.
    pub(crate) fn note(&self, text: impl Display) {
        if !self.quiet {
            self.line(text);
        }
    }

    /// Tells a detail, with `-v`.
    pub(crate) fn detail(&self, text: impl Display) {
        if self.verbose {
            self.line(text);
        }
    }

    fn line(&self, text: impl Display) {
        self.bars.suspend(|| {
            let _ = writeln!(anstream::stderr(), "{text}");
        });
    }

    /// A bar for work of `total` steps or bytes; silent with `-q`, plain lines off a terminal.
    pub(crate) fn progress(&self, label: &str, total: Option<u64>) -> Progress {
        Progress::new(label, total, &self.bars, self.quiet)
    }

    /// The same for steps that each take a while.
    pub(crate) fn steps(&self, label: &str, total: u64) -> Progress {
        Progress::of_steps(label, total, &self.bars, self.quiet)
    }
}

/// Colours both streams, or not, from here on.
pub(crate) fn colour(choice: ColorChoice) {
    let choice = match choice {
        ColorChoice::Auto => anstream::ColorChoice::Auto,
        ColorChoice::Always => anstream::ColorChoice::Always,
        ColorChoice::Never => anstream::ColorChoice::Never,
    };
    choice.write_global();
}

/// Whether a person sits at both ends.
pub(crate) fn interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

/// A text from outside without what a terminal would obey.
pub(crate) fn visible(text: &str) -> String {
    text.replace(|c: char| c.is_control() && c != '\n', "\u{fffd}")
}

/// The error line.
pub(crate) fn error(message: &str) {
    let style = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
    // Messages may quote servers and files: one line, and nothing that a terminal would obey.
    let words: Vec<&str> = message
        .split(|c: char| c.is_whitespace() || c.is_control())
        .collect();
    let line = words
        .into_iter()
        .filter(|w| !w.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    let _ = writeln!(anstream::stderr(), "{style}error:{style:#} {line}");
}
