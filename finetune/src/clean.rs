//! Texts worth learning from: rules, texts said before, texts of a test set, and what a model finds improbable are
//! dropped, each counted under its reason. Files are read twice and never held.

mod index;
mod rules;
mod stream;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, anyhow, bail};
use rayon::prelude::*;

use crate::duplicates::Print;
use index::{Found, Index, Like};
use rules::Text;
use stream::{Record, Records};

pub use rules::{RULES, Rule};

/// Records that are looked at together.
const BATCH: usize = 1024;
/// Bytes of records that are looked at together, about.
const BATCH_BYTES: usize = 16 << 20;

/// What is kept.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Limits of rules, in the order of [`RULES`]; `None` where a rule does not count.
    pub limits: Vec<Option<f64>>,
    /// Share of shingles from which two texts are the same.
    pub near: f64,
    /// Files whose texts must not be among those that are kept.
    pub test: Vec<PathBuf>,
}

/// What became of records.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counts {
    /// Records read.
    pub records: usize,
    /// Bytes read.
    pub bytes: u64,
    /// Records kept.
    pub kept: usize,
    /// Bytes kept.
    pub kept_bytes: u64,
    /// Records dropped, by reason.
    pub dropped: BTreeMap<String, usize>,
}

/// Why a record is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Rule(u8),
    Exact,
    Near,
    Leak,
}

/// How far it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Records looked at.
    Read(u64),
    /// Records written or dropped.
    Written(u64),
}

/// Says whether a text goes, and why.
pub type Verdict<'a> = &'a mut dyn FnMut(&str) -> Result<Option<&'static str>>;

/// Where records go.
pub struct Sinks<'a> {
    /// Those that are kept, as they stood.
    pub kept: &'a mut dyn Write,
    /// The others, with the reason: JSON Lines of `reason` and `text`.
    pub dropped: Option<&'a mut dyn Write>,
    /// Is asked of texts that passed everything else: what costs most comes last.
    pub last: Option<Verdict<'a>>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            limits: RULES.iter().map(|rule| Some(rule.limit)).collect(),
            near: 0.8,
            test: Vec::new(),
        }
    }
}

impl Settings {
    /// Sets `NAME=LIMIT` or `NAME=off`.
    ///
    /// # Errors
    /// There is no such rule, or the limit is no number.
    pub fn set(&mut self, text: &str) -> Result<()> {
        let names = || {
            RULES
                .iter()
                .map(|rule| rule.name)
                .collect::<Vec<_>>()
                .join(", ")
        };
        let (name, limit) = text
            .split_once('=')
            .ok_or_else(|| anyhow!("`{text}`: wanted RULE=LIMIT or RULE=off"))?;
        let Some(place) = RULES.iter().position(|rule| rule.name == name) else {
            bail!("`{name}` is no rule; rules are {}", names());
        };
        self.limits[place] = match limit {
            "off" => None,
            text => {
                let limit = text.parse().ok();
                let limit = limit.filter(|limit: &f64| limit.is_finite() && *limit >= 0.0);
                Some(
                    limit
                        .ok_or_else(|| anyhow!("`{text}` is neither a number from 0 on nor off"))?,
                )
            }
        };
        Ok(())
    }
}

/// Cleans files. `progress` hears how far it is and ends the work by returning false.
///
/// # Errors
/// A file cannot be read or written, its record is none, or the work was ended.
pub fn clean(
    files: &[PathBuf],
    settings: &Settings,
    sinks: Sinks<'_>,
    progress: &mut dyn FnMut(Stage) -> bool,
) -> Result<Counts> {
    let mut index = Index::new()?;
    for file in &settings.test {
        for record in Records::open(file)? {
            index.add(&Print::of(&record?.text))?;
        }
    }
    let tests = index.len();
    let mut reasons = read(files, settings, &mut index, progress)?;
    let found = index.find(settings.near)?;
    mark(&mut reasons, tests, &found);
    drop(found);
    write(files, &reasons, sinks, progress)
}

/// What rules say of each record; the others are indexed.
fn read(
    files: &[PathBuf],
    settings: &Settings,
    index: &mut Index,
    progress: &mut dyn FnMut(Stage) -> bool,
) -> Result<Vec<Option<Reason>>> {
    let mut reasons = Vec::new();
    let mut bytes = 0;
    for file in files {
        let mut records = Records::open(file)?;
        loop {
            let batch = batch(&mut records)?;
            if batch.is_empty() {
                break;
            }
            let looks = batch.par_iter().map(|record| look(record, settings));
            for look in looks.collect::<Vec<_>>() {
                match look {
                    Ok(print) => {
                        index.add(&print)?;
                        reasons.push(None);
                    }
                    Err(reason) => reasons.push(Some(reason)),
                }
            }
            bytes += batch
                .iter()
                .map(|record| record.raw.len() as u64)
                .sum::<u64>();
            if !progress(Stage::Read(bytes)) {
                bail!("stopped");
            }
        }
    }
    Ok(reasons)
}

fn batch(records: &mut Records) -> Result<Vec<Record>> {
    let (mut batch, mut bytes) = (Vec::new(), 0);
    while batch.len() < BATCH && bytes < BATCH_BYTES {
        let Some(record) = records.next() else { break };
        let record = record?;
        bytes += record.raw.len();
        batch.push(record);
    }
    Ok(batch)
}

fn look(record: &Record, settings: &Settings) -> Result<Print, Reason> {
    let text = Text::new(&record.text);
    let rules = RULES.iter().zip(&settings.limits);
    for (place, (rule, limit)) in rules.enumerate() {
        if limit.is_some_and(|limit| rule.drops(&text, limit)) {
            return Err(Reason::Rule(place as u8));
        }
    }
    Ok(Print::of(&record.text))
}

/// Marks records that say what was said before; texts of the index begin with those of the test set.
fn mark(reasons: &mut [Option<Reason>], tests: usize, found: &Found) {
    let open = reasons.iter_mut().filter(|reason| reason.is_none());
    for (place, reason) in open.enumerate() {
        *reason = found.like(tests + place).map(|(first, like)| match like {
            _ if first < tests => Reason::Leak,
            Like::Exactly => Reason::Exact,
            Like::Nearly => Reason::Near,
        });
    }
}

fn write(
    files: &[PathBuf],
    reasons: &[Option<Reason>],
    mut sinks: Sinks<'_>,
    progress: &mut dyn FnMut(Stage) -> bool,
) -> Result<Counts> {
    let mut counts = Counts::default();
    let mut head = None;
    for file in files {
        let records = Records::open(file)?;
        let columns = records.head()?;
        match &head {
            None => sinks.kept.write_all(&columns)?,
            Some(first) if *first == columns => {}
            Some(_) => bail!(
                "{}: has other columns than {}, or none; clean it apart",
                file.display(),
                files[0].display()
            ),
        }
        head = Some(columns);
        for record in records {
            let record = record?;
            let Some(reason) = reasons.get(counts.records) else {
                bail!("{}: grew while it was read", file.display());
            };
            counts.records += 1;
            counts.bytes += record.raw.len() as u64;
            let reason = match (reason, &mut sinks.last) {
                (Some(reason), _) => Some(reason.name()),
                (None, Some(last)) => last(&record.text)?,
                (None, None) => None,
            };
            if let Some(reason) = reason {
                *counts.dropped.entry(reason.to_owned()).or_default() += 1;
                if let Some(dropped) = &mut sinks.dropped {
                    let line = serde_json::json!({"reason": reason, "text": record.text});
                    writeln!(dropped, "{line}")?;
                }
            } else {
                counts.kept += 1;
                counts.kept_bytes += record.raw.len() as u64;
                sinks.kept.write_all(&record.raw)?;
            }
            if counts.records % BATCH == 0 && !progress(Stage::Written(counts.bytes)) {
                bail!("stopped");
            }
        }
    }
    Ok(counts)
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Reason::Rule(place) => RULES[usize::from(place)].name,
            Reason::Exact => "exact_duplicate",
            Reason::Near => "near_duplicate",
            Reason::Leak => "in_test_set",
        }
    }
}
