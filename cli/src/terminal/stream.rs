//! Text as it is made, to stdout or a file.

use std::io::{self, IsTerminal, Write};
use std::path::Path;

use crate::files;

/// Where an answer goes, piece by piece.
pub(crate) struct Stream {
    out: Box<dyn Write>,
    terminal: bool,
}

impl Stream {
    /// To the file, or to stdout where none is named.
    pub(crate) fn new(file: Option<&Path>) -> anyhow::Result<Self> {
        Ok(match file {
            Some(path) => Self {
                out: Box::new(files::create(path)?),
                terminal: false,
            },
            None => Self {
                out: Box::new(io::stdout()),
                terminal: io::stdout().is_terminal(),
            },
        })
    }

    /// Writes a piece at once. A terminal gets nothing that it would obey: a model's words are not to be trusted.
    pub(crate) fn write(&mut self, text: &[u8]) -> io::Result<()> {
        if self.terminal {
            let text = String::from_utf8_lossy(text);
            let harmless = |c: &char| !c.is_control() || matches!(c, '\n' | '\t');
            let text: String = text.chars().filter(harmless).collect();
            self.out.write_all(text.as_bytes())?;
        } else {
            self.out.write_all(text)?;
        }
        self.out.flush()
    }

    /// Ends the last line, where a person or a program reads lines.
    pub(crate) fn end(&mut self) -> io::Result<()> {
        self.write(b"\n")
    }
}
