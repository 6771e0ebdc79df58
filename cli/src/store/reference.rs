//! What a MODEL on the command line means: a path, a name of the catalogue, or a source.

use std::path::PathBuf;

use super::catalogue::{CATALOGUE, Entry};
use super::source::Source;
use crate::exit::Usage;
use crate::nearest::nearest;

/// A model as it was named.
#[derive(Debug)]
pub(crate) enum Reference {
    /// A file or folder that exists.
    Path(PathBuf),
    /// A row of the catalogue.
    Name(&'static Entry),
    /// A place to fetch from.
    Source(Source),
}

impl Reference {
    /// Tells what `text` means; a name nearly known is suggested.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        if let Some(entry) = Entry::named(text) {
            return Ok(Self::Name(entry));
        }
        let path = PathBuf::from(text);
        if path.exists() {
            return Ok(Self::Path(path));
        }
        if Source::is_one(text) {
            return Ok(Self::Source(text.parse()?));
        }
        let looks_like_a_path =
            text.contains(['/', '\\']) || path.extension().is_some_and(is_of_a_model);
        if looks_like_a_path {
            return Err(Usage::error(format!(
                "{text}: no such file or folder; check the path"
            )));
        }
        let names = CATALOGUE.iter().map(|entry| entry.name);
        let advice = match nearest(text, names) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "`inkstone list --available` shows the names".to_owned(),
        };
        Err(Usage::error(format!(
            "`{text}` is neither a path nor a model of the catalogue; {advice}"
        )))
    }
}

fn is_of_a_model(extension: &std::ffi::OsStr) -> bool {
    const EXTENSIONS: [&str; 7] = [
        "ink",
        "gguf",
        "bin",
        "safetensors",
        "json",
        "model",
        "jinja",
    ];
    EXTENSIONS.iter().any(|known| extension == *known)
}
