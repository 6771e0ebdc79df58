//! What is in the cache: one folder per model, with a manifest that is written last.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;
use inkstone_engine::format::records;
use serde::{Deserialize, Serialize};

use super::home::Home;

/// What a folder of the cache holds and where it came from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    /// As it was named: of the catalogue, a source, or the path of a converted file.
    pub(crate) name: String,
    /// The source that gave it.
    pub(crate) source: String,
    /// What was fetched. Empty where only a conversion of a file elsewhere is kept.
    pub(crate) files: Vec<FetchedFile>,
    /// What is known of rights and origin.
    pub(crate) about: records::Manifest,
}

/// One fetched file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FetchedFile {
    /// Below `source/`.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
}

/// A model that is here.
#[derive(Clone, Debug)]
pub(crate) struct Installed {
    /// Its folder in the cache.
    pub(crate) folder: PathBuf,
    pub(crate) record: Record,
}

impl Installed {
    /// The model with this key, if it is whole.
    pub(crate) fn open(home: &Home, key: &str) -> Option<Self> {
        Self::read(home.model(key)).filter(Self::is_whole)
    }

    /// Writes the manifest, which makes a folder a model.
    pub(crate) fn write(home: &Home, key: &str, record: Record) -> anyhow::Result<Self> {
        let folder = home.model(key);
        let path = folder.join(MANIFEST);
        let draft = folder.join("manifest.json.part");
        let text = serde_json::to_string_pretty(&record)?;
        fs::write(&draft, text).with_context(|| draft.display().to_string())?;
        fs::rename(&draft, &path).with_context(|| path.display().to_string())?;
        Ok(Self { folder, record })
    }

    /// The model as its origin made it: one file, or a folder of several.
    pub(crate) fn source_path(&self) -> PathBuf {
        let folder = source_folder(&self.folder);
        match &self.record.files[..] {
            [only] => folder.join(&only.path),
            _ => folder,
        }
    }

    /// The converted models beside it.
    pub(crate) fn conversions(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let mut paths: Vec<PathBuf> = entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|e| e == "ink"))
            .collect();
        paths.sort();
        paths
    }

    /// Bytes on disk, conversions included.
    pub(crate) fn bytes(&self) -> u64 {
        let fetched: u64 = self.record.files.iter().map(|f| f.bytes).sum();
        let converted = self.conversions();
        fetched + converted.iter().map(|path| length(path)).sum::<u64>()
    }

    fn read(folder: PathBuf) -> Option<Self> {
        let text = fs::read_to_string(folder.join(MANIFEST)).ok()?;
        let record = serde_json::from_str(&text).ok()?;
        Some(Self { folder, record })
    }

    fn is_whole(&self) -> bool {
        let folder = source_folder(&self.folder);
        let files = &self.record.files;
        files
            .iter()
            .all(|file| length(&folder.join(&file.path)) == file.bytes)
    }
}

const MANIFEST: &str = "manifest.json";

/// Every model of the cache, by name.
pub(crate) fn installed(home: &Home) -> Vec<Installed> {
    let entries = fs::read_dir(home.models()).into_iter().flatten().flatten();
    let mut models: Vec<Installed> = entries.filter_map(|e| Installed::read(e.path())).collect();
    models.sort_by(|a, b| a.record.name.cmp(&b.record.name));
    models
}

/// Where the fetched files of a model lie.
pub(super) fn source_folder(folder: &Path) -> PathBuf {
    folder.join("source")
}

fn length(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |m| m.len())
}
