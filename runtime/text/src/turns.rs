//! Chat turns without Jinja: a small table of the texts that stand around what is said.
//!
//! A conversation is an optional system turn, then user and assistant in turn. Devices read the table in place;
//! hosts derive it from a template by [`derive()`] and check that both write the same.

#[cfg(feature = "jinja")]
mod derive;
#[cfg(test)]
mod tests;

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

#[cfg(feature = "jinja")]
pub use derive::derive;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Instructions ahead of the conversation.
    System,
    /// The one who asks.
    User,
    /// The model.
    Assistant,
}

/// One turn of a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn<'a> {
    /// Who speaks.
    pub role: Role,
    /// What is said.
    pub content: &'a str,
}

/// A part of a rendered conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece<'a> {
    /// Text of the table: names of special tokens in it mean these tokens; the sequence's beginning is among them.
    Control(&'a str),
    /// Text of a turn: names of special tokens in it are mere text.
    Content(&'a str),
}

/// The texts that stand around what is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Turns<'a> {
    /// Before the first user's content where no system turn is: beginning of sequence, default system text and all.
    pub opening: Cow<'a, str>,
    /// Before the system's content.
    pub system_prefix: Cow<'a, str>,
    /// Between the system's and the first user's content.
    pub system_suffix: Cow<'a, str>,
    /// Before the content of each later user turn.
    pub user_prefix: Cow<'a, str>,
    /// After a user's content.
    pub user_suffix: Cow<'a, str>,
    /// Before an assistant's content.
    pub assistant_prefix: Cow<'a, str>,
    /// After an assistant's content.
    pub assistant_suffix: Cow<'a, str>,
    /// Where the assistant is to speak next: what stands there in place of the prefix.
    pub generation: Cow<'a, str>,
    /// At the end of a conversation that nobody continues.
    pub end: Cow<'a, str>,
    /// What else the template does.
    pub traits: Traits,
}

/// What a template does besides putting texts around contents.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traits(u8);

impl Traits {
    /// There is no system turn.
    pub const NO_SYSTEM: Self = Self(1);
    /// A conversation cannot be rendered that ends with an assistant's turn.
    pub const NO_LAST_ASSISTANT: Self = Self(1 << 1);
    /// White space around the system's content is dropped.
    pub const TRIMS_SYSTEM: Self = Self(1 << 2);
    /// White space around a user's content is dropped.
    pub const TRIMS_USER: Self = Self(1 << 3);
    /// White space around an assistant's content is dropped.
    pub const TRIMS_ASSISTANT: Self = Self(1 << 4);
    /// An assistant's content up to and with its last `</think>` is dropped.
    pub const DROPS_THINKING: Self = Self(1 << 5);
    /// Line breaks at the beginning of what remains when thinking was dropped are dropped too.
    pub const DROPS_BREAKS_AFTER_THINKING: Self = Self(1 << 6);
    /// Line breaks at the beginning of an assistant's content are dropped.
    pub const DROPS_LEADING_BREAKS: Self = Self(1 << 7);

    /// Whether all of `other` are among these.
    #[must_use]
    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// These and `other`.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Why a table was not read, or a conversation not rendered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TurnsError {
    /// The bytes are of another version of the table.
    Version,
    /// The bytes end early or go on after the end.
    Malformed,
    /// Text number `.0` of the table is not UTF-8.
    Text(usize),
    /// Text number `.0` of the table is longer than 65,535 bytes.
    TooLong(usize),
    /// Turn number `.0`, from 0, is not the one whose turn it is.
    Order(usize),
    /// The model knows no system turn.
    NoSystem,
    /// There is no user turn.
    Empty,
    /// The assistant's turn must come before a user's, or be generated.
    LastAssistant,
}

/// Version, flags and the texts' lengths: the bytes before the texts.
const HEADER: usize = 2 + 2 * TEXTS;
const TEXTS: usize = 9;
const VERSION: u8 = 1;

impl<'a> Turns<'a> {
    /// Reads the table where it lies.
    ///
    /// Version and flags (a byte each), nine lengths (16 bits, little-endian), then the texts in the order of the
    /// fields without anything between them.
    ///
    /// # Errors
    ///
    /// [`TurnsError::Version`], [`TurnsError::Malformed`] or [`TurnsError::Text`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, TurnsError> {
        let (header, mut rest) = bytes
            .split_at_checked(HEADER)
            .ok_or(TurnsError::Malformed)?;
        if header[0] != VERSION {
            return Err(TurnsError::Version);
        }
        let mut turns = Self {
            traits: Traits(header[1]),
            ..Self::default()
        };
        for (index, text) in turns.texts_mut().into_iter().enumerate() {
            let length = u16::from_le_bytes([header[2 + 2 * index], header[3 + 2 * index]]);
            let (bytes, after) = rest
                .split_at_checked(length.into())
                .ok_or(TurnsError::Malformed)?;
            *text =
                Cow::Borrowed(core::str::from_utf8(bytes).map_err(|_| TurnsError::Text(index))?);
            rest = after;
        }
        if rest.is_empty() {
            Ok(turns)
        } else {
            Err(TurnsError::Malformed)
        }
    }

    /// The bytes that [`Turns::parse`] reads.
    ///
    /// # Errors
    ///
    /// [`TurnsError::TooLong`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, TurnsError> {
        let mut bytes = alloc::vec![VERSION, self.traits.0];
        for (index, text) in self.texts().into_iter().enumerate() {
            let length = u16::try_from(text.len()).map_err(|_| TurnsError::TooLong(index))?;
            bytes.extend_from_slice(&length.to_le_bytes());
        }
        self.texts()
            .into_iter()
            .for_each(|text| bytes.extend_from_slice(text.as_bytes()));
        Ok(bytes)
    }

    /// Hands the pieces of the rendered conversation to `emit`; with `add_generation_prompt` the assistant is to
    /// speak next.
    ///
    /// # Errors
    ///
    /// The conversation does not have the shape that the table knows; pieces may have been emitted by then.
    pub fn pieces(
        &self,
        conversation: &[Turn<'_>],
        add_generation_prompt: bool,
        mut emit: impl FnMut(Piece<'_>),
    ) -> Result<(), TurnsError> {
        let (system, turns) = match conversation {
            [system, turns @ ..] if system.role == Role::System => (Some(system), turns),
            turns => (None, turns),
        };
        let first = usize::from(system.is_some());
        self.open(system, &mut emit)?;
        for (index, turn) in turns.iter().enumerate() {
            let (role, prefix, suffix) = match index {
                0 => (Role::User, "", &*self.user_suffix),
                _ if index % 2 == 0 => (Role::User, &*self.user_prefix, &*self.user_suffix),
                _ => (
                    Role::Assistant,
                    &*self.assistant_prefix,
                    &*self.assistant_suffix,
                ),
            };
            if turn.role != role {
                return Err(TurnsError::Order(first + index));
            }
            control(prefix, &mut emit);
            emit(Piece::Content(self.content(turn)));
            control(suffix, &mut emit);
        }
        let ends_with_user = match turns.len() {
            0 => return Err(TurnsError::Empty),
            length => length % 2 == 1,
        };
        if !ends_with_user && (add_generation_prompt || self.traits.has(Traits::NO_LAST_ASSISTANT))
        {
            return Err(TurnsError::LastAssistant);
        }
        control(
            if add_generation_prompt {
                &self.generation
            } else {
                &self.end
            },
            &mut emit,
        );
        Ok(())
    }

    /// The rendered conversation as one text.
    ///
    /// # Errors
    ///
    /// As [`Turns::pieces`].
    pub fn render(
        &self,
        conversation: &[Turn<'_>],
        add_generation_prompt: bool,
    ) -> Result<String, TurnsError> {
        let mut text = String::new();
        self.pieces(conversation, add_generation_prompt, |piece| match piece {
            Piece::Control(piece) | Piece::Content(piece) => text.push_str(piece),
        })?;
        Ok(text)
    }

    /// The beginning, up to the first user's content.
    fn open(
        &self,
        system: Option<&Turn<'_>>,
        emit: &mut impl FnMut(Piece<'_>),
    ) -> Result<(), TurnsError> {
        let Some(system) = system else {
            control(&self.opening, emit);
            return Ok(());
        };
        if self.traits.has(Traits::NO_SYSTEM) {
            return Err(TurnsError::NoSystem);
        }
        control(&self.system_prefix, emit);
        emit(Piece::Content(self.content(system)));
        control(&self.system_suffix, emit);
        Ok(())
    }

    /// What of an assistant's content is shown, but for white space around it.
    fn answer<'t>(&self, content: &'t str) -> &'t str {
        const THOUGHT: &str = "</think>";
        let mut answer = content;
        if self.traits.has(Traits::DROPS_THINKING)
            && let Some(at) = content.rfind(THOUGHT)
        {
            answer = &content[at + THOUGHT.len()..];
            if self.traits.has(Traits::DROPS_BREAKS_AFTER_THINKING) {
                answer = answer.trim_start_matches('\n');
            }
        }
        if self.traits.has(Traits::DROPS_LEADING_BREAKS) {
            answer = answer.trim_start_matches('\n');
        }
        answer
    }

    /// What of a turn's content is shown.
    fn content<'t>(&self, turn: &Turn<'t>) -> &'t str {
        let content = match turn.role {
            Role::Assistant => self.answer(turn.content),
            _ => turn.content,
        };
        let trims = match turn.role {
            Role::System => Traits::TRIMS_SYSTEM,
            Role::User => Traits::TRIMS_USER,
            Role::Assistant => Traits::TRIMS_ASSISTANT,
        };
        if self.traits.has(trims) {
            content.trim()
        } else {
            content
        }
    }

    fn texts(&self) -> [&Cow<'a, str>; TEXTS] {
        [
            &self.opening,
            &self.system_prefix,
            &self.system_suffix,
            &self.user_prefix,
            &self.user_suffix,
            &self.assistant_prefix,
            &self.assistant_suffix,
            &self.generation,
            &self.end,
        ]
    }

    fn texts_mut(&mut self) -> [&mut Cow<'a, str>; TEXTS] {
        [
            &mut self.opening,
            &mut self.system_prefix,
            &mut self.system_suffix,
            &mut self.user_prefix,
            &mut self.user_suffix,
            &mut self.assistant_prefix,
            &mut self.assistant_suffix,
            &mut self.generation,
            &mut self.end,
        ]
    }
}

fn control(text: &str, emit: &mut impl FnMut(Piece<'_>)) {
    if !text.is_empty() {
        emit(Piece::Control(text));
    }
}

impl fmt::Display for TurnsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version => write!(f, "turn table is of another version than {VERSION}"),
            Self::Malformed => write!(f, "turn table has a wrong length"),
            Self::Text(index) => write!(f, "text {index} of the turn table is not UTF-8"),
            Self::TooLong(index) => write!(
                f,
                "text {index} of the turn table is longer than {} bytes",
                u16::MAX
            ),
            Self::Order(turn) => write!(
                f,
                "turn {turn} is out of order: an optional system turn, then user and assistant in turn"
            ),
            Self::NoSystem => write!(f, "the model has no system turn"),
            Self::Empty => write!(f, "the conversation has no user turn"),
            Self::LastAssistant => write!(f, "the conversation ends with an assistant's turn"),
        }
    }
}

impl core::error::Error for TurnsError {}
