//! `inkstone eval run`: a model does a task.

use core::num::NonZeroUsize;
use std::path::PathBuf;

use anyhow::Context;
use clap::Args;
use inkstone_engine::hash::hex;
use inkstone_eval::{Definition, Head, Record, Task, ask};
use serde_json::json;

use super::{Materials, interval, percent};
use crate::arguments::{Model, Session};
use crate::exit::{Interrupted, Usage};
use crate::files;
use crate::interrupt;
use crate::terminal::{Table, Terminal};

/// Let a model do a task, and count what it has right
///
/// Every answer is the most likely one, held to the task's grammar unless --free. Answers go to a file as they come; the
/// same command goes on where a run stopped. The interval holds the share in 95 of 100 resamplings of the rows.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone eval run smollm2-135m home --rows 100\n  inkstone eval run finetuned/model.ink home -o after.jsonl"
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: Model,
    /// A task of `inkstone eval list`, or a TOML file
    #[arg(value_name = "TASK")]
    task: Option<String>,
    /// Do not hold answers to the task's grammar
    #[arg(long)]
    free: bool,
    /// Ask the first N rows alone
    #[arg(long, value_name = "N")]
    rows: Option<NonZeroUsize>,
    /// Write the answers to this file [default: TASK-MODEL.jsonl]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Begin anew where the file holds answers
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    materials: Materials,
    #[command(flatten)]
    session: Session,
}

/// The file of answers that has no other name.
fn usual(head: &Head, model: &inkstone_engine::Model) -> PathBuf {
    let free = if head.constrained { "" } else { "-free" };
    let name = model.name().replace(['/', '\\'], "-");
    PathBuf::from(format!("{}-{name}{free}.jsonl", head.task))
}

/// Asks.
pub(crate) fn run(arguments: Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let (name, task) = arguments.model.with_prompt(arguments.task);
    let name = name.name()?;
    let Some(task) = task else {
        return Err(Usage::error(
            "no TASK was named; `inkstone eval list` shows them",
        ));
    };
    let (definition, folder) = Definition::find(&task, &arguments.materials.materials)?;
    let task = Task::load(definition, &folder)?;
    let model = arguments.session.model(terminal, name)?;
    if !model.has_template() {
        return Err(Usage::error(format!(
            "{name}: has no chat template to be asked by; name a model that chats"
        )));
    }
    let constrained = !arguments.free && task.definition.is_constrained();
    let head = Head {
        task: task.definition.name.clone(),
        task_hash: hex(&task.hash),
        model: name.to_owned(),
        model_hash: hex(&model.id()),
        constrained,
        session: arguments.session.about(),
        rows: arguments
            .rows
            .map_or(usize::MAX, NonZeroUsize::get)
            .min(task.len()),
    };
    let path = arguments.output.unwrap_or_else(|| usual(&head, &model));
    files::has_folder(&path)?;
    let mut record = Record::open(&path, head, arguments.yes).context("-y begins anew")?;
    let (rows, before) = (record.head.rows, record.answers.len());
    if before > 0 {
        terminal.note(format_args!(
            "{}: {before} of {rows} rows were answered before",
            path.display()
        ));
    }
    let mut session = model.session(&arguments.session.config())?;
    interrupt::cancels(session.canceller());
    let progress = terminal.steps(&record.head.task, rows as u64);
    ask(&task, &model, &mut session, &mut record, &mut |answers| {
        let right = answers.iter().filter(|answer| answer.right).count();
        progress.at(answers.len() as u64);
        progress.say(&format!(
            "{} right",
            percent(right as f64 / answers.len() as f64)
        ));
        !interrupt::take()
    })?;
    drop(progress);
    if record.answers.len() < rows {
        terminal.note(format_args!("stopped; the same command goes on"));
        return Err(Interrupted.into());
    }
    let scores = record.scores();
    let mut table = Table::new(&["group", "rows", "right", "share", "95 % interval"]);
    for score in &scores {
        table.row([
            score.group.clone(),
            score.rows.to_string(),
            score.right.to_string(),
            percent(score.share),
            interval(score.low, score.high),
        ]);
    }
    let value = json!({"answers": path, "head": record.head, "scores": scores});
    terminal.result(&value, |out| table.print(out))
}
