//! From a MODEL of the command line to a file: pulled and converted where that is needed, once.

use std::path::{Path, PathBuf};

use inkstone_engine::format::records::Manifest;
use inkstone_engine::{Adapter, Model};
use inkstone_finetune::adapter::Loaded;

use crate::store::{self, Consent, Home, Reference};
use crate::terminal::Terminal;

/// The model, ready to run.
pub(crate) fn model(terminal: &Terminal, name: &str) -> anyhow::Result<Model> {
    let path = store::converted(terminal, &Home::find()?, &Reference::parse(name)?)?;
    terminal.detail(format_args!("opening {}", path.display()));
    Ok(Model::open(&path)?)
}

/// An adapter: a folder as PEFT writes it, or an `.ink` file.
pub(crate) fn adapter(path: &Path) -> anyhow::Result<Adapter> {
    if path.is_dir() {
        return Loaded::open(path)?.adapter(&path.display().to_string());
    }
    Ok(Adapter::open(path)?)
}

/// The file or folder as its origin made it.
pub(crate) fn source(terminal: &Terminal, name: &str) -> anyhow::Result<PathBuf> {
    Ok(source_and_about(terminal, name)?.0)
}

/// The same, with what is known of its rights beside what it says itself.
pub(crate) fn source_and_about(
    terminal: &Terminal,
    name: &str,
) -> anyhow::Result<(PathBuf, Manifest)> {
    match Reference::parse(name)? {
        Reference::Path(path) => Ok((path, Manifest::default())),
        other => {
            let model = store::pull(terminal, &Home::find()?, &other, &Consent::new(&[]))?.model;
            Ok((model.source_path(), model.record.about))
        }
    }
}

/// What there is to show of a model: its conversion where it has one, else what its origin made.
pub(crate) fn shown(terminal: &Terminal, name: &str) -> anyhow::Result<(PathBuf, Manifest)> {
    match Reference::parse(name)? {
        Reference::Path(path) => Ok((path, Manifest::default())),
        other => {
            let model = store::pull(terminal, &Home::find()?, &other, &Consent::new(&[]))?.model;
            let conversion = model.conversions().pop();
            Ok((
                conversion.unwrap_or_else(|| model.source_path()),
                model.record.about,
            ))
        }
    }
}
