//! Where an answer ends: stop tokens, and stop strings that may come in pieces.

use super::params::{ParamError, in_length};

/// Stop tokens and stop strings over a stream of bytes.
///
/// A string may begin in one piece of the stream and end in another: bytes that may still become one are held back.
#[derive(Debug, Clone)]
pub struct Stops {
    ids: Vec<u32>,
    strings: Vec<Box<[u8]>>,
    /// The bytes held back: a beginning of one of the strings.
    held: Vec<u8>,
}

impl Stops {
    /// Most strings.
    pub const MAX_STRINGS: usize = 64;
    /// Most bytes of a string.
    pub const MAX_BYTES: usize = 1024;

    /// Stops at the tokens `ids` and at the texts `strings`, and reserves all memory.
    ///
    /// # Errors
    ///
    /// [`ParamError::Length`] for an empty or overlong string, or too many of them.
    pub fn new<S: AsRef<str>>(ids: &[u32], strings: &[S]) -> Result<Self, ParamError> {
        in_length("stop", strings.len(), 0, Self::MAX_STRINGS)?;
        for string in strings {
            in_length("stop", string.as_ref().len(), 1, Self::MAX_BYTES)?;
        }
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        let strings: Vec<Box<[u8]>> = strings
            .iter()
            .map(|string| string.as_ref().as_bytes().into())
            .collect();
        let longest = strings.iter().map(|string| string.len()).max().unwrap_or(0);
        Ok(Self {
            ids,
            strings,
            held: Vec::with_capacity(longest),
        })
    }

    /// Whether the token ends the answer.
    #[must_use]
    pub fn is_stop_id(&self, id: u32) -> bool {
        self.ids.binary_search(&id).is_ok()
    }

    /// Takes the next `bytes` of the answer and hands to `emit` what is certain to belong to it.
    ///
    /// Returns the index of the string that was met, the longest where several end at once; it and what follows are
    /// not emitted, and nothing is held back any more.
    pub fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&[u8])) -> Option<usize> {
        if self.strings.is_empty() {
            emit(bytes);
            return None;
        }
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if self.held.is_empty() && !self.begins(byte) {
                let plain = rest
                    .iter()
                    .position(|&byte| self.begins(byte))
                    .unwrap_or(rest.len());
                emit(&rest[..plain]);
                rest = &rest[plain..];
                continue;
            }
            rest = after;
            self.held.push(byte);
            if let Some(met) = self.met() {
                let before = self.held.len() - self.strings[met].len();
                emit_some(&self.held[..before], &mut emit);
                self.held.clear();
                return Some(met);
            }
            let free = self.held.len() - self.beginning();
            emit_some(&self.held[..free], &mut emit);
            self.held.drain(..free);
        }
        None
    }

    /// The answer is over: hands out what was held back.
    pub fn finish(&mut self, emit: impl FnOnce(&[u8])) {
        if !self.held.is_empty() {
            emit(&self.held);
            self.held.clear();
        }
    }

    /// Forgets what was held back.
    pub fn reset(&mut self) {
        self.held.clear();
    }

    fn begins(&self, byte: u8) -> bool {
        self.strings.iter().any(|string| string[0] == byte)
    }

    /// The longest string that the held bytes end with.
    fn met(&self) -> Option<usize> {
        let met = |&index: &usize| self.held.ends_with(&self.strings[index]);
        (0..self.strings.len())
            .filter(met)
            .max_by_key(|&index| (self.strings[index].len(), core::cmp::Reverse(index)))
    }

    /// How many of the last held bytes are the beginning of a string.
    fn beginning(&self) -> usize {
        let held = &self.held;
        let begins = |start: usize| {
            self.strings
                .iter()
                .any(|string| string.starts_with(&held[start..]))
        };
        (0..held.len())
            .find(|&start| begins(start))
            .map_or(0, |start| held.len() - start)
    }
}

fn emit_some(bytes: &[u8], emit: &mut impl FnMut(&[u8])) {
    if !bytes.is_empty() {
        emit(bytes);
    }
}
