//! An `.ink` file, mapped and checked, whatever it holds: a model to run must hold more.

use std::io;
use std::path::{Path, PathBuf};

use inkstone_format::{ErrorKind as FormatError, File};

use crate::error::{Error, ErrorKind, Result};
use crate::map::Map;
use crate::streamed::{ReadAt, Streamed};

/// A mapped file whose tables have been checked.
pub struct Mapped {
    map: Map,
    path: PathBuf,
    streamed: Option<Streamed>,
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

    /// As [`Self::open`] for a file of which only what comes before the weights is read, into memory of its own: weights
    /// are read by `read` whenever they are used. Records behind the weights, licence and origin, are left out.
    ///
    /// # Errors
    /// As there.
    pub fn stream(file_bytes: usize, read: ReadAt, name: &Path) -> Result<Mapped> {
        let opened = Streamed::open(file_bytes, read);
        let (map, streamed) = opened.map_err(|e| unreadable(name, e))?;
        let file = File::parse_head(map.as_ref()).map_err(|e| refused(name, e))?;
        let last = file
            .sections()
            .map(|section| section.offset + section.bytes);
        if last.max().unwrap_or(0) > file_bytes as u64 {
            let text = format!("{}: the file ends before its sections", name.display());
            return Err(Error::text(ErrorKind::Damaged, text));
        }
        Ok(Mapped {
            map,
            path: name.to_path_buf(),
            streamed: Some(streamed),
        })
    }

    fn checked(map: Map, path: &Path) -> Result<Mapped> {
        File::parse(map.as_ref()).map_err(|e| refused(path, e))?;
        Ok(Mapped {
            map,
            path: path.to_path_buf(),
            streamed: None,
        })
    }

    /// Who reads the weights, where they are not in memory.
    pub(crate) fn streamed(&self) -> Option<&Streamed> {
        self.streamed.as_ref()
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
        let file = match self.streamed {
            Some(_) => File::parse_head(self.bytes()),
            None => File::parse(self.bytes()),
        };
        file.expect("`open` has parsed the same bytes")
    }

    /// Reads the whole file and compares its hashes; `progress` hears of `done` of `total` bytes.
    ///
    /// # Errors
    /// [`ErrorKind::Damaged`], with the place.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<()> {
        if self.streamed.is_some() {
            let text = "weights that are read as they are used are not verified";
            return Err(Error::text(ErrorKind::Unsupported, text));
        }
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
