//! Conversions: whatever is named becomes an `.ink` file, once, in the cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::Context;
use inkstone_converter::Source;
use inkstone_converter::convert::{self, Options, Report};
use inkstone_engine::Model;
use inkstone_engine::format::records::Manifest;
use inkstone_engine::format::{MAJOR, MINOR};
use sha2::{Digest, Sha256};

use super::disk;
use super::home::Home;
use super::installed::{Installed, Record};
use super::licence::Consent;
use super::pull::{key_of, pull};
use super::reference::Reference;
use crate::exit::Interrupted;
use crate::interrupt;
use crate::terminal::Terminal;
use crate::text_side::is_ink;

/// The `.ink` file of a model: the one that was named, or a conversion that is made where it is not here yet.
pub(crate) fn converted(
    terminal: &Terminal,
    home: &Home,
    reference: &Reference,
) -> anyhow::Result<PathBuf> {
    match reference {
        Reference::Path(path) if !path.is_dir() && is_ink(path)? => Ok(path.clone()),
        Reference::Path(path) => of_file(terminal, home, path),
        _ => {
            let model = pull(terminal, home, reference, &Consent::new(&[]))?.model;
            let from = model.source_path();
            if !from.is_dir() && is_ink(&from)? {
                return Ok(from);
            }
            in_folder(terminal, home, &model, &from)
        }
    }
}

/// Converts `from` to `to`, with a progress bar. A model without a name gets that of its file.
pub(crate) fn convert_to(
    terminal: &Terminal,
    from: &Path,
    to: &Path,
    options: &Options,
) -> anyhow::Result<Report> {
    let source = Source::open(from)?;
    let bytes: u64 = source
        .tensors()
        .iter()
        .map(inkstone_converter::source::Tensor::bytes)
        .sum();
    disk::require(to.parent().unwrap_or(Path::new(".")), bytes)?;
    let name = from.file_name().unwrap_or_default().to_string_lossy();
    let progress = terminal.progress(&format!("converting {name}"), Some(bytes));
    let mut options = options.clone();
    if options.manifest.name.is_empty() && source.about.name.is_none() {
        options.manifest.name = from
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
    }
    interrupt::watch();
    let mut stopped = false;
    let report = convert::convert(&source, to, &options, &mut |at| {
        progress.at(at.done);
        stopped = interrupt::take();
        !stopped
    });
    if stopped {
        return Err(Interrupted.into());
    }
    Ok(report?)
}

/// A file or folder elsewhere: its conversion is kept under a key of its path.
fn of_file(terminal: &Terminal, home: &Home, path: &Path) -> anyhow::Result<PathBuf> {
    let path = fs::canonicalize(path).with_context(|| path.display().to_string())?;
    let name = path.to_string_lossy().into_owned();
    let key = key_of(&format!("file-{name}"));
    let model = Installed {
        folder: home.model(&key),
        record: Record {
            source: name.clone(),
            name,
            files: Vec::new(),
            about: Manifest::default(),
        },
    };
    in_folder(terminal, home, &model, &path)
}

/// The conversion of `from` in the folder of `model`; one of an older state of the file gives way.
fn in_folder(
    terminal: &Terminal,
    home: &Home,
    model: &Installed,
    from: &Path,
) -> anyhow::Result<PathBuf> {
    let weights = Options::default().weights;
    let to = model
        .folder
        .join(format!("{}-{}.ink", weights.name, fingerprint(from)?));
    if to.exists() {
        return Ok(to);
    }
    let key = model
        .folder
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let waiting = interrupt::resumable();
    let _lock = home.lock(&key, || {
        terminal.note(format_args!(
            "another process converts {}; waiting for it",
            model.record.name
        ));
    })?;
    drop(waiting);
    if to.exists() {
        return Ok(to);
    }
    terminal.note(format_args!(
        "converting {} once, into {}",
        from.display(),
        to.display()
    ));
    let options = Options {
        manifest: model.record.about.clone(),
        ..Options::default()
    };
    let report = convert_to(terminal, from, &to, &options)?;
    for note in &report.notes {
        terminal.detail(note);
    }
    for old in model.conversions().iter().filter(|old| **old != to) {
        fs::remove_file(old).with_context(|| old.display().to_string())?;
    }
    let mut record = model.record.clone();
    if record.files.is_empty() {
        // Of a file elsewhere nothing is known but what it says itself.
        record.about = Model::open(&to)?.manifest()?.unwrap_or_default();
    }
    Installed::write(home, &key, record)?;
    Ok(to)
}

/// Changes with the file, and with the version that converts it.
fn fingerprint(path: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    hash.update(concat!(env!("CARGO_PKG_VERSION"), " "));
    hash.update(MAJOR.to_le_bytes());
    hash.update(MINOR.to_le_bytes());
    let mut paths = vec![path.to_owned()];
    if path.is_dir() {
        let entries = fs::read_dir(path).with_context(|| path.display().to_string())?;
        paths.extend(entries.flatten().map(|entry| entry.path()));
        paths.sort();
    }
    for path in paths {
        let metadata = fs::metadata(&path).with_context(|| path.display().to_string())?;
        let modified = metadata
            .modified()
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        hash.update(metadata.len().to_le_bytes());
        hash.update(modified.unwrap_or_default().as_nanos().to_le_bytes());
    }
    let digest = hash.finalize();
    Ok(digest
        .iter()
        .take(4)
        .map(|byte| format!("{byte:02x}"))
        .collect())
}
