//! `inkstone bench`: how fast a model runs here, beside what the machine allows.

mod sustain;

use std::io::{self, Write};
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
use crate::terminal::{Table, Terminal};

/// Measure how fast a model runs here
///
/// Prefill reads many tokens at once, decode one after the other. Decode must read all weights for every token: the
/// memory's measured speed is its limit. Prefill is limited by how fast the processor multiplies small integers.
#[derive(Args)]
#[command(
    after_help = "Examples:\n  inkstone bench smollm2-135m --prefill 128,512 --decode 64\n  inkstone bench smollm2-135m --sustain 300"
)]
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
    /// Then decode for this long, to see whether the speed lasts
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..))]
    sustain: Option<u32>,
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
    let model = arguments.session.model(terminal, arguments.model.name()?)?;
    let mut config = arguments.session.config();
    config.context.get_or_insert(arguments.positions());
    let mut session = model.session(&config)?;
    interrupt::cancels(session.canceller());
    terminal.note("measuring memory and processor");
    let limits = Limits::probe(&model, session.plan().config.threads)?;
    let rows = measure(arguments, &mut session, &limits, terminal)?;
    let sustained = match arguments.sustain {
        Some(seconds) => {
            terminal.note(format_args!("decode for {seconds} s"));
            let depth = arguments.depth.first().copied().unwrap_or(0);
            Some(sustain::sustain(
                &mut session,
                depth,
                arguments.decode,
                seconds,
            )?)
        }
        None => None,
    };
    let value = json!({
        "model": model.name(),
        "id": inkstone_engine::hash::hex(&model.id()),
        "processor": machine::processor(),
        "device": config.device,
        "threads": limits.threads,
        "weight_bytes_per_token": limits.bytes,
        "memory_bytes_per_second": limits.bandwidth,
        "prefill_operations_per_token": limits.operations,
        "int8_operations_per_second": limits.int8,
        "rows": rows.iter().map(row_value).collect::<Vec<_>>(),
        "sustained": sustained.as_ref().map(sustain::Sustained::value),
    });
    terminal.result(&value, |out| {
        limits.print(&model, out)?;
        table(&rows).print(out)?;
        sustained.map_or(Ok(()), |sustained| sustained.print(out))
    })
}

impl Arguments {
    /// Positions that the measurements need.
    fn positions(&self) -> u32 {
        let lengths = self.prefill.iter().chain(&self.depth);
        let longest = lengths.max().copied().unwrap_or(0);
        longest.saturating_add(self.decode).saturating_add(1)
    }
}

/// What the machine does at most, and what a token asks of it.
struct Limits {
    threads: u32,
    /// Bytes a second that memory gives.
    bandwidth: f64,
    isa: Isa,
    /// Operations a second, where they were measured.
    int8: Option<f64>,
    /// Bytes of weights of a token.
    bytes: u64,
    /// Operations of a prompt's token.
    operations: u64,
}

impl Limits {
    fn probe(model: &Model, threads: u32) -> anyhow::Result<Limits> {
        let isa = Isa::from_env()?;
        Ok(Limits {
            threads,
            bandwidth: probe::read_bandwidth(threads as usize),
            isa,
            int8: probe::int8_rate(isa, threads as usize),
            bytes: bytes_per_token(model),
            operations: operations_per_token(model),
        })
    }

    fn print(&self, model: &Model, out: &mut dyn Write) -> io::Result<()> {
        writeln!(
            out,
            "{}, {} threads, {}",
            model.name(),
            self.threads,
            machine::processor().unwrap_or_default()
        )?;
        writeln!(
            out,
            "memory reads {:.1} GB/s, a token {:.1} MB of weights",
            self.bandwidth / 1e9,
            self.bytes as f64 / 1e6
        )?;
        match self.int8 {
            Some(rate) => writeln!(
                out,
                "{} does {:.2} int8 Top/s, a token of a prompt takes {:.2} Gop",
                self.isa.name(),
                rate / 1e12,
                self.operations as f64 / 1e9
            ),
            None => Ok(()),
        }
    }
}

/// Every row of the table.
fn measure(
    arguments: &Arguments,
    session: &mut Session,
    limits: &Limits,
    terminal: &Terminal,
) -> anyhow::Result<Vec<Row>> {
    let mut rows = Vec::new();
    for &tokens in &arguments.prefill {
        terminal.note(format_args!("prefill of {tokens}"));
        let seconds = median(arguments.repeat, || prefill(session, tokens))?;
        rows.push(Row {
            test: format!("prefill {tokens}"),
            tokens,
            seconds,
            limit: limits.int8.map(|rate| rate / limits.operations as f64),
        });
    }
    for &depth in &arguments.depth {
        terminal.note(format_args!("decode of {} at {depth}", arguments.decode));
        let seconds = median(arguments.repeat, || {
            fill(session, depth)?;
            decode(session, arguments.decode)
        })?;
        rows.push(Row {
            test: format!("decode {} at {depth}", arguments.decode),
            tokens: arguments.decode,
            seconds,
            limit: Some(limits.bandwidth / limits.bytes as f64),
        });
    }
    Ok(rows)
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

/// Makes `depth` tokens, at least one, the sequence.
fn fill(session: &mut Session, depth: u32) -> anyhow::Result<()> {
    session.rewind(0)?;
    feed_some(session, depth.max(1))?;
    drain(session)
}

/// Time that `tokens` tokens take, one by one.
fn decode(session: &mut Session, tokens: u32) -> anyhow::Result<f64> {
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
