//! What a caller hears of a failure.

use core::fmt;
use std::sync::{Mutex, MutexGuard};

use inkstone_engine::{Error, ErrorKind};

/// Why a call failed: the kind to act on, the message to show.
#[derive(Debug, Clone, PartialEq, Eq, uniffi::Error)]
#[uniffi(flat_error)]
pub enum InkstoneError {
    /// There is no such file.
    NotFound(String),
    /// The file is something else; convert it first.
    NotAModel(String),
    /// The file is broken; get it again.
    Damaged(String),
    /// The file or the option is sound but nothing that this build can use.
    Unsupported(String),
    /// A saved session is of another model or configuration, or a draft of another vocabulary.
    Mismatch(String),
    /// The context has no room left.
    ContextFull(String),
    /// Going back further than the session keeps.
    RewindTooFar(String),
    /// `cancel` stopped the call; the session stands as before it.
    Cancelled(String),
    /// There is not enough memory.
    OutOfMemory(String),
    /// A parameter is out of range.
    Invalid(String),
    /// The weights gave a logit that is not a finite number.
    NotFinite(String),
    /// Reading or writing failed.
    Io(String),
    /// A defect of the library.
    Internal(String),
}

pub(crate) type Result<T> = core::result::Result<T, InkstoneError>;

impl InkstoneError {
    pub(crate) fn invalid(text: impl fmt::Display) -> InkstoneError {
        InkstoneError::Invalid(text.to_string())
    }
}

impl fmt::Display for InkstoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use InkstoneError::*;
        let (NotFound(text) | NotAModel(text) | Damaged(text) | Unsupported(text) | Mismatch(text)
        | ContextFull(text) | RewindTooFar(text) | Cancelled(text) | OutOfMemory(text)
        | Invalid(text) | NotFinite(text) | Io(text) | Internal(text)) = self;
        f.write_str(text)
    }
}

impl core::error::Error for InkstoneError {}

impl From<Error> for InkstoneError {
    fn from(error: Error) -> InkstoneError {
        let of = match error.kind() {
            ErrorKind::NotFound => InkstoneError::NotFound,
            ErrorKind::NotAModel => InkstoneError::NotAModel,
            ErrorKind::Damaged => InkstoneError::Damaged,
            ErrorKind::Unsupported => InkstoneError::Unsupported,
            ErrorKind::Mismatch => InkstoneError::Mismatch,
            ErrorKind::ContextFull => InkstoneError::ContextFull,
            ErrorKind::RewindTooFar => InkstoneError::RewindTooFar,
            ErrorKind::Cancelled => InkstoneError::Cancelled,
            ErrorKind::OutOfMemory => InkstoneError::OutOfMemory,
            ErrorKind::Invalid => InkstoneError::Invalid,
            ErrorKind::NotFinite => InkstoneError::NotFinite,
            ErrorKind::Io => InkstoneError::Io,
            _ => InkstoneError::Internal,
        };
        of(error.to_string())
    }
}

/// What a lock guards, for one call; a defect in an earlier call is told, not repeated.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> Result<MutexGuard<'_, T>> {
    mutex.lock().map_err(|_| {
        InkstoneError::Internal("an earlier call ended in a defect of the library".to_owned())
    })
}
