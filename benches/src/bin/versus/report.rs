//! What was found: as tables, and as JSON.

use crate::arguments::Arguments;
use crate::limits::Machine;
use crate::statistics::Spread;
use crate::{note, plot};
use anyhow::Result;
use inkstone_benches::protocol::Memory;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};

/// What llama.cpp must say of itself to be at its best on a processor that has the instructions.
static BEST: &[(&str, &str)] = &[
    ("amx_int8", "AMX_INT8 = 1"),
    ("avx512_vnni", "AVX512_VNNI = 1"),
    ("avx2", "REPACK = 1"),
];

/// Everything that was found.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<Row>,
    opened: Vec<Opened>,
    contests: Vec<Value>,
    machines: Vec<Machine>,
    builds: BTreeMap<&'static str, String>,
    perplexities: Vec<Perplexity>,
    kv: Vec<KvQuality>,
}

/// A test: ours against theirs.
pub(crate) struct Row {
    pub(crate) case: &'static str,
    pub(crate) phase: &'static str,
    pub(crate) tokens: u32,
    pub(crate) depth: u32,
    pub(crate) threads: u32,
    pub(crate) ratio: Spread,
    pub(crate) ours: Figure,
    pub(crate) theirs: Figure,
}

/// How fast a side was.
pub(crate) struct Figure {
    pub(crate) format: &'static str,
    /// Tokens a second.
    pub(crate) rate: Spread,
    pub(crate) bytes_per_token: Option<u64>,
    /// The share of the bytes that memory gives.
    pub(crate) of_bandwidth: Option<f64>,
    /// The share of the products that the processor does.
    pub(crate) of_int8: Option<f64>,
}

/// How a file was opened, and the memory in use at the end.
pub(crate) struct Opened {
    pub(crate) case: &'static str,
    pub(crate) side: &'static str,
    pub(crate) format: &'static str,
    pub(crate) threads: u32,
    pub(crate) context: u32,
    pub(crate) file_bytes: u64,
    pub(crate) memory: Memory,
    pub(crate) open_seconds: Spread,
    pub(crate) first_token_seconds: Spread,
}

/// How good a file is.
#[derive(Serialize)]
struct Perplexity {
    case: &'static str,
    side: &'static str,
    format: &'static str,
    perplexity: f64,
    chunks: u32,
}

/// How good our file is with keys and values stored in a form.
#[derive(Serialize)]
pub(crate) struct KvQuality {
    pub(crate) case: &'static str,
    pub(crate) kv: &'static str,
    pub(crate) perplexity: f64,
    /// Mean loss of a token of what a needle in a haystack told.
    pub(crate) needle_loss: f64,
}

impl Row {
    /// What was run, in words.
    pub(crate) fn test(&self) -> String {
        let threads = if self.threads == 1 {
            "1 thread"
        } else {
            &format!("{} threads", self.threads)
        };
        match self.depth {
            0 => format!("{} {}, {threads}", self.phase, self.tokens),
            depth => format!("{} {} at {depth}, {threads}", self.phase, self.tokens),
        }
    }
}

impl Report {
    pub(crate) fn machine(&mut self, machine: Machine) {
        self.machines.push(machine);
    }

    pub(crate) fn contest(&mut self, case: &str, format: &str, prefill: f64, decode: f64) {
        self.contests.push(json!({
            "case": case, "format": format, "prefill": prefill, "decode": decode,
        }));
    }

    pub(crate) fn rows(&mut self, rows: Vec<Row>) {
        self.rows.extend(rows);
    }

    pub(crate) fn opened(&mut self, opened: Opened) {
        self.opened.push(opened);
    }

    pub(crate) fn perplexity(
        &mut self,
        case: &'static str,
        side: &'static str,
        format: &'static str,
        perplexity: f64,
        chunks: u32,
    ) {
        self.perplexities.push(Perplexity {
            case,
            side,
            format,
            perplexity,
            chunks,
        });
    }

    pub(crate) fn kv(&mut self, quality: KvQuality) {
        self.kv.push(quality);
    }

    /// Keeps how a side was built; warns where it is not at its best.
    pub(crate) fn build(&mut self, side: &'static str, build: &str) {
        if side == "theirs" && !self.builds.contains_key(side) {
            let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
            for (_, says) in BEST.iter().filter(|(has, _)| info.contains(has)) {
                if !build.contains(says) {
                    note(format_args!(
                        "llama.cpp does not say {says}: it is not at its best"
                    ));
                }
            }
        }
        self.builds.insert(side, build.to_owned());
    }

    /// Prints what was asked for.
    pub(crate) fn print(&self, arguments: &Arguments) -> Result<()> {
        if let Some(path) = &arguments.svg {
            plot::write(&self.rows, path)?;
        }
        if !arguments.json {
            return Ok(self.tables(&mut io::stdout().lock())?);
        }
        self.tables(&mut io::stderr().lock())?;
        let mut out = io::stdout().lock();
        serde_json::to_writer_pretty(&mut out, &self.value())?;
        Ok(writeln!(out)?)
    }

    /// Everything, as JSON.
    pub(crate) fn value(&self) -> Value {
        json!({
            "rows": self.rows.iter().map(row_value).collect::<Vec<_>>(),
            "opened": self.opened.iter().map(opened_value).collect::<Vec<_>>(),
            "contests": self.contests,
            "machine": {
                "processor": processor(),
                "probes": self.machines,
            },
            "builds": self.builds,
            "perplexity": self.perplexities,
            "kv_quality": self.kv,
        })
    }

    fn tables(&self, out: &mut dyn Write) -> io::Result<()> {
        for (side, build) in &self.builds {
            writeln!(out, "{side}: {build}")?;
        }
        for machine in &self.machines {
            let int8 = machine.int8_per_second.unwrap_or_default() / 1e12;
            let memory = machine.bytes_per_second / 1e9;
            let threads = machine.threads;
            writeln!(
                out,
                "{threads} threads read {memory:.1} GB/s and do {int8:.2} int8 Top/s"
            )?;
        }
        table(out, &ROW_HEADING, self.rows.iter().map(row_cells).collect())?;
        let opened = self.opened.iter().map(opened_cells).collect();
        table(out, &OPENED_HEADING, opened)?;
        let perplexities = self.perplexities.iter().map(perplexity_cells).collect();
        table(out, &PERPLEXITY_HEADING, perplexities)?;
        let kv = self.kv.iter().map(kv_cells).collect();
        table(out, &KV_HEADING, kv)
    }
}

fn processor() -> Option<String> {
    let info = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = info
        .lines()
        .find_map(|line| line.strip_prefix("model name"))?;
    Some(line.trim_start_matches([' ', '\t', ':']).to_owned())
}

fn row_value(row: &Row) -> Value {
    let mut value = Map::new();
    let mut put = |key: &str, of: Value| value.insert(key.to_owned(), of);
    put("case", json!(row.case));
    put("phase", json!(row.phase));
    put("tokens", json!(row.tokens));
    put("depth", json!(row.depth));
    put("threads", json!(row.threads));
    put("ratio", json!(row.ratio.median));
    put("ratio_low", json!(row.ratio.low));
    put("ratio_high", json!(row.ratio.high));
    for (side, figure) in [("ours", &row.ours), ("theirs", &row.theirs)] {
        put(side, json!(figure.rate.median));
        put(&format!("{side}_low"), json!(figure.rate.low));
        put(&format!("{side}_high"), json!(figure.rate.high));
        put(&format!("{side}_format"), json!(figure.format));
        put(
            &format!("{side}_bytes_per_token"),
            json!(figure.bytes_per_token),
        );
        put(&format!("{side}_of_bandwidth"), json!(figure.of_bandwidth));
        put(&format!("{side}_of_int8"), json!(figure.of_int8));
    }
    Value::Object(value)
}

fn opened_value(opened: &Opened) -> Value {
    json!({
        "case": opened.case,
        "side": opened.side,
        "format": opened.format,
        "threads": opened.threads,
        "context": opened.context,
        "file_bytes": opened.file_bytes,
        "private_bytes": opened.memory.private,
        "shared_bytes": opened.memory.shared,
        "open_seconds": opened.open_seconds,
        "first_token_seconds": opened.first_token_seconds,
    })
}

const ROW_HEADING: [&str; 9] = [
    "CASE", "TEST", "OURS", "TOKENS/S", "OF LIMIT", "THEIRS", "TOKENS/S", "OF LIMIT", "RATIO",
];

fn row_cells(row: &Row) -> Vec<String> {
    let mut cells = vec![row.case.to_owned(), row.test()];
    for figure in [&row.ours, &row.theirs] {
        let share = figure.of_bandwidth.or(figure.of_int8);
        cells.push(figure.format.to_owned());
        cells.push(format!("{:.1}", figure.rate.median));
        cells.push(share.map_or(String::new(), |share| format!("{:.0} %", 100.0 * share)));
    }
    let Spread { low, median, high } = row.ratio;
    cells.push(format!("{median:.2} ({low:.2} to {high:.2})"));
    cells
}

const OPENED_HEADING: [&str; 9] = [
    "CASE",
    "SIDE",
    "FORMAT",
    "THREADS",
    "FILE MB",
    "PRIVATE MB",
    "SHARED MB",
    "OPEN MS",
    "FIRST TOKEN MS",
];

fn opened_cells(opened: &Opened) -> Vec<String> {
    let megabytes = |bytes: u64| format!("{:.1}", bytes as f64 / 1e6);
    let milliseconds = |spread: Spread| format!("{:.1}", 1e3 * spread.median);
    vec![
        opened.case.to_owned(),
        opened.side.to_owned(),
        opened.format.to_owned(),
        opened.threads.to_string(),
        megabytes(opened.file_bytes),
        megabytes(opened.memory.private),
        megabytes(opened.memory.shared),
        milliseconds(opened.open_seconds),
        milliseconds(opened.first_token_seconds),
    ]
}

const PERPLEXITY_HEADING: [&str; 5] = ["CASE", "SIDE", "FORMAT", "CHUNKS", "PERPLEXITY"];

fn perplexity_cells(quality: &Perplexity) -> Vec<String> {
    vec![
        quality.case.to_owned(),
        quality.side.to_owned(),
        quality.format.to_owned(),
        quality.chunks.to_string(),
        format!("{:.4}", quality.perplexity),
    ]
}

const KV_HEADING: [&str; 4] = ["CASE", "KEYS AND VALUES", "PERPLEXITY", "NEEDLE LOSS"];

fn kv_cells(quality: &KvQuality) -> Vec<String> {
    vec![
        quality.case.to_owned(),
        quality.kv.to_owned(),
        format!("{:.4}", quality.perplexity),
        format!("{:.4}", quality.needle_loss),
    ]
}

/// A blank line, then columns as wide as what stands in them; nothing where there are no rows.
fn table(out: &mut dyn Write, heading: &[&str], rows: Vec<Vec<String>>) -> io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let heading = heading.iter().map(|&cell| cell.to_owned()).collect();
    let rows: Vec<Vec<String>> = [heading].into_iter().chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..rows[0].len()).filter_map(width).collect();
    for row in &rows {
        let cells = row.iter().zip(&widths);
        let line: Vec<String> = cells
            .map(|(cell, &width)| format!("{cell:width$}"))
            .collect();
        writeln!(out, "{}", line.join("  ").trim_end())?;
    }
    Ok(())
}
