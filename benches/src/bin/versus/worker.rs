//! A process that is an engine, from its customer's side.

use anyhow::{Context as _, Result, bail};
use core::time::Duration;
use inkstone_benches::process;
use inkstone_benches::protocol::{Memory, Open, Reply, Request, Text};
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;

/// How often it is looked whether an engine is at rest, and how many times.
const REST: Duration = Duration::from_millis(10);
const REST_TRIES: usize = 500;

/// A running engine; dropped, it ends.
pub(crate) struct Worker {
    child: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Worker {
    /// Starts the process.
    pub(crate) fn start(command: &mut Command) -> Result<Worker> {
        let command = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("cannot start an engine")?;
        let to = child.stdin.take().context("the engine has no stdin")?;
        let from = child.stdout.take().context("the engine has no stdout")?;
        Ok(Worker {
            child,
            to,
            from: BufReader::new(from),
        })
    }

    /// Opens a model; returns the seconds it took, and how the engine is built.
    pub(crate) fn open(&mut self, open: Open) -> Result<(f64, String)> {
        match self.ask(&Request::Open(open))? {
            Reply::Opened { seconds, build } => Ok((seconds, build)),
            other => bail!("an engine answered {other:?}"),
        }
    }

    /// Seconds of `request`.
    pub(crate) fn seconds(&mut self, request: &Request) -> Result<f64> {
        match self.ask(request)? {
            Reply::Seconds(seconds) => Ok(seconds),
            other => bail!("an engine answered {other:?}"),
        }
    }

    /// Perplexity of a text, and the chunks scored.
    pub(crate) fn perplexity(&mut self, text: Text) -> Result<(f64, u32)> {
        match self.ask(&Request::Perplexity(text))? {
            Reply::Perplexity { perplexity, chunks } => Ok((perplexity, chunks)),
            other => bail!("an engine answered {other:?}"),
        }
    }

    /// The most memory it was seen to use.
    pub(crate) fn memory(&mut self) -> Result<Memory> {
        match self.ask(&Request::Memory)? {
            Reply::Memory(memory) => Ok(memory),
            other => bail!("an engine answered {other:?}"),
        }
    }

    /// Waits, for a while, until the process does nothing.
    pub(crate) fn rest(&self) {
        for _ in 0..REST_TRIES {
            thread::sleep(REST);
            if process::waits(self.child.id()) {
                return;
            }
        }
    }

    /// Seconds that processors have spent on it.
    pub(crate) fn processor_seconds(&self) -> f64 {
        process::processor_seconds(self.child.id())
    }

    fn ask(&mut self, request: &Request) -> Result<Reply> {
        serde_json::to_writer(&mut self.to, request)?;
        writeln!(self.to)?;
        self.to.flush()?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
        if line.is_empty() {
            let status = self.child.wait()?;
            bail!("an engine ended: {status}");
        }
        match serde_json::from_str(&line)? {
            Reply::Failed(error) => bail!(error),
            reply => Ok(reply),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // It may have ended already, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
