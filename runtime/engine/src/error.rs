//! Why something did not work, in the few kinds that an application acts on.

use core::fmt;
use std::borrow::Cow;

use inkstone_model::{Fault, PlanError, SessionError};

/// The result of what the engine does.
pub type Result<T> = core::result::Result<T, Error>;

/// Why something did not work: a kind to act on and a line to show, which says what, where and, where known, what to do.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    what: What,
}

/// What an application can act on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// There is no such file.
    NotFound,
    /// The file is something else; convert it first.
    NotAModel,
    /// The file is broken; get it again.
    Damaged,
    /// The file, the device or the option is sound but nothing that this build can use.
    Unsupported,
    /// A snapshot is of another model, numerics or configuration, or a draft of another vocabulary.
    Mismatch,
    /// The context has no room left.
    ContextFull,
    /// Going back further than the configuration keeps.
    RewindTooFar,
    /// A [`Canceller`](crate::Canceller) stopped the step.
    Cancelled,
    /// There is not enough memory.
    OutOfMemory,
    /// A parameter is out of range.
    Invalid,
    /// The weights gave a logit that is not a finite number.
    NotFinite,
    /// Reading or writing failed.
    Io,
}

/// The line to show. What a step can fail with is kept as it is: making it allocates nothing.
#[derive(Debug)]
enum What {
    Session(SessionError),
    Text(Cow<'static, str>),
}

impl Error {
    /// What to act on.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    pub(crate) fn text(kind: ErrorKind, text: impl Into<Cow<'static, str>>) -> Error {
        let what = What::Text(text.into());
        Error { kind, what }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            What::Session(error) => error.fmt(f),
            What::Text(text) => f.write_str(text),
        }
    }
}

impl core::error::Error for Error {}

impl From<SessionError> for Error {
    fn from(error: SessionError) -> Error {
        let kind = match error {
            SessionError::ContextFull { .. } => ErrorKind::ContextFull,
            SessionError::RewindTooFar { .. } => ErrorKind::RewindTooFar,
            SessionError::Fault(Fault::Cancelled) => ErrorKind::Cancelled,
            SessionError::Fault(Fault::NotFinite { .. }) => ErrorKind::NotFinite,
            SessionError::Fault(Fault::Unread) => ErrorKind::Io,
            _ => ErrorKind::Invalid,
        };
        Error {
            kind,
            what: What::Session(error),
        }
    }
}

impl From<PlanError> for Error {
    fn from(error: PlanError) -> Error {
        let kind = match error {
            PlanError::TooLarge => ErrorKind::OutOfMemory,
            _ => ErrorKind::Invalid,
        };
        Error::text(kind, error.to_string())
    }
}

impl From<crate::sampler::ParamError> for Error {
    fn from(error: crate::sampler::ParamError) -> Error {
        Error::text(ErrorKind::Invalid, error.to_string())
    }
}
