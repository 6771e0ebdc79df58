//! The one mapping of files into memory, and memory that holds a file already.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;

/// A file's bytes, mapped to be read. Processes that map the same file share its pages.
pub struct Map(Bytes);

enum Bytes {
    Mapped(memmap2::Mmap),
    Held(&'static [u8]),
}

impl Map {
    /// Maps a regular file that is not empty.
    ///
    /// # Errors
    /// What the system says, or [`io::ErrorKind::InvalidInput`] for what is no regular file or is empty.
    pub fn open(path: &Path) -> io::Result<Map> {
        let refused = |why: &'static str| io::Error::new(io::ErrorKind::InvalidInput, why);
        // Asked before it is opened, since opening a pipe would wait for its other end.
        if !fs::metadata(path)?.is_file() {
            return Err(refused("not a regular file"));
        }
        let file = fs::File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(refused("not a regular file"));
        }
        if metadata.len() == 0 {
            return Err(refused("the file is empty"));
        }
        // SAFETY: the pages are only read, and `.ink` files are replaced by renaming, never written in place.
        let map = unsafe { memmap2::Mmap::map(&file)? };
        Ok(Map(Bytes::Mapped(map)))
    }

    /// The bytes of a file that are in memory already: in flash, or in another mapping.
    pub fn of(bytes: &'static [u8]) -> Map {
        Map(Bytes::Held(bytes))
    }
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        match &self.0 {
            Bytes::Mapped(map) => map,
            Bytes::Held(bytes) => bytes,
        }
    }
}
