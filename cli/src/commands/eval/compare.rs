//! `inkstone eval compare`: two files of answers, row by row.

use std::path::PathBuf;

use clap::Args;
use inkstone_eval::record::compare;

use super::{interval, percent};
use crate::terminal::{Table, Terminal};

/// Tell how two runs of a task differ
///
/// `won` counts rows that the second alone has right, `lost` those of the first alone. `p` is how likely a difference as great
/// is where chance decides both (McNemar's exact test): under 0.05, chance is an unlikely reason. The interval of the
/// difference is of rows resampled in pairs.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone eval compare before.jsonl after.jsonl")]
pub(crate) struct Arguments {
    /// Answers that `eval run` wrote
    first: PathBuf,
    /// Others, to the same questions
    second: PathBuf,
}

/// Compares.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let differences = compare(&arguments.first, &arguments.second)?;
    let mut table = Table::new(&[
        "group",
        "rows",
        "first",
        "second",
        "won",
        "lost",
        "difference",
        "95 % interval",
        "p",
    ]);
    for d in &differences {
        table.row([
            d.group.clone(),
            d.rows.to_string(),
            percent(d.first),
            percent(d.second),
            d.won.to_string(),
            d.lost.to_string(),
            format!("{:+.1}", 100.0 * (d.second - d.first)),
            interval(d.low, d.high),
            format!("{:.3}", d.p),
        ]);
    }
    terminal.result(&differences, |out| table.print(out))
}
