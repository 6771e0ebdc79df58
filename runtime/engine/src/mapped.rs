//! An `.ink` file, mapped and checked, whatever it holds: a model to run must hold more.

use std::io;
use std::path::{Path, PathBuf};

use inkstone_format::{ErrorKind as FormatError, File};

use crate::error::{Error, ErrorKind, Result};
use crate::map::Map;

/// A mapped file whose tables have been checked.
pub struct Mapped {
    map: Map,
    path: PathBuf,
}

impl Mapped {
    /// Maps a file and checks its tables; nothing else of it is read.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`], [`ErrorKind::NotAModel`], [`ErrorKind::Damaged`], [`ErrorKind::Unsupported`] or
    /// [`ErrorKind::Io`].
    pub fn open(path: &Path) -> Result<Mapped> {
        let map = Map::open(path).map_err(|e| unreadable(path, e))?;
        Mapped::checked(map, path)
    }

    /// As [`Self::open`] for a file that is in memory already; messages call it `name`.
    ///
    /// # Errors
    /// As there.
    pub fn of(bytes: &'static [u8], name: &Path) -> Result<Mapped> {
        Mapped::checked(Map::of(bytes), name)
    }

    /// As [`Self::open`] for what `map` gives; messages call it `name`.
    ///
    /// # Errors
    /// As there.
    pub fn with(map: io::Result<Map>, name: &Path) -> Result<Mapped> {
        Mapped::checked(map.map_err(|e| unreadable(name, e))?, name)
    }

    fn checked(map: Map, path: &Path) -> Result<Mapped> {
        File::parse(map.as_ref()).map_err(|e| refused(path, e))?;
        let path = path.to_path_buf();
        Ok(Mapped { map, path })
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.map.as_ref()
    }

    /// Its sections and tensors.
    pub fn file(&self) -> File<'_> {
        File::parse(self.bytes()).expect("`open` has parsed the same bytes")
    }

    /// Reads the whole file and compares its hashes; `progress` hears of `done` of `total` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], with the place.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        let verified = self.file().verify(progress);
        verified.map_err(|e| refused(&self.path, e))
    }
}

fn unreadable(path: &Path, error: io::Error) -> Error {
    let kind = match error.kind() {
        io::ErrorKind::NotFound => ErrorKind::NotFound,
        io::ErrorKind::InvalidInput => ErrorKind::NotAModel,
        io::ErrorKind::OutOfMemory => ErrorKind::OutOfMemory,
        _ => ErrorKind::Io,
    };
    let text = match error.kind() {
        io::ErrorKind::NotFound => format!("{}: there is no such file", path.display()),
        _ => format!("{}: {error}", path.display()),
    };
    Error::text(kind, text)
}

fn refused(path: &Path, error: inkstone_format::Error) -> Error {
    let (kind, advice) = match error.kind {
        FormatError::Magic => (ErrorKind::NotAModel, "; convert it first"),
        FormatError::BigEndianHost => (ErrorKind::Unsupported, ""),
        FormatError::Version | FormatError::Numerics => (
            ErrorKind::Unsupported,
            "; convert it again with this version",
        ),
        FormatError::Feature
        | FormatError::Section
        | FormatError::Format
        | FormatError::Endianness => (ErrorKind::Unsupported, "; a later version may read it"),
        _ => (ErrorKind::Damaged, "; get or convert it again"),
    };
    Error::text(kind, format!("{}: {error}{advice}", path.display()))
}
