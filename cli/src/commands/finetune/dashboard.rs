//! What a run shows while it goes on: a line on the terminal, log.jsonl, TensorBoard's curves, and at the end loss.svg.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use inkstone_engine::atomic;
use inkstone_finetune::trainer::Event;
use plotters::prelude::*;
use serde::Serialize;
use serde_json::Value;

use super::tensorboard::Board;
use crate::terminal::{Bytes, Progress, Terminal};

/// Shows a run.
pub(super) struct Dashboard<'a> {
    terminal: &'a Terminal,
    progress: Progress,
    log: File,
    board: Board,
    /// Since the run began, pauses aside.
    seconds: f64,
    folder: PathBuf,
    held_out: Option<f64>,
    failed: bool,
}

impl<'a> Dashboard<'a> {
    /// For a run of `steps` steps, of which `done` are made: the log goes on after those.
    pub(super) fn new(
        terminal: &'a Terminal,
        folder: &Path,
        steps: usize,
        done: usize,
    ) -> anyhow::Result<Self> {
        let path = folder.join("log.jsonl");
        let named = || path.display().to_string();
        let kept: Vec<String> = lines(&path)
            .filter(|(step, _)| *step <= done as u64)
            .map(|(_, line)| line)
            .collect();
        let write = |log: &mut dyn Write| kept.iter().try_for_each(|line| writeln!(log, "{line}"));
        atomic::write(&path, |log| write(log)).with_context(named)?;
        let log = OpenOptions::new().append(true).open(&path);
        let log = log.with_context(named)?;
        let mut dashboard = Dashboard {
            terminal,
            progress: terminal.steps("training", steps as u64),
            log,
            board: Board::create(folder).with_context(named)?,
            seconds: 0.0,
            folder: folder.to_owned(),
            held_out: None,
            failed: false,
        };
        for line in kept {
            dashboard.draw(&line).with_context(named)?;
        }
        Ok(dashboard)
    }

    /// Writes a line of the log, and its curves.
    fn keep(&mut self, line: &str) -> io::Result<()> {
        writeln!(self.log, "{line}")?;
        self.draw(line)
    }

    /// Writes the curves of a line.
    fn draw(&mut self, line: &str) -> io::Result<()> {
        let event: Value = serde_json::from_str(line).unwrap_or_default();
        let number = |name: &str| event[name].as_f64();
        self.seconds += number("seconds").unwrap_or_default();
        let step = event["step"].as_u64().unwrap_or_default();
        for curve in ["loss", "held_out", "rate", "norm"] {
            if let Some(value) = number(curve) {
                self.board.scalar(curve, step, self.seconds, value)?;
            }
        }
        Ok(())
    }

    /// Shows a step, and what the prompts were answered after it; false where the log cannot be written any more.
    pub(super) fn show(&mut self, event: &Event, answers: &[String]) -> bool {
        let memory = memory_stats::memory_stats().map(|held| held.physical_mem as u64);
        let line = Line {
            event,
            memory,
            answers,
        };
        let line = serde_json::to_string(&line).unwrap_or_default();
        self.failed |= self.keep(&line).is_err();
        self.held_out = event.held_out.or(self.held_out);
        let held_out = self
            .held_out
            .map_or(String::new(), |loss| format!(", held out {loss:.4}"));
        let memory = memory.map_or(String::new(), |bytes| format!(", {}", Bytes(bytes)));
        let rate = event.tokens as f64 / event.seconds;
        self.progress.say(&format!(
            "loss {:.4}{held_out}, lr {:.1e}, {rate:.0} tokens/s{memory}",
            event.loss, event.rate
        ));
        self.progress.at(event.step as u64);
        if let Some(loss) = event.held_out {
            self.terminal.note(format_args!(
                "step {} of {}: loss {:.4}, held out {loss:.4}, {rate:.0} tokens/s",
                event.step, event.steps, event.loss
            ));
        }
        for answer in answers {
            self.terminal
                .note(format_args!("  {}", answer.replace('\n', " ")));
        }
        !self.failed
    }

    /// Draws the curve.
    pub(super) fn finish(self) -> anyhow::Result<()> {
        let log = self.folder.join("log.jsonl");
        anyhow::ensure!(!self.failed, "{}: cannot be written", log.display());
        let mut curves = [Vec::new(), Vec::new()];
        for (step, line) in lines(&log) {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            for (curve, name) in curves.iter_mut().zip(["loss", "held_out"]) {
                curve.extend(event[name].as_f64().map(|loss| (step as f64, loss)));
            }
        }
        let path = self.folder.join("loss.svg");
        draw(&path, &curves).map_err(|e| anyhow::anyhow!("{}: {e}", path.display()))
    }
}

/// A line of the log.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    event: &'a Event,
    /// Bytes that the program holds, those of the mapped model among them.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<u64>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    answers: &'a [String],
}

/// The steps of a log and their lines.
fn lines(path: &Path) -> impl Iterator<Item = (u64, String)> + use<> {
    let file = File::open(path).ok().map(BufReader::new);
    file.into_iter().flat_map(|file| {
        file.lines().map_while(Result::ok).filter_map(|line| {
            let event: Value = serde_json::from_str(&line).ok()?;
            Some((event["step"].as_u64()?, line))
        })
    })
}

fn draw(path: &Path, curves: &[Vec<(f64, f64)>; 2]) -> Result<(), Box<dyn core::error::Error>> {
    let points = || curves.iter().flatten();
    let last = points().map(|p| p.0).fold(1.0, f64::max);
    let most = points().map(|p| p.1).fold(0.1, f64::max);
    let root = SVGBackend::new(path, (800, 450)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d(0.0..last, 0.0..most * 1.05)?;
    chart
        .configure_mesh()
        .x_desc("step")
        .y_desc("loss, nats a token")
        .draw()?;
    let kinds = [("training", BLUE, 1), ("held out", RED, 3)];
    for (curve, (name, colour, width)) in curves.iter().zip(kinds) {
        let style = colour.stroke_width(width);
        chart
            .draw_series(LineSeries::new(curve.iter().copied(), style))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 20, y)], style));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .draw()?;
    root.present()?;
    Ok(())
}
