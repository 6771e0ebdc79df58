//! A file of answers: a line that says what was asked of whom, then a line for each row. What is there when a run ends
//! early is gone on from.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use inkstone_engine::atomic;
use serde::{Deserialize, Serialize};

use crate::bootstrap::{interval, mcnemar, of_share};

/// What all answers of a file have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    /// Name of the task.
    pub task: String,
    /// BLAKE3 of the task and its data, hexadecimal.
    pub task_hash: String,
    /// Who was asked.
    pub model: String,
    /// BLAKE3 of the model, hexadecimal.
    pub model_hash: String,
    /// Whether answers were held to the task's grammar.
    pub constrained: bool,
    /// What else the answers depend on: the device, and in what form it computes.
    #[serde(default)]
    pub session: String,
    /// Rows of the task that are asked, from the first.
    pub rows: usize,
}

/// The answer to a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Of the task, from 0.
    pub row: usize,
    /// Whether it is the wanted one.
    pub right: bool,
    /// What was said.
    pub answer: String,
    /// What was wanted.
    pub wanted: String,
    /// Groups of the row.
    pub groups: Vec<String>,
}

/// The file.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    file: File,
    /// What the answers have in common.
    pub head: Head,
    /// Answers so far, in the order of rows.
    pub answers: Vec<Answer>,
}

/// How many answers of a group are right.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Score {
    /// `all`, or the name of a group.
    pub group: String,
    /// Answers.
    pub rows: usize,
    /// Right ones.
    pub right: usize,
    /// Share of right ones.
    pub share: f64,
    /// Lower end of the share's 95 % interval.
    pub low: f64,
    /// Upper end of the share's 95 % interval.
    pub high: f64,
}

/// How two files differ on a group, the second less the first.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// `all`, or the name of a group.
    pub group: String,
    /// Rows.
    pub rows: usize,
    /// Share that the first has right.
    pub first: f64,
    /// Share that the second has right.
    pub second: f64,
    /// Rows that the second alone has right.
    pub won: usize,
    /// Rows that the first alone has right.
    pub lost: usize,
    /// Lower end of the difference's 95 % interval, rows resampled in pairs.
    pub low: f64,
    /// Upper end of the difference's 95 % interval.
    pub high: f64,
    /// How likely a difference as great is by chance alone ([`mcnemar`]).
    pub p: f64,
}

impl Record {
    /// Begins a file, or goes on with one that has the same head.
    ///
    /// # Errors
    /// The file belongs to something else, or cannot be written.
    pub fn open(path: &Path, head: Head, anew: bool) -> Result<Record> {
        let named = || path.display().to_string();
        let exists = path.exists() && !anew;
        let answers = if exists {
            let (found, answers) = read(path)?;
            ensure!(
                found == head,
                "{}: holds answers of {} to {}, {}; choose another file or begin anew",
                named(),
                found.model,
                found.task,
                if found.model_hash == head.model_hash {
                    "asked otherwise"
                } else {
                    "another model"
                }
            );
            answers
        } else {
            Vec::new()
        };
        // Written anew, so that a line cut short by a crash is gone.
        let begun = atomic::write(path, |file| -> io::Result<()> {
            writeln!(file, "{}", serde_json::to_string(&head)?)?;
            for answer in &answers {
                writeln!(file, "{}", serde_json::to_string(answer)?)?;
            }
            Ok(())
        });
        begun.with_context(named)?;
        Ok(Record {
            file: OpenOptions::new()
                .append(true)
                .open(path)
                .with_context(named)?,
            path: path.to_owned(),
            head,
            answers,
        })
    }

    /// Adds an answer; it is in the file when this returns.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn push(&mut self, answer: Answer) -> Result<()> {
        let line = serde_json::to_string(&answer)? + "\n";
        let written = self.file.write_all(line.as_bytes());
        written.with_context(|| self.path.display().to_string())?;
        self.answers.push(answer);
        Ok(())
    }

    /// How many are right, of all and of each group.
    #[must_use]
    pub fn scores(&self) -> Vec<Score> {
        scores(&self.answers)
    }
}

/// Reads a file; a last line that was cut short is left out.
///
/// # Errors
/// It is none.
pub fn read(path: &Path) -> Result<(Head, Vec<Answer>)> {
    let named = || path.display().to_string();
    let text = fs::read_to_string(path).with_context(named)?;
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut lines = whole.lines();
    let head = lines
        .next()
        .and_then(|line| serde_json::from_str(line).ok());
    let Some(head) = head else {
        bail!(
            "{}: is no file of answers; `inkstone eval run` writes such",
            named()
        );
    };
    let answers = lines.enumerate().map(|(index, line)| {
        let answer: Answer = serde_json::from_str(line)
            .with_context(|| format!("{}: line {}", named(), index + 2))?;
        ensure!(
            answer.row == index,
            "{}: line {}: row {} out of order",
            named(),
            index + 2,
            answer.row
        );
        Ok(answer)
    });
    Ok((head, answers.collect::<Result<_>>()?))
}

/// How many are right, of all and of each group.
#[must_use]
pub fn scores(answers: &[Answer]) -> Vec<Score> {
    let score = |group: String| {
        let values: Vec<f64> = of_group(answers, &group)
            .map(|a| f64::from(u8::from(a.right)))
            .collect();
        let right = values.iter().sum::<f64>();
        let (low, high) = of_share(&values);
        Score {
            group,
            rows: values.len(),
            right: right as usize,
            share: right / values.len().max(1) as f64,
            low,
            high,
        }
    };
    groups(answers).into_iter().map(score).collect()
}

/// Compares two files of answers to the same questions.
///
/// # Errors
/// They are not.
pub fn compare(first: &Path, second: &Path) -> Result<Vec<Difference>> {
    let (a, b) = (read(first)?, read(second)?);
    ensure!(
        a.0.task_hash == b.0.task_hash,
        "{} and {} answer different tasks: {} and {}",
        first.display(),
        second.display(),
        a.0.task,
        b.0.task
    );
    let rows = a.1.len().min(b.1.len());
    ensure!(rows > 0, "there are no rows that both answered");
    let (a, b) = (&a.1[..rows], &b.1[..rows]);
    let difference = |group: String| {
        let pairs = of_group(a, &group).map(|answer| (answer.right, b[answer.row].right));
        let pairs: Vec<(bool, bool)> = pairs.collect();
        let value = |right: bool| f64::from(u8::from(right));
        let changes: Vec<f64> = pairs.iter().map(|(a, b)| value(*b) - value(*a)).collect();
        let (low, high) = interval(&changes);
        let share = |right: usize| right as f64 / pairs.len().max(1) as f64;
        let won = pairs.iter().filter(|(a, b)| *b && !a).count();
        let lost = pairs.iter().filter(|(a, b)| *a && !b).count();
        Difference {
            group,
            rows: pairs.len(),
            first: share(pairs.iter().filter(|(a, _)| *a).count()),
            second: share(pairs.iter().filter(|(_, b)| *b).count()),
            won,
            lost,
            low,
            high,
            p: mcnemar(won, lost),
        }
    };
    Ok(groups(a).into_iter().map(difference).collect())
}

/// `all`, then the names of groups in order.
fn groups(answers: &[Answer]) -> Vec<String> {
    let mut groups: Vec<String> = answers.iter().flat_map(|a| a.groups.clone()).collect();
    groups.sort();
    groups.dedup();
    groups.insert(0, "all".to_owned());
    groups
}

fn of_group<'a>(answers: &'a [Answer], group: &'a str) -> impl Iterator<Item = &'a Answer> {
    let belongs = move |a: &&Answer| group == "all" || a.groups.iter().any(|name| name == group);
    answers.iter().filter(belongs)
}
