//! `inkstone eval list`: the tasks there are.

use clap::Args;
use inkstone_eval::Definition;
use inkstone_eval::task::TASKS;
use serde_json::json;

use super::Materials;
use crate::terminal::{Table, Terminal};

/// List the tasks that come with the program
///
/// Their data does not: `data` says whether it was found. A task of your own is a TOML file like theirs.
#[derive(Args)]
#[command(after_help = "Example:\n  inkstone eval list")]
pub(crate) struct Arguments {
    #[command(flatten)]
    materials: Materials,
}

/// Lists.
pub(crate) fn run(arguments: &Arguments, terminal: &Terminal) -> anyhow::Result<()> {
    let mut table = Table::new(&["task", "about", "licence", "data"]);
    let mut values = Vec::new();
    for (name, _) in TASKS {
        let (task, folder) = Definition::find(name, &arguments.materials.materials)?;
        let path = folder.join(&task.rows);
        let found = path.exists();
        values.push(json!({
            "name": task.name,
            "about": task.about,
            "licence": task.licence,
            "source": task.source,
            "rows": path,
            "found": found,
        }));
        let data = if found { "found" } else { "missing" };
        table.row([task.name, task.about, task.licence, data.to_owned()]);
    }
    terminal.result(&values, |out| table.print(out))
}
