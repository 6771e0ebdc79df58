//! `inkstone plan`: what a session takes, before anything is loaded.

use clap::Args;
use serde_json::{Map, json};

use crate::arguments::{Model, Session, Speculation};
use crate::terminal::{Bytes, Terminal};

/// Tell exactly what memory a session takes
///
/// Nothing is loaded and nothing reserved. What is mapped is the file itself; processes that run it share it.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone plan smollm2-135m --context 2048 --kv int8")]
pub(crate) struct Arguments {
    #[command(flatten)]
    model: Model,
    #[command(flatten)]
    session: Session,
    #[command(flatten)]
    speculation: Speculation,
}

/// Plans.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let model = arguments.session.model(terminal, arguments.model.name()?)?;
    let config = arguments.session.config();
    let plan = model.plan(&arguments.speculation.add_to(config, terminal)?)?;
    let rows = plan.rows();
    let value = json!({
        "model": model.path(),
        "context": plan.config.context,
        "batch": plan.config.batch,
        "threads": plan.config.threads,
        "guesses": plan.depth,
        "kv": kv_name(&plan),
        "mapped": plan.mapped,
        "weights": plan.weights,
        "reserved": plan.reserved(),
        "bytes": rows.iter().map(|(name, bytes)| ((*name).to_owned(), (*bytes).into())).collect::<Map<_, _>>(),
    });
    terminal.result(&value, |out| {
        for (name, bytes) in rows {
            writeln!(out, "{name:16} {bytes:>14}  {}", Bytes(bytes))?;
        }
        writeln!(
            out,
            "{:16} {:>14}  {}",
            "reserved",
            plan.reserved(),
            Bytes(plan.reserved())
        )
    })
}

fn kv_name(plan: &inkstone_engine::Plan) -> &'static str {
    let row = inkstone_engine::KVS
        .iter()
        .find(|row| row.1 == plan.config.kv);
    row.expect("`KVS` holds every form").0
}
