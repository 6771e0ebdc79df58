//! Hashing the whole file: what opening does not touch.

use crate::error::{Error, ErrorKind};
use crate::file::File;
use crate::kind::SectionKind;
use crate::wire::{HEADER_BYTES, ROW_BYTES};

/// Bytes hashed between two reports of progress.
const STEP: usize = 1 << 20;

impl File<'_> {
    /// Reads every byte: contents must match their hashes, padding must be zero.
    ///
    /// `progress` hears of `done` of `total` bytes at least once a MiB. The error names the first byte of the damaged
    /// section, tensor or padding.
    pub fn verify(&self, progress: &mut dyn FnMut(u64, u64)) -> Result<(), Error> {
        let total = self.bytes().len() as u64;
        let mut pass = Pass {
            file: self,
            progress: &mut |done| progress(done, total),
        };
        let mut end = (HEADER_BYTES + self.sections().len() * ROW_BYTES) as u64;
        for section in self.sections() {
            pass.zeros(end, section.offset)?;
            end = section.offset + section.bytes;
            if section.kind == SectionKind::Payload.id() {
                pass.payload(section.offset, end)?;
            } else {
                pass.hashed(section.offset, section.bytes, &section.hash)?;
            }
        }
        (pass.progress)(total);
        Ok(())
    }
}

struct Pass<'p> {
    file: &'p File<'p>,
    progress: &'p mut dyn FnMut(u64),
}

impl Pass<'_> {
    fn payload(&mut self, start: u64, end: u64) -> Result<(), Error> {
        let mut at = start;
        for tensor in self.file.tensors() {
            self.zeros(at, tensor.offset)?;
            self.hashed(tensor.offset, tensor.bytes, &tensor.hash)?;
            at = tensor.offset + tensor.bytes;
        }
        self.zeros(at, end)
    }

    fn hashed(&mut self, offset: u64, bytes: u64, hash: &[u8; 32]) -> Result<(), Error> {
        let mut hasher = blake3::Hasher::new();
        let mut done = offset;
        for piece in self.file.range(offset, bytes).chunks(STEP) {
            hasher.update(piece);
            done += piece.len() as u64;
            (self.progress)(done);
        }
        if hasher.finalize() != *hash {
            return Err(ErrorKind::Hash.at(offset));
        }
        Ok(())
    }

    fn zeros(&self, from: u64, to: u64) -> Result<(), Error> {
        if self.file.range(from, to - from).iter().any(|&b| b != 0) {
            return Err(ErrorKind::Padding.at(from));
        }
        Ok(())
    }
}
