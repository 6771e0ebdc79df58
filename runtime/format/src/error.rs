//! Why a file is refused, and at which byte.

use core::fmt;

/// Why a file is refused: what is wrong and the byte of the file where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Error {
    /// What is wrong.
    pub kind: ErrorKind,
    /// Where: byte from the start of the file.
    pub offset: u64,
}

/// What can be wrong with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The host is big-endian; tables are used in place and are little-endian.
    BigEndianHost,
    /// The first bytes are not those of an `.ink` file.
    Magic,
    /// The endianness mark is not that of a little-endian file.
    Endianness,
    /// The major version of the format is not known here.
    Version,
    /// The file is for another version of the numeric definition.
    Numerics,
    /// The file needs a feature that is not known here.
    Feature,
    /// The file is shorter than its header says.
    Truncated,
    /// The length that the header records is not where the last section ends.
    Length,
    /// A count exceeds the format's limit.
    Count,
    /// A field that must be zero is not.
    Reserved,
    /// A section or tensor lies outside of what should hold it, or over its neighbour.
    Range,
    /// A section or tensor does not start at a multiple of its alignment.
    Alignment,
    /// Rows of a table are out of order or stand twice.
    Order,
    /// A section that must be understood is of a kind that is not known here.
    Section,
    /// The tensor table is there without a payload, or the other way round, or is no whole number of rows.
    Table,
    /// A tensor's number of a weight format is not known here.
    Format,
    /// A tensor has no rows, no inputs, too many inputs or an impossible panel height.
    Shape,
    /// A tensor's length is not what its format and shape need.
    Bytes,
    /// Bytes are not those that were hashed when the file was written.
    Hash,
    /// Bytes between sections or tensors are not zero.
    Padding,
}

impl ErrorKind {
    /// The message, without the place.
    pub const fn message(self) -> &'static str {
        match self {
            ErrorKind::BigEndianHost => "big-endian hosts cannot use .ink files",
            ErrorKind::Magic => "not an .ink file",
            ErrorKind::Endianness => "wrong endianness mark",
            ErrorKind::Version => "unknown major version of the format",
            ErrorKind::Numerics => "made for another version of the numerics",
            ErrorKind::Feature => "needs a feature that this version does not know",
            ErrorKind::Truncated => "file is shorter than its header says",
            ErrorKind::Length => "recorded length is not the end of the last section",
            ErrorKind::Count => "count exceeds the limit",
            ErrorKind::Reserved => "reserved bytes are not zero",
            ErrorKind::Range => "section or tensor out of range or over its neighbour",
            ErrorKind::Alignment => "section or tensor is not aligned",
            ErrorKind::Order => "rows of the table are out of order or repeated",
            ErrorKind::Section => "needs a section that this version does not know",
            ErrorKind::Table => "tensor table and payload do not belong together",
            ErrorKind::Format => "unknown weight format",
            ErrorKind::Shape => "impossible tensor shape",
            ErrorKind::Bytes => "tensor length does not match its format and shape",
            ErrorKind::Hash => "damaged: bytes do not match their hash",
            ErrorKind::Padding => "damaged: padding is not zero",
        }
    }

    pub(crate) const fn at(self, offset: u64) -> Error {
        Error { kind: self, offset }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (byte {})", self.kind.message(), self.offset)
    }
}

impl core::error::Error for Error {}
