//! `inkstone bench`: how fast a model runs here, beside what the machine allows.

use std::time::Instant;

use anyhow::bail;
use clap::Args;
use inkstone_cpu::{Isa, probe};
use inkstone_engine::{Model, Session, Step};
use inkstone_model::weights::NO_LAYER;
use serde_json::{Value, json};

use crate::arguments;
use crate::interrupt;
use crate::machine;
use crate::resolve;
use crate::terminal::{Table, Terminal};

/// Measure how fast a model runs here
///
/// Prefill reads many tokens at once, decode one after the other. Decode must read all weights for every token: the
/// memory's measured speed is its limit. Prefill is limited by how fast the processor multiplies small integers.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone bench smollm2-135m --prefill 128,512 --decode 64")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: arguments::Model,
    /// Lengths of prompts
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "128,512", value_parser = clap::value_parser!(u32).range(1..))]
    prefill: Vec<u32>,
    /// Tokens that are decoded
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u32).range(1..))]
    decode: u32,
    /// Positions that stand in the context when decoding begins
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_value = "0")]
    depth: Vec<u32>,
    /// How often each is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    repeat: u32,
    #[command(flatten)]
    session: arguments::Session,
}

/// One line of the table.
struct Row {
    test: String,
    tokens: u32,
    seconds: f64,
    /// Tokens a second that the memory (decode) or the processor (prefill) allows, where it was measured.
    limit: Option<f64>,
}

impl Row {
    fn rate(&self) -> f64 {
        f64::from(self.tokens) / self.seconds
    }
}

/// Measures and prints.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let model = resolve::model(terminal, arguments.model.name()?)?;
    let mut config = arguments.session.config();
    let longest = arguments
        .prefill
        .iter()
        .chain(&arguments.depth)
        .max()
        .copied()
        .unwrap_or(0);
    config
        .context
        .get_or_insert(longest.saturating_add(arguments.decode).saturating_add(1));
    let mut session = model.session(&config)?;
    interrupt::cancels(session.canceller());
    let threads = session.plan().config.threads;
    terminal.note("measuring memory and processor");
    let bandwidth = probe::read_bandwidth(threads as usize);
    let isa = Isa::from_env()?;
    let int8 = probe::int8_rate(isa, threads as usize);
    let (bytes, operations) = (bytes_per_token(&model), operations_per_token(&model));
    let mut rows = Vec::new();
    for &tokens in &arguments.prefill {
        terminal.note(format_args!("prefill of {tokens}"));
        let seconds = median(arguments.repeat, || prefill(&mut session, tokens))?;
        rows.push(Row {
            test: format!("prefill {tokens}"),
            tokens,
            seconds,
            limit: int8.map(|rate| rate / operations as f64),
        });
    }
    for &depth in &arguments.depth {
        terminal.note(format_args!("decode of {} at {depth}", arguments.decode));
        let seconds = median(arguments.repeat, || {
            decode(&mut session, depth, arguments.decode)
        })?;
        let limit = Some(bandwidth / bytes as f64);
        rows.push(Row {
            test: format!("decode {} at {depth}", arguments.decode),
            tokens: arguments.decode,
            seconds,
            limit,
        });
    }
    let value = json!({
        "model": model.name(),
        "id": inkstone_engine::hash::hex(&model.id()),
        "processor": machine::processor(),
        "device": config.device,
        "threads": threads,
        "weight_bytes_per_token": bytes,
        "memory_bytes_per_second": bandwidth,
        "prefill_operations_per_token": operations,
        "int8_operations_per_second": int8,
        "rows": rows.iter().map(row_value).collect::<Vec<_>>(),
    });
    terminal.result(&value, |out| {
        writeln!(
            out,
            "{}, {threads} threads, {}",
            model.name(),
            machine::processor().unwrap_or_default()
        )?;
        writeln!(
            out,
            "memory reads {:.1} GB/s, a token {:.1} MB of weights",
            bandwidth / 1e9,
            bytes as f64 / 1e6
        )?;
        if let Some(rate) = int8 {
            writeln!(
                out,
                "{} does {:.2} int8 Top/s, a token of a prompt takes {:.2} Gop",
                isa.name(),
                rate / 1e12,
                operations as f64 / 1e9
            )?;
        }
        table(&rows).print(out)
    })
}

fn table(rows: &[Row]) -> Table<4> {
    let mut table = Table::new(&["TEST", "TOKENS/S", "MS/TOKEN", "OF THE MACHINE'S LIMIT"]);
    for row in rows {
        let share = |limit: f64| format!("{:.0} % of {limit:.1}/s", row.rate() / limit * 100.0);
        table.row([
            row.test.clone(),
            format!("{:.1}", row.rate()),
            format!("{:.2}", 1000.0 / row.rate()),
            row.limit.map_or(String::new(), share),
        ]);
    }
    table
}

fn row_value(row: &Row) -> Value {
    json!({
        "test": row.test,
        "tokens": row.tokens,
        "seconds": row.seconds,
        "tokens_per_second": row.rate(),
        "limit_tokens_per_second": row.limit,
    })
}

/// Bytes of all matrices that every token is multiplied with; an embedding that is only looked up is not among them.
fn bytes_per_token(model: &Model) -> u64 {
    let tensors = model.file().tensors();
    tensors
        .filter(|tensor| tensor.panel_rows > 1)
        .map(|tensor| tensor.bytes)
        .sum()
}

/// Products and additions of every layer's matrices with one token; the head is only multiplied with the last one.
fn operations_per_token(model: &Model) -> u64 {
    let tensors = model.file().tensors();
    tensors
        .filter(|tensor| tensor.panel_rows > 1 && tensor.layer != NO_LAYER)
        .map(|tensor| 2 * u64::from(tensor.rows) * u64::from(tensor.inputs))
        .sum()
}

/// Time that a prompt takes.
fn prefill(session: &mut Session, tokens: u32) -> anyhow::Result<f64> {
    session.rewind(0)?;
    feed_some(session, tokens)?;
    let start = Instant::now();
    drain(session)?;
    Ok(start.elapsed().as_secs_f64())
}

/// Time that `tokens` tokens take, one by one, behind `depth` others.
fn decode(session: &mut Session, depth: u32, tokens: u32) -> anyhow::Result<f64> {
    session.rewind(0)?;
    feed_some(session, depth.max(1))?;
    drain(session)?;
    let start = Instant::now();
    for token in 0..tokens {
        feed_at(session, token)?;
        drain(session)?;
    }
    Ok(start.elapsed().as_secs_f64())
}

fn feed_some(session: &mut Session, tokens: u32) -> anyhow::Result<()> {
    (0..tokens).try_for_each(|n| feed_at(session, n))
}

/// Some token: which one makes no difference to the time.
fn feed_at(session: &mut Session, n: u32) -> anyhow::Result<()> {
    let vocabulary = session.model().spec().vocabulary;
    Ok(session.feed(&[n.wrapping_mul(7919) % vocabulary])?)
}

fn drain(session: &mut Session) -> anyhow::Result<()> {
    loop {
        interrupt::check()?;
        match session.advance()? {
            Step::Ready => return Ok(()),
            Step::More { .. } => {}
            Step::Idle => bail!("the session has nothing to run"),
        }
    }
}

fn median(times: u32, mut measure: impl FnMut() -> anyhow::Result<f64>) -> anyhow::Result<f64> {
    let mut seconds = (0..times)
        .map(|_| measure())
        .collect::<anyhow::Result<Vec<_>>>()?;
    seconds.sort_by(f64::total_cmp);
    Ok(seconds[seconds.len() / 2])
}
