//! A file whose weights are read as they are used: for devices that have less memory than a model has weights.

use std::io;
use std::sync::{Mutex, PoisonError};

use inkstone_format::{SECTION_ALIGNMENT, head_bytes};
use inkstone_model::weights::Reader;

use crate::map::Map;

/// Fills a buffer with a file's bytes from an offset on; called by one thread at a time, by whichever needs them.
pub type ReadAt = Box<dyn FnMut(u64, &mut [u8]) -> io::Result<()> + Send>;

/// Who reads the weights, and how long the file is.
pub(crate) struct Streamed {
    read: Mutex<ReadAt>,
    pub(crate) file_bytes: usize,
}

impl Streamed {
    /// Reads what comes before the weights into memory.
    pub(crate) fn open(file_bytes: usize, mut read: ReadAt) -> io::Result<(Map, Streamed)> {
        let mut page = vec![0; file_bytes.min(SECTION_ALIGNMENT as usize)];
        read(0, &mut page)?;
        // What is wrong with the page is told by who parses the head.
        let head = head_bytes(&page).unwrap_or(page.len() as u64);
        let head = usize::try_from(head).map_or(file_bytes, |head| head.min(file_bytes));
        let map = Map::read(head.max(page.len()), &mut read)?;
        let streamed = Streamed {
            read: Mutex::new(read),
            file_bytes,
        };
        Ok((map, streamed))
    }

    /// As [`Reader::read`], with what went wrong.
    pub(crate) fn read_at(&self, offset: usize, to: &mut [u8]) -> io::Result<()> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read(offset as u64, to)
    }
}

impl Reader for Streamed {
    fn read(&self, offset: usize, to: &mut [u8]) -> bool {
        self.read_at(offset, to).is_ok()
    }
}
