//! Why a template did not render.

use alloc::string::{String, ToString};
use core::fmt;

use minijinja::{ErrorKind as EngineKind, Value};

/// Why a template did not render, with the engine's words and the line of the template where known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    kind: ErrorKind,
    line: Option<usize>,
    detail: String,
}

/// The kinds that a caller may tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The template is not Jinja, or uses a part of it that is not there.
    Syntax,
    /// The template refused the conversation by `raise_exception`; the detail is its message.
    Raised,
    /// A value was missing or of the wrong type.
    Value,
    /// The source is longer than [`Limits::source_bytes`](super::Limits::source_bytes), the detail.
    SourceTooLong,
    /// More steps than [`Limits::steps`](super::Limits::steps).
    TooManySteps,
    /// The text grew beyond [`Limits::output_bytes`](super::Limits::output_bytes), the detail.
    OutputTooLong,
    /// Values or calls nested deeper than [`Limits`](super::Limits) allows.
    TooDeep,
}

impl ErrorKind {
    /// What happened, in words.
    #[must_use]
    pub const fn description(self) -> &'static str {
        match self {
            Self::Syntax => "chat template is not valid",
            Self::Raised => "chat template refused the conversation",
            Self::Value => "chat template failed",
            Self::SourceTooLong => "chat template is longer than this many bytes",
            Self::TooManySteps => "chat template takes too many steps",
            Self::OutputTooLong => "chat template writes more than this many bytes",
            Self::TooDeep => "chat template or its input is nested too deeply",
        }
    }
}

impl Error {
    /// Why, in kind.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Line of the template, from 1, where the error arose.
    #[must_use]
    pub const fn line(&self) -> Option<usize> {
        self.line
    }

    /// Particulars: for [`ErrorKind::Raised`] the message of the template.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    pub(super) const fn new(kind: ErrorKind, detail: String) -> Self {
        Self {
            kind,
            line: None,
            detail,
        }
    }

    /// Translates the engine's error, looking through its chain of causes for ours.
    pub(super) fn from_engine(error: minijinja::Error) -> Self {
        let line = error.line();
        let mut cause: Option<&(dyn core::error::Error + 'static)> = Some(&error);
        while let Some(current) = cause {
            if let Some(ours) = current.downcast_ref::<Self>() {
                return Self {
                    line,
                    ..ours.clone()
                };
            }
            cause = current.source();
        }
        let detail = error
            .detail()
            .map_or_else(|| error.kind().to_string(), ToString::to_string);
        Self {
            kind: kind_of(&error),
            line,
            detail,
        }
    }

    /// Wraps this error so that it passes through the engine.
    pub(super) fn into_engine(self) -> minijinja::Error {
        let detail = self.detail.clone();
        minijinja::Error::new(EngineKind::InvalidOperation, detail).with_source(self)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind.description())?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

impl core::error::Error for Error {}

/// `raise_exception(message)` of the templates.
pub(super) fn raise_exception(message: &Value) -> Result<Value, minijinja::Error> {
    Err(Error::new(ErrorKind::Raised, message.to_string()).into_engine())
}

fn kind_of(error: &minijinja::Error) -> ErrorKind {
    match error.kind() {
        EngineKind::OutOfFuel => ErrorKind::TooManySteps,
        EngineKind::SyntaxError
        | EngineKind::BadEscape
        | EngineKind::UnknownFilter
        | EngineKind::UnknownTest
        | EngineKind::UnknownFunction => ErrorKind::Syntax,
        EngineKind::InvalidOperation if error.detail() == Some("recursion limit exceeded") => {
            ErrorKind::TooDeep
        }
        _ => ErrorKind::Value,
    }
}
