//! The one mapping of files into memory, and memory that holds a file already.
#![allow(unsafe_code)]

use std::fs;
use std::io;
use std::path::Path;

use crate::arena::Arena;

/// Bytes that are read at once.
const PIECE: usize = 1 << 20;

/// A file's bytes, mapped to be read. Processes that map the same file share its pages.
pub struct Map(Bytes);

enum Bytes {
    Mapped(memmap2::Mmap),
    Held(&'static [u8]),
    Read(Arena),
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
        Map::of_file(&file, &memmap2::MmapOptions::new())
    }

    fn of_file(file: &fs::File, part: &memmap2::MmapOptions) -> io::Result<Map> {
        // SAFETY: the pages are only read, and `.ink` files are replaced by renaming, never written in place.
        let map = unsafe { part.map(file)? };
        Ok(Map(Bytes::Mapped(map)))
    }

    /// Maps `len` bytes of an open file from `offset` on, which is a multiple of 64; the file may be closed afterwards.
    ///
    /// # Errors
    /// As [`Self::open`], and [`io::ErrorKind::UnexpectedEof`] for a file that ends before.
    #[cfg(unix)]
    pub fn part(file: std::os::fd::BorrowedFd<'_>, offset: u64, len: usize) -> io::Result<Map> {
        let refused = |why: &'static str| io::Error::new(io::ErrorKind::InvalidInput, why);
        let file = fs::File::from(file.try_clone_to_owned()?);
        let metadata = file.metadata()?;
        if !metadata.is_file() || len == 0 {
            return Err(refused("not a part of a regular file"));
        }
        if !offset.is_multiple_of(64) {
            return Err(refused("the part does not begin at a multiple of 64"));
        }
        if offset
            .checked_add(len as u64)
            .is_none_or(|end| end > metadata.len())
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut part = memmap2::MmapOptions::new();
        Map::of_file(&file, part.offset(offset).len(len))
    }

    /// Reads `len` bytes into memory of its own, piece after piece: `read` fills each from an offset on.
    ///
    /// # Errors
    /// [`io::ErrorKind::OutOfMemory`], and what `read` says.
    pub fn read(
        len: usize,
        mut read: impl FnMut(u64, &mut [u8]) -> io::Result<()>,
    ) -> io::Result<Map> {
        let mut memory = Arena::new(len)
            .map_err(|e| io::Error::new(io::ErrorKind::OutOfMemory, e.to_string()))?;
        for (index, piece) in memory.as_mut().chunks_mut(PIECE).enumerate() {
            read((index * PIECE) as u64, piece)?;
        }
        Ok(Map(Bytes::Read(memory)))
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
            Bytes::Read(memory) => memory.as_ref(),
        }
    }
}
