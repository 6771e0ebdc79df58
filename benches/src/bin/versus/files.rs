//! The files that are compared, made in the cache where they are not there yet.

use crate::arguments::Arguments;
use crate::cases::{Case, Origin};
use crate::{note, random};
use anyhow::{Context as _, Result, ensure};
use inkstone_converter::convert::{KEEP, Options, Q4, Weights};
use inkstone_converter::{Source, convert};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Formats of llama.cpp: names, and numbers of its `llama_ftype`. `Q4_K` is its small mixture.
static PEER_FORMATS: &[(&str, u32)] = &[("Q4_0", 2), ("Q8_0", 7), ("Q4_K", 14)];

/// The format of our file.
pub(crate) const OURS: Weights = Q4;

/// The files of a case.
pub(crate) struct Files {
    /// Ours, 4.25 bits a weight.
    pub(crate) ours: PathBuf,
    /// The other side's, in each format asked for.
    pub(crate) theirs: Vec<Theirs>,
}

/// A file of the other side.
#[derive(Clone)]
pub(crate) struct Theirs {
    pub(crate) format: &'static str,
    pub(crate) path: PathBuf,
}

/// Makes the files of a case.
pub(crate) fn prepare(case: &Case, peer: &Path, arguments: &Arguments) -> Result<Files> {
    let cache = arguments.cache()?;
    fs::create_dir_all(&cache).with_context(|| cache.display().to_string())?;
    let theirs = arguments.peer_formats.iter().map(|name| {
        let row = PEER_FORMATS.iter().find(|(format, _)| format == name);
        let &(format, kind) = row.with_context(|| format!("llama.cpp is not asked for {name}"))?;
        let path = cache.join(format!("{}-{format}.gguf", case.name));
        Ok((Theirs { format, path }, kind))
    });
    let theirs: Vec<(Theirs, u32)> = theirs.collect::<Result<_>>()?;
    let ours = cache.join(format!("{}-{}.ink", case.name, OURS.name));
    let stale = arguments.fresh || !ours.exists();
    let complete = theirs.iter().all(|(file, _)| file.path.exists());
    let source = match &case.origin {
        Origin::Model(name) => model(name)?,
        Origin::Random(_) => cache.join(format!("{}-F16.gguf", case.name)),
    };
    if let Origin::Random(shape) = &case.origin
        && (stale || !complete)
    {
        whole(&source, |part| random::write(shape, part))?;
    }
    for (file, kind) in &theirs {
        whole(&file.path, |part| quantize(peer, &source, part, *kind))?;
    }
    if stale {
        remove(&ours)?;
    }
    whole(&ours, |part| converted(&source, part, OURS))?;
    if let Origin::Random(_) = case.origin {
        remove(&source)?;
    }
    let theirs = theirs.into_iter().map(|(file, _)| file).collect();
    Ok(Files { ours, theirs })
}

/// The other side's file as ours, bit for bit.
pub(crate) fn kept(theirs: &Theirs, fresh: bool) -> Result<PathBuf> {
    let path = theirs.path.with_extension("ink");
    if fresh {
        remove(&path)?;
    }
    whole(&path, |part| converted(&theirs.path, part, KEEP))?;
    Ok(path)
}

fn model(name: &str) -> Result<PathBuf> {
    let folder = std::env::var_os("INKSTONE_MODELS").unwrap_or_else(|| "models".into());
    let path = Path::new(&folder).join(name);
    ensure!(
        path.is_file(),
        "{}: no such file; scripts/pull-models.sh fetches it",
        path.display()
    );
    Ok(path)
}

/// Makes a file that is not there; it has its name only when it is whole.
fn whole(path: &Path, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    note(format_args!("making {}", path.display()));
    let part = path.with_extension("part");
    make(&part).with_context(|| format!("cannot make {}", path.display()))?;
    Ok(fs::rename(&part, path)?)
}

fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn quantize(peer: &Path, from: &Path, to: &Path, kind: u32) -> Result<()> {
    let mut command = Command::new(peer);
    let command = command
        .arg("quantize")
        .args([from, to])
        .arg(kind.to_string());
    let status = command.status().context("cannot run the peer")?;
    ensure!(status.success(), "llama.cpp cannot quantise it: {status}");
    Ok(())
}

fn converted(from: &Path, to: &Path, weights: Weights) -> Result<()> {
    let options = Options {
        weights,
        ..Options::default()
    };
    convert(&Source::open(from)?, to, &options, &mut |_| true)?;
    Ok(())
}
