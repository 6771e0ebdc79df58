//! Files that the command line names. Where one cannot be had, the error says what to do.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::Path;

use anyhow::anyhow;

use crate::exit::Usage;

/// The text of a file, which must be UTF-8, without the mark that some programs begin it with.
pub(crate) fn text(path: &Path) -> anyhow::Result<String> {
    const MARK: &str = "\u{feff}";
    let mut text = fs::read_to_string(path).map_err(|error| refused(path, error))?;
    if text.starts_with(MARK) {
        text.drain(..MARK.len());
    }
    Ok(text)
}

/// A path as a shell takes it.
pub(crate) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@%,".contains(c);
    if text.chars().all(plain) {
        text
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

/// A new file, or one that is there, emptied.
pub(crate) fn create(path: &Path) -> anyhow::Result<File> {
    has_folder(path)?;
    File::create(path).map_err(|error| refused(path, error))
}

/// Whether a file can be made there as far as its folder goes: known before hours of work for it begin.
pub(crate) fn has_folder(path: &Path) -> anyhow::Result<()> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            let (path, folder) = (path.display(), folder.display());
            Err(Usage::error(format!(
                "{path}: there is no folder {folder}; make it first"
            )))
        }
        _ => Ok(()),
    }
}

fn refused(path: &Path, error: io::Error) -> anyhow::Error {
    let advice = match error.kind() {
        ErrorKind::NotFound => "no such file; check the path",
        ErrorKind::IsADirectory => "is a folder; name a file",
        ErrorKind::InvalidData => "is no UTF-8 text; convert it to UTF-8 first",
        ErrorKind::PermissionDenied => "permission denied; look at who may use it",
        _ => return anyhow!(error).context(path.display().to_string()),
    };
    Usage::error(format!("{}: {advice}", path.display()))
}
