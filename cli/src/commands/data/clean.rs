//! `inkstone data clean`: what is worth learning from.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use inkstone_engine::atomic;
use inkstone_eval::Judge;
use inkstone_finetune::clean::{Counts, RULES, Settings, Sinks, Stage, clean};

use crate::arguments::Session;
use crate::exit::{Interrupted, Usage};
use crate::files;
use crate::interrupt;
use crate::resolve;
use crate::terminal::{Table, Terminal};

/// Keep what is worth learning from
///
/// Drops what rules forbid, what was said before (exactly, or nearly by MinHash over five-word shingles), what a test
/// set says, and what a model finds improbable; each is counted. JSONL, CSV or text, whose records are paragraphs. Files
/// of any size: what is compared lies on disk.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone data clean web.jsonl --test test.jsonl --dropped dropped.jsonl -o clean.jsonl"
)]
pub(crate) struct Arguments {
    /// Records, of one kind of file
    #[arg(value_name = "FILE", required_unless_present = "rules", num_args = 1..)]
    files: Vec<PathBuf>,
    /// Write what is kept to this file, as it stood
    #[arg(short, long, value_name = "FILE", required_unless_present = "rules")]
    output: Option<PathBuf>,
    /// Write what is dropped, with the reason, to this file
    #[arg(long, value_name = "FILE.jsonl")]
    dropped: Option<PathBuf>,
    /// Records that must not be among them
    #[arg(long, value_name = "FILE", num_args = 1..)]
    test: Vec<PathBuf>,
    /// Share of shingles from which two records are the same
    #[arg(long, value_name = "SHARE", default_value_t = 0.8, value_parser = super::share)]
    near: f64,
    /// Show the rules and their limits
    #[arg(long)]
    rules: bool,
    /// Set a rule's limit, or `off`
    #[arg(long, value_name = "RULE=LIMIT")]
    rule: Vec<String>,
    /// The model that judges perplexity
    #[arg(short, long, value_name = "MODEL", requires = "perplexity")]
    model: Option<String>,
    /// Drop what has a higher perplexity, over its first 256 tokens
    #[arg(long, value_name = "LIMIT", requires = "model", value_parser = limit)]
    perplexity: Option<f64>,
    /// Replace a file that is there
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    session: Session,
}

/// A perplexity.
fn limit(text: &str) -> Result<f64, String> {
    let limit = text
        .parse()
        .ok()
        .filter(|limit: &f64| limit.is_finite() && *limit > 0.0);
    limit.ok_or_else(|| "wanted a number above 0".to_owned())
}

/// Tokens of a text that its perplexity is taken over.
const JUDGED: u32 = 256;

/// Cleans.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let Some(output) = arguments.output.as_deref().filter(|_| !arguments.rules) else {
        return list(terminal);
    };
    check(arguments, output)?;
    let settings = settings(arguments)?;
    let mut judge = judge(arguments, terminal)?;
    let mut work = |kept: &mut dyn Write, dropped: Option<&mut dyn Write>| {
        keep(
            arguments,
            &settings,
            judge.as_mut(),
            kept,
            dropped,
            terminal,
        )
    };
    let mut counts = Counts::default();
    atomic::write(output, |kept| {
        counts = match &arguments.dropped {
            None => work(kept, None)?,
            Some(path) => {
                let mut counts = Counts::default();
                let written = atomic::write(path, |dropped| {
                    counts = work(kept, Some(dropped))?;
                    anyhow::Ok(())
                });
                written.map_err(|error| named(path, error))?;
                counts
            }
        };
        anyhow::Ok(())
    })
    .map_err(|error| named(output, error))?;
    report(terminal, &counts)
}

/// What the system said of a file, with its name.
fn named(path: &Path, error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<std::io::Error>() {
        Some(_) => error.context(path.display().to_string()),
        None => error,
    }
}

/// Cleans into files that get their names when they are whole.
fn keep(
    arguments: &Arguments,
    settings: &Settings,
    judge: Option<&mut (Judge, f64)>,
    kept: &mut dyn Write,
    dropped: Option<&mut dyn Write>,
    terminal: &Terminal,
) -> anyhow::Result<Counts> {
    let mut last = judge.map(|(judge, limit)| {
        move |text: &str| {
            let perplexity = judge.perplexity(text)?;
            Ok(perplexity
                .is_some_and(|p| p > *limit)
                .then_some("perplexity"))
        }
    });
    let sinks = Sinks {
        kept,
        dropped: dropped.map(|dropped| dropped as &mut dyn Write),
        last: last
            .as_mut()
            .map(|last| last as &mut dyn FnMut(&str) -> anyhow::Result<_>),
    };
    let files = arguments
        .files
        .iter()
        .filter_map(|file| fs::metadata(file).ok());
    let bytes: u64 = files.map(|file| file.len()).sum();
    interrupt::watch();
    let mut stopped = false;
    let progress = terminal.progress("cleaning", Some(2 * bytes));
    let counts = clean(&arguments.files, settings, sinks, &mut |stage| {
        progress.at(match stage {
            Stage::Read(done) => done,
            Stage::Written(done) => bytes + done,
        });
        stopped = interrupt::take();
        !stopped
    });
    if stopped {
        return Err(Interrupted.into());
    }
    counts
}

/// Refuses what would be found out only after the work.
fn check(arguments: &Arguments, output: &Path) -> anyhow::Result<()> {
    if arguments
        .files
        .iter()
        .any(|file| file.extension() != output.extension())
    {
        return Err(Usage::error(
            "records are written as they stood: give -o the ending that all files have",
        ));
    }
    if arguments.dropped.as_deref() == Some(output) {
        return Err(Usage::error(
            "what is kept and what is dropped want files of their own",
        ));
    }
    for path in arguments
        .dropped
        .iter()
        .map(PathBuf::as_path)
        .chain([output])
    {
        files::has_folder(path)?;
        if path.exists() && !arguments.yes {
            let path = path.display();
            return Err(Usage::error(format!(
                "{path} is there already; add -y to replace it"
            )));
        }
    }
    Ok(())
}

fn settings(arguments: &Arguments) -> anyhow::Result<Settings> {
    let mut settings = Settings {
        near: arguments.near,
        test: arguments.test.clone(),
        ..Settings::default()
    };
    for rule in &arguments.rule {
        settings
            .set(rule)
            .map_err(|e| Usage::error(e.to_string()))?;
    }
    Ok(settings)
}

/// The model that judges, and its limit.
fn judge(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<Option<(Judge, f64)>> {
    let (Some(name), Some(limit)) = (&arguments.model, arguments.perplexity) else {
        return Ok(None);
    };
    let model = resolve::model(terminal, name)?;
    let judge = Judge::new(&model, &arguments.session.config(), JUDGED)?;
    Ok(Some((judge, limit)))
}

fn report(terminal: &Terminal, counts: &Counts) -> anyhow::Result<()> {
    let mut table = Table::new(&["records", "", ""]);
    let share = |n: usize| format!("{:.1} %", 100.0 * n as f64 / counts.records.max(1) as f64);
    table.row(["read".to_owned(), counts.records.to_string(), String::new()]);
    for (reason, n) in &counts.dropped {
        table.row([reason.clone(), n.to_string(), share(*n)]);
    }
    table.row([
        "kept".to_owned(),
        counts.kept.to_string(),
        share(counts.kept),
    ]);
    terminal.result(counts, |out| table.print(out))
}

fn list(terminal: &Terminal) -> anyhow::Result<()> {
    let mut table = Table::new(&["rule", "limit", "drops records with"]);
    let mut values = Vec::new();
    for rule in RULES {
        values
            .push(serde_json::json!({"rule": rule.name, "limit": rule.limit, "about": rule.about}));
        table.row([
            rule.name.to_owned(),
            rule.limit.to_string(),
            rule.about.to_owned(),
        ]);
    }
    terminal.result(&values, |out| table.print(out))
}
