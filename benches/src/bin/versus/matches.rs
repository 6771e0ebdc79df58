//! A case played: each engine in turn, round after round, the others idle.

use crate::arguments::Arguments;
use crate::cases::Case;
use crate::files::{self, Files, Theirs};
use crate::limits::{self, Cost, Demand, Machine};
use crate::report::{Figure, Opened, Report, Row};
use crate::statistics::Spread;
use crate::worker::Worker;
use crate::{SERVE, note};
use anyhow::{Context as _, Result, bail};
use inkstone_benches::protocol::{Open, Request};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Positions of a session that is only opened, or decides which format plays.
const SMALL: u32 = 256;

/// Tokens of the prompt in front of the first token.
const FIRST: u32 = 5;

const PREFILL: &str = "prefill";
const DECODE: &str = "decode";

/// What the others may compute while one is measured: the grain of the process clocks.
const IDLE_SECONDS: f64 = 0.031;

/// How often a measurement is tried until the others are idle.
const TRIES: usize = 5;

/// An engine and the file it runs.
pub(crate) struct Entry {
    /// `ours`, `kept` (ours with the other side's weights) or `theirs`.
    pub(crate) side: &'static str,
    pub(crate) format: &'static str,
    pub(crate) path: PathBuf,
    pub(crate) cost: Cost,
    program: PathBuf,
    argument: &'static str,
}

/// What is run, for how many tokens.
#[derive(Clone)]
struct Test {
    phase: &'static str,
    tokens: u32,
    depth: u32,
    request: Request,
}

impl Test {
    fn prefill(tokens: u32) -> Test {
        Test {
            phase: PREFILL,
            tokens,
            depth: 0,
            request: Request::Prefill(tokens),
        }
    }

    fn decode(depth: u32, tokens: u32) -> Test {
        Test {
            phase: DECODE,
            tokens,
            depth,
            request: Request::Decode { depth, tokens },
        }
    }
}

/// Plays a case at every number of threads; returns who played.
pub(crate) fn play(
    case: &Case,
    files: &Files,
    peer: &Path,
    arguments: &Arguments,
    report: &mut Report,
) -> Result<Vec<Entry>> {
    let theirs = contest(case, &files.theirs, peer, arguments.most_threads(), report)?;
    let kept = files::kept(&theirs, arguments.fresh)?;
    let program = env::current_exe()?;
    let ours = |side, format, path: &Path| {
        Ok::<_, anyhow::Error>(Entry {
            side,
            format,
            path: path.to_owned(),
            cost: limits::ours(path)?,
            program: program.clone(),
            argument: SERVE,
        })
    };
    let entries = vec![
        ours("ours", files::OURS.name, &files.ours)?,
        ours("kept", theirs.format, &kept)?,
        Entry::theirs(&theirs, peer)?,
    ];
    for &threads in &arguments.threads {
        let mut game = Match::new(case, &entries, threads, arguments, report)?;
        game.play(arguments, report)?;
        game.finish(arguments, report)?;
    }
    Ok(entries)
}

/// The file that the other side is fastest with, reading and writing counted alike.
fn contest(
    case: &Case,
    files: &[Theirs],
    peer: &Path,
    threads: u32,
    report: &mut Report,
) -> Result<Theirs> {
    let mut best = None;
    for file in files {
        let entry = Entry::theirs(file, peer)?;
        let (mut worker, _) = entry.start(threads, SMALL, SMALL)?;
        let mut rate = |request: Request, tokens: u32| -> Result<f64> {
            let mut seconds = f64::INFINITY;
            for _ in 0..3 {
                seconds = seconds.min(worker.seconds(&request)?);
            }
            Ok(f64::from(tokens) / seconds)
        };
        let prefill = rate(Request::Prefill(128), 128)?;
        let decode = rate(
            Request::Decode {
                depth: 0,
                tokens: 16,
            },
            16,
        )?;
        note(format_args!(
            "{}: llama.cpp with {}: prefill {prefill:.0}, decode {decode:.1} tokens/s",
            case.name, file.format
        ));
        report.contest(case.name, file.format, prefill, decode);
        let score = prefill * decode;
        if best.as_ref().is_none_or(|(other, _)| score > *other) {
            best = Some((score, file));
        }
    }
    let (_, file) = best.context("no format was named for the other side")?;
    Ok(file.clone())
}

impl Entry {
    fn theirs(file: &Theirs, peer: &Path) -> Result<Entry> {
        Ok(Entry {
            side: "theirs",
            format: file.format,
            path: file.path.clone(),
            cost: limits::theirs(&file.path)?,
            program: peer.to_owned(),
            argument: "serve",
        })
    }

    /// Starts the engine, without a model.
    pub(crate) fn worker(&self) -> Result<Worker> {
        Worker::start(Command::new(&self.program).arg(self.argument))
    }

    /// Starts the engine and opens the file.
    fn start(&self, threads: u32, context: u32, rewind: u32) -> Result<(Worker, String)> {
        let mut worker = self.worker()?;
        let (_, build) = worker.open(self.open(threads, context, rewind))?;
        Ok((worker, build))
    }

    fn open(&self, threads: u32, context: u32, rewind: u32) -> Open {
        Open {
            path: self.path.clone(),
            context,
            rewind,
            threads,
        }
    }
}

/// The engines at a number of threads, all open.
struct Match<'a> {
    case: &'a Case,
    entries: &'a [Entry],
    workers: Vec<Worker>,
    threads: u32,
    machine: Machine,
    demand: Demand,
}

impl<'a> Match<'a> {
    fn new(
        case: &'a Case,
        entries: &'a [Entry],
        threads: u32,
        arguments: &Arguments,
        report: &mut Report,
    ) -> Result<Match<'a>> {
        let machine = Machine::probe(threads);
        let started = entries.iter().map(|entry| {
            let (worker, build) = entry.start(threads, arguments.context(), arguments.decode)?;
            report.build(entry.side, &build);
            Ok(worker)
        });
        let workers = started.collect::<Result<_>>()?;
        Ok(Match {
            case,
            entries,
            workers,
            threads,
            machine,
            demand: limits::demand(&entries[0].path)?,
        })
    }

    fn play(&mut self, arguments: &Arguments, report: &mut Report) -> Result<()> {
        report.machine(self.machine);
        let prefills = arguments
            .prefill
            .iter()
            .map(|&tokens| Test::prefill(tokens));
        let depths = arguments.depth.iter();
        let decodes = depths.map(|&depth| Test::decode(depth, arguments.decode));
        // Threads start and pages are touched before anything counts.
        self.round(&Test::prefill(16), 0)?;
        for test in prefills.chain(decodes) {
            let mut rounds = Vec::new();
            for round in 0..arguments.rounds {
                note(format_args!(
                    "{}: {} of {} at {}, {} threads, round {} of {}",
                    self.case.name,
                    test.phase,
                    test.tokens,
                    test.depth,
                    self.threads,
                    round + 1,
                    arguments.rounds
                ));
                rounds.push(self.round(&test, round)?);
            }
            report.rows(self.rows(&test, &rounds));
        }
        Ok(())
    }

    /// Seconds of each engine, one after the other; every other round the other way about.
    fn round(&mut self, test: &Test, round: u32) -> Result<Vec<f64>> {
        let mut seconds = vec![0.0; self.workers.len()];
        let mut order: Vec<usize> = (0..self.workers.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for turn in order {
            seconds[turn] = self.turn(turn, test)?;
        }
        Ok(seconds)
    }

    /// Seconds of an engine; taken again where another one computed meanwhile.
    fn turn(&mut self, turn: usize, test: &Test) -> Result<f64> {
        for _ in 0..TRIES {
            self.workers.iter().for_each(Worker::rest);
            let before = self.others(turn);
            let seconds = self.workers[turn].seconds(&test.request)?;
            if self.others(turn) - before <= IDLE_SECONDS {
                return Ok(seconds);
            }
        }
        bail!("engines that were not asked compute all the time");
    }

    /// Seconds that the engines beside `turn` have computed.
    fn others(&self, turn: usize) -> f64 {
        let others = self.workers.iter().enumerate();
        let others = others.filter(|(index, _)| *index != turn);
        others.map(|(_, worker)| worker.processor_seconds()).sum()
    }

    /// A row for each file of ours, against the other side.
    fn rows(&self, test: &Test, rounds: &[Vec<f64>]) -> Vec<Row> {
        let theirs = self.entries.len() - 1;
        let figure = |side: usize| self.figure(test, side, rounds);
        let row = |side: usize| Row {
            case: self.case.name,
            phase: test.phase,
            tokens: test.tokens,
            depth: test.depth,
            threads: self.threads,
            ratio: Spread::of(rounds.iter().map(|round| round[theirs] / round[side])),
            ours: figure(side),
            theirs: figure(theirs),
        };
        (0..theirs).map(row).collect()
    }

    /// How fast a side was, and how near to what the machine allows.
    fn figure(&self, test: &Test, side: usize, rounds: &[Vec<f64>]) -> Figure {
        let entry = &self.entries[side];
        let rate = Spread::of(
            rounds
                .iter()
                .map(|round| f64::from(test.tokens) / round[side]),
        );
        let kv = self.demand.kv_bytes(test.depth + test.tokens / 2);
        let bytes = entry.cost.weights + kv;
        let decode = test.phase == DECODE;
        let memory = rate.median * bytes as f64 / self.machine.bytes_per_second;
        let int8 = self.machine.int8_per_second;
        let products = int8.map(|int8| rate.median * self.demand.operations as f64 / int8);
        Figure {
            format: entry.format,
            rate,
            bytes_per_token: decode.then_some(bytes),
            of_bandwidth: decode.then_some(memory),
            of_int8: products.filter(|_| !decode),
        }
    }

    /// Opens each file anew, by turns, and takes stock of what the engines have used.
    fn finish(&mut self, arguments: &Arguments, report: &mut Report) -> Result<()> {
        let mut opened: Vec<Vec<(f64, f64)>> = vec![Vec::new(); self.entries.len()];
        for round in 0..=arguments.rounds {
            self.workers.iter().for_each(Worker::rest);
            for (entry, times) in self.entries.iter().zip(&mut opened) {
                let time = first_token(entry, self.threads)?;
                // The first round brings the files into memory.
                if round > 0 {
                    times.push(time);
                }
            }
        }
        for (index, (entry, times)) in self.entries.iter().zip(&opened).enumerate() {
            report.opened(Opened {
                case: self.case.name,
                side: entry.side,
                format: entry.format,
                threads: self.threads,
                context: arguments.context(),
                file_bytes: entry.cost.file,
                memory: self.workers[index].memory()?,
                open_seconds: Spread::of(times.iter().map(|time| time.0)),
                first_token_seconds: Spread::of(times.iter().map(|time| time.1)),
            });
        }
        Ok(())
    }
}

/// Seconds that opening takes, and seconds from the process's start to the logits behind a short prompt.
fn first_token(entry: &Entry, threads: u32) -> Result<(f64, f64)> {
    let start = Instant::now();
    let mut worker = entry.worker()?;
    let (open, _) = worker.open(entry.open(threads, SMALL, SMALL))?;
    worker.seconds(&Request::Prefill(FIRST))?;
    Ok((open, start.elapsed().as_secs_f64()))
}
