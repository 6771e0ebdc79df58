//! From tokens to text, one token at a time.

use core::fmt::{self, Write};

use crate::tokenizer::Tokenizer;
use crate::vocab::Kind;

/// Bytes of the longest character.
const CHARACTER_MAX: usize = 4;

/// Writes the text of tokens as they come; allocates nothing.
///
/// The bytes of a character that is not yet complete are held back. What is not UTF-8 becomes
/// U+FFFD, as [`alloc::string::String::from_utf8_lossy`] has it.
#[derive(Debug, Clone)]
pub struct Detokenizer<'a> {
    tokenizer: Tokenizer<'a>,
    unfinished: Unfinished,
}

/// What a [`Detokenizer`] remembers between tokens, for those who keep it apart from the tokenizer. The default goes on
/// with a text, as [`Detokenizer::continuing`] does.
#[derive(Debug, Clone, Default)]
pub struct Unfinished {
    held: [u8; CHARACTER_MAX],
    held_length: usize,
    strip_space: bool,
    show_special: bool,
}

impl<'a> Detokenizer<'a> {
    /// For tokens that begin a text: the space that encoding put before it is taken away.
    #[must_use]
    pub fn new(tokenizer: Tokenizer<'a>) -> Self {
        let unfinished = Unfinished {
            strip_space: tokenizer.prefixes_space(),
            ..Unfinished::default()
        };
        Self {
            tokenizer,
            unfinished,
        }
    }

    /// For tokens that go on with a text: a space at their beginning stays.
    #[must_use]
    pub fn continuing(tokenizer: Tokenizer<'a>) -> Self {
        Self {
            tokenizer,
            unfinished: Unfinished::default(),
        }
    }

    /// Writes the names of control tokens too.
    #[must_use]
    pub fn showing_special(mut self) -> Self {
        self.unfinished = self.unfinished.showing_special();
        self
    }

    /// Writes what is certain once token `id` has come; an id without a token gives nothing.
    ///
    /// # Errors
    /// What `out` fails with.
    pub fn push(&mut self, id: u32, out: &mut impl Write) -> fmt::Result {
        self.unfinished.push(self.tokenizer, id, out)
    }

    /// Writes what is held back: U+FFFD for a character that will never be complete.
    ///
    /// # Errors
    /// What `out` fails with.
    pub fn finish(&mut self, out: &mut impl Write) -> fmt::Result {
        self.unfinished.finish(out)
    }

    /// Bytes of a character that is not yet complete.
    #[must_use]
    pub fn held(&self) -> &[u8] {
        &self.unfinished.held[..self.unfinished.held_length]
    }
}

impl Unfinished {
    /// As [`Detokenizer::showing_special`].
    #[must_use]
    pub fn showing_special(mut self) -> Self {
        self.show_special = true;
        self
    }

    /// As [`Detokenizer::push`], the tokenizer being the same each time.
    ///
    /// # Errors
    /// As there.
    pub fn push(&mut self, tokenizer: Tokenizer<'_>, id: u32, out: &mut impl Write) -> fmt::Result {
        let Some(mut bytes) = tokenizer.token_bytes(id) else {
            return Ok(());
        };
        let kind = tokenizer.kind(id);
        if matches!(kind, Some(Kind::Control | Kind::Unknown)) {
            return if self.show_special {
                self.write(bytes, out)
            } else {
                Ok(())
            };
        }
        if self.strip_space && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            self.strip_space = false;
        }
        self.write(bytes, out)
    }

    /// As [`Detokenizer::finish`].
    ///
    /// # Errors
    /// As there.
    pub fn finish(&mut self, out: &mut impl Write) -> fmt::Result {
        let held = core::mem::take(&mut self.held_length);
        if held > 0 {
            out.write_char(char::REPLACEMENT_CHARACTER)?;
        }
        Ok(())
    }

    fn write(&mut self, mut bytes: &[u8], out: &mut impl Write) -> fmt::Result {
        // Bytes go through `held` one by one until it is empty, then the rest goes at once.
        while self.held_length > 0 {
            let Some((&byte, rest)) = bytes.split_first() else {
                return Ok(());
            };
            bytes = rest;
            self.held[self.held_length] = byte;
            let held = self.held;
            let length = core::mem::take(&mut self.held_length) + 1;
            self.write_whole(&held[..length], out)?;
        }
        self.write_whole(bytes, out)
    }

    /// Writes `bytes` up to an incomplete character at their end, which is held back.
    fn write_whole(&mut self, bytes: &[u8], out: &mut impl Write) -> fmt::Result {
        let mut chunks = bytes.utf8_chunks().peekable();
        while let Some(chunk) = chunks.next() {
            out.write_str(chunk.valid())?;
            let invalid = chunk.invalid();
            if invalid.is_empty() {
                continue;
            }
            if chunks.peek().is_none() && is_incomplete(invalid) {
                self.held[..invalid.len()].copy_from_slice(invalid);
                self.held_length = invalid.len();
            } else {
                out.write_char(char::REPLACEMENT_CHARACTER)?;
            }
        }
        Ok(())
    }
}

/// Whether more bytes could make a character of `bytes`.
fn is_incomplete(bytes: &[u8]) -> bool {
    core::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}
