//! `inkstone data generate`: examples that a model makes up.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use inkstone_finetune::generate::{Made, Recipe, generate};
use serde::Deserialize;
use serde_json::json;

use crate::arguments::Session;
use crate::exit::{Interrupted, is_cancelled};
use crate::files;
use crate::interrupt;
use crate::terminal::Terminal;

/// Have a model make examples up
///
/// A recipe in TOML names `prompts`, what answers `begin` with, `words` that are put into both by lot, and how answers are
/// drawn (`sampling`, `tokens`, `seed`); `shape` is "messages" or "text". Many answers are drawn side by side, so that
/// each weight is read once for all of them. A record depends on the recipe, the model and its number alone; answers that
/// are not over in time are left out, or with `unfinished = "cut"` end with their last whole sentence. The same command
/// goes on where it stopped.
#[derive(Args)]
#[command(
    after_help = "Example:\n  inkstone data generate stories.toml -m smollm2-135m -n 1000 -o stories.jsonl"
)]
pub(crate) struct Arguments {
    /// What is asked, a TOML file
    #[arg(value_name = "RECIPE")]
    recipe: PathBuf,
    /// The model that answers
    #[arg(short, long, value_name = "MODEL")]
    model: String,
    /// Records to make, those left out among them
    #[arg(short = 'n', long, value_name = "N")]
    records: u64,
    /// Write them to this file, a line each
    #[arg(short, long, value_name = "FILE.jsonl")]
    output: PathBuf,
    /// Answers that are drawn side by side
    #[arg(long, value_name = "N", default_value_t = 32)]
    sequences: u32,
    /// Begin anew where the file holds records
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    session: Session,
}

/// What a run came to.
#[derive(Default)]
struct Counts {
    written: u64,
    left_out: u64,
    tokens: u64,
}

/// Makes examples up.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let path = &arguments.recipe;
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let recipe = Recipe::parse(&text).with_context(|| path.display().to_string())?;
    files::has_folder(&arguments.output)?;
    let model = arguments.session.model(terminal, &arguments.model)?;
    let config = arguments.session.config();
    let mut sequences = model.sequences(&config, arguments.sequences)?;
    let name = arguments.output.display();
    let Begun {
        mut file,
        mut last,
        whole,
    } = open(&arguments.output, arguments.yes)?;
    if let Some((index, _)) = &last {
        let next = index + 1;
        terminal.note(format_args!("{name}: goes on with record {next}"));
    }
    interrupt::cancels(sequences.canceller());
    let progress = terminal.steps("records", arguments.records);
    let (mut counts, mut stopped) = (Counts::default(), false);
    // The last record is made once more: only what made it goes on.
    let first = last.as_ref().map_or(0, |(index, _)| *index);
    let mut made = |made: Made| {
        if let Some((index, line)) = last.take() {
            ensure!(
                made.line == Some(line),
                "{name}: record {index} is not what this recipe, model and options make; -y begins anew"
            );
            // It is this recipe's: a line that was cut may go.
            file.set_len(whole)?;
            return Ok(true);
        }
        counts.tokens += u64::from(made.tokens);
        match &made.line {
            Some(line) => {
                writeln!(file, "{line}")?;
                counts.written += 1;
            }
            None => counts.left_out += 1,
        }
        progress.at(made.index + 1);
        progress.say(&format!("{} tokens", counts.tokens));
        stopped = interrupt::take();
        Ok(!stopped)
    };
    let range = (first, arguments.records);
    let done = generate(&recipe, &model, &mut sequences, range, &mut made);
    drop(progress);
    file.sync_all()?;
    let cancelled = done.as_ref().is_err_and(|e| e.chain().any(is_cancelled));
    if stopped || cancelled {
        terminal.note(format_args!("stopped; the same command goes on"));
        return Err(Interrupted.into());
    }
    done?;
    let value = json!({
        "records": arguments.output,
        "written": counts.written,
        "left_out": counts.left_out,
        "tokens": counts.tokens,
    });
    terminal.result(&value, |out| {
        writeln!(
            out,
            "{} records written, {} left out, {} tokens drawn",
            counts.written, counts.left_out, counts.tokens
        )
    })
}

/// What is read of a line.
#[derive(Deserialize)]
struct Line {
    index: u64,
}

/// A file that is gone on with.
struct Begun {
    file: File,
    /// Number and line of its last record.
    last: Option<(u64, String)>,
    /// Bytes of whole lines, behind which to go on.
    whole: u64,
}

fn open(path: &Path, anew: bool) -> anyhow::Result<Begun> {
    let named = || path.display().to_string();
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(anew);
    let file = options.open(path).with_context(named)?;
    let mut reader = BufReader::new(&file);
    let (mut whole, mut last) = (0, None);
    loop {
        let mut line = String::new();
        let bytes = reader.read_line(&mut line).with_context(named)?;
        let cut = bytes == 0 || !line.ends_with('\n');
        if cut && (bytes == 0 || last.is_some()) {
            break;
        }
        let read = if cut {
            None
        } else {
            serde_json::from_str(&line).ok()
        };
        let Some(Line { index }) = read else {
            bail!("{}: holds something else; -y begins anew", named());
        };
        line.pop();
        last = Some((index, line));
        whole += bytes as u64;
    }
    drop(reader);
    let mut file = file;
    io::Seek::seek(&mut file, io::SeekFrom::Start(whole))?;
    Ok(Begun { file, last, whole })
}
