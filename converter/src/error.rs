//! The one error of the importers: what went wrong, in which file, at which byte.

use core::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// The kinds of failure a caller can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused a read or a write.
    Io,
    /// The file is not of the format it was opened as.
    Magic,
    /// The file is of a version of its format that is not read.
    Version,
    /// The file ends before what it announces.
    Truncated,
    /// A count, a length or a depth is beyond what any real file needs.
    Limit,
    /// The file contradicts itself or its format.
    Malformed,
    /// The file is sound but holds something this version cannot use.
    Unsupported,
    /// Something the conversion needs is absent.
    Missing,
    /// Source and result do not hold the same values.
    Mismatch,
    /// Who asked for it does not want it any more.
    Cancelled,
}

/// A failed import or conversion.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    message: String,
    file: Option<PathBuf>,
    offset: Option<u64>,
    source: Option<Box<dyn core::error::Error + Send + Sync>>,
}

/// The result of everything in this crate that can fail.
pub type Result<T> = core::result::Result<T, Error>;

impl Error {
    /// An error of `kind`; `message` is lower case, without a full stop, and names the thing at fault.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            file: None,
            offset: None,
            source: None,
        }
    }

    /// The same error, at `offset` bytes from the start of its file.
    #[must_use]
    pub fn at(mut self, offset: u64) -> Self {
        self.offset = Some(offset);
        self
    }

    /// The same error, in `file`; a file already named stays.
    #[must_use]
    pub fn in_file(mut self, file: &Path) -> Self {
        self.file.get_or_insert_with(|| file.to_owned());
        self
    }

    /// The same error, about `thing`.
    #[must_use]
    pub fn about(mut self, thing: &str) -> Self {
        self.message = format!("{thing}: {}", self.message);
        self
    }

    /// The same error, caused by `source`.
    #[must_use]
    pub fn because(mut self, source: impl Into<Box<dyn core::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What kind of failure it is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The byte of the file at which the failure was found, where it has one.
    #[must_use]
    pub fn offset(&self) -> Option<u64> {
        self.offset
    }

    /// The file at fault, where it is known.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}: ", file.display())?;
        }
        f.write_str(&self.message)?;
        if let Some(offset) = self.offset {
            write!(f, " (at byte {offset})")?;
        }
        if let Some(source) = &self.source {
            write!(f, ": {source}")?;
        }
        Ok(())
    }
}

impl core::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::UnexpectedEof => ErrorKind::Truncated,
            _ => ErrorKind::Io,
        };
        Self::new(kind, "cannot read").because(source)
    }
}

pub(crate) fn malformed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Malformed, message)
}

pub(crate) fn missing(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Missing, message)
}

pub(crate) fn unsupported(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Unsupported, message)
}

pub(crate) fn over_limit(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Limit, message)
}
