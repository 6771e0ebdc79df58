//! The cache folder: `INKSTONE_HOME`, or where the platform keeps caches.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use directories::ProjectDirs;

/// The variable that overrides the platform's cache folder.
pub(crate) const VARIABLE: &str = "INKSTONE_HOME";

/// The cache folder. It need not exist yet.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    root: PathBuf,
}

impl Home {
    /// The folder that the environment or the platform names.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let named = std::env::var_os(VARIABLE).filter(|v| !v.is_empty());
        let root = match named {
            Some(folder) => PathBuf::from(folder),
            None => ProjectDirs::from("", "", "inkstone")
                .map(|dirs| dirs.cache_dir().to_path_buf())
                .ok_or_else(|| anyhow!("no home folder is known: set {VARIABLE}"))?,
        };
        Ok(Self { root })
    }

    /// The cache folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// The folder that holds one folder per model.
    pub(crate) fn models(&self) -> PathBuf {
        self.root.join("models")
    }

    /// The folder of the model with this key.
    pub(crate) fn model(&self, key: &str) -> PathBuf {
        self.models().join(key)
    }

    /// Examples that were made into tokens before; whatever is in it can be made again.
    pub(crate) fn tokens(&self) -> PathBuf {
        self.root.join("tokens")
    }

    /// The lines typed into `chat`.
    pub(crate) fn history(&self) -> PathBuf {
        self.root.join("chat-history.txt")
    }

    /// Makes the folder of a model and holds it alone until the lock is dropped.
    pub(crate) fn lock(&self, key: &str, waiting: impl FnOnce()) -> anyhow::Result<Lock> {
        let folder = self.model(key);
        fs::create_dir_all(&folder)
            .with_context(|| format!("{}: cannot make the cache folder", folder.display()))?;
        let path = folder.join("lock");
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        if file.try_lock().is_err() {
            waiting();
            file.lock()
                .with_context(|| format!("{}: cannot lock", path.display()))?;
        }
        Ok(Lock { _file: file })
    }
}

/// Held while one process writes into a model's folder.
pub(crate) struct Lock {
    _file: File,
}
