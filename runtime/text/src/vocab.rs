//! What a tokenizer is, whatever file it came from: the description importers fill in.

use alloc::vec::Vec;
use core::fmt;

use crate::pretokenizer::Pretokenizer;

/// A tokenizer as data, before [`crate::build`] lays it out as a section of a file.
///
/// Text goes through it in this order: tokens that stand in the text as they are (user-defined
/// ones always, control ones where asked) are cut out; what lies between is normalised, split by
/// the pre-tokenizer, and each piece goes to the algorithm.
#[derive(Debug, Clone)]
pub struct Vocabulary {
    /// How a piece of text becomes tokens.
    pub algorithm: Algorithm,
    /// The tokens; a token's id is its place.
    pub tokens: Vec<Token>,
    /// How text is split into pieces that no token crosses.
    pub pretokenizer: &'static Pretokenizer,
    /// Bring text into Unicode's normal form C first.
    pub nfc: bool,
    /// Read U+2581 (the lower block SentencePiece writes for a space) in text as a space.
    pub fold_spaces: bool,
    /// Drop spaces at both ends of the text and all but one of a run.
    pub collapse_spaces: bool,
    /// Where a space is put before the text.
    pub space_prefix: SpacePrefix,
    /// A piece that is a token as a whole is that token, whatever the merges say.
    pub ignore_merges: bool,
    /// A character without a token becomes the tokens of its bytes.
    pub byte_fallback: bool,
    /// Neighbouring characters without a token share one unknown token.
    pub fuse_unknown: bool,
    /// The token that begins a text.
    pub bos: Option<u32>,
    /// The token that ends a text.
    pub eos: Option<u32>,
    /// The token of a character that has none; without it such characters are dropped.
    pub unknown: Option<u32>,
    /// Begin every text with `bos`.
    pub add_bos: bool,
    /// End every text with `eos`.
    pub add_eos: bool,
}

/// How a piece of text becomes tokens.
#[derive(Debug, Clone)]
pub enum Algorithm {
    /// Merges by rank, beginning with the bytes of the piece (GPT-2 and its heirs).
    Bytes(Vec<Merge>),
    /// Merges by rank, beginning with the characters of the piece.
    Characters(Vec<Merge>),
    /// Merges of neighbours whose joined text is a token, the highest score first, the leftmost
    /// among equals (SentencePiece's BPE).
    Scores,
    /// The segmentation with the highest sum of scores (SentencePiece's unigram model).
    Unigram,
}

/// Two neighbouring tokens that become one; a merge's rank is its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Merge {
    /// Id of the left token.
    pub left: u32,
    /// Id of the right token.
    pub right: u32,
    /// Id of the token both become.
    pub into: u32,
}

/// One entry of a vocabulary.
#[derive(Debug, Clone, PartialEq)]
pub struct Token {
    /// The bytes the token stands for, decoded: spaces are spaces, `<0x0A>` is a line feed.
    pub bytes: Vec<u8>,
    /// Score, where the algorithm has them, else 0.
    pub score: f32,
    /// What kind of entry it is.
    pub kind: Kind,
    /// Found in text, the token takes the white space before it too.
    pub lstrip: bool,
    /// Found in text, the token takes the white space after it too.
    pub rstrip: bool,
}

impl Token {
    /// A token that takes no white space beside it.
    #[must_use]
    pub fn new(bytes: Vec<u8>, score: f32, kind: Kind) -> Self {
        Self {
            bytes,
            score,
            kind,
            lstrip: false,
            rstrip: false,
        }
    }
}

/// The kinds of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// Made from text by the algorithm.
    Normal = 0,
    /// Stands for what has no token.
    Unknown = 1,
    /// Stands for no text; found in text only where asked.
    Control = 2,
    /// Always found in text as it is, before the algorithm sees it.
    UserDefined = 3,
    /// One byte, for characters without a token.
    Byte = 4,
    /// Never made from text.
    Unused = 5,
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::Normal,
        Self::Unknown,
        Self::Control,
        Self::UserDefined,
        Self::Byte,
        Self::Unused,
    ];
}

/// Where a space is put before text, so that a word at its start looks like one inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum SpacePrefix {
    /// Nowhere.
    #[default]
    Never = 0,
    /// Before the text.
    First = 1,
    /// Before the text unless a space or a token cut out of it begins it.
    FirstUnlessSpace = 2,
    /// Before every stretch of text between tokens cut out of it.
    Every = 3,
    /// Before every stretch of text between tokens cut out of it, unless a space begins it.
    EveryUnlessSpace = 4,
}

impl SpacePrefix {
    pub(crate) const ALL: [Self; 5] = [
        Self::Never,
        Self::First,
        Self::FirstUnlessSpace,
        Self::Every,
        Self::EveryUnlessSpace,
    ];
}

/// Why a vocabulary cannot become a section, or a section cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The section is shorter than its header.
    Truncated,
    /// The section is of a version that is not read.
    Version(u32),
    /// A field of the header holds a value without a meaning.
    Field(&'static str),
    /// The tables the header announces are not as long as the section.
    Length {
        /// Bytes the header announces.
        announced: u64,
        /// Bytes that are there.
        found: u64,
    },
    /// A table would have more entries or bytes than the section can hold.
    TooMany(&'static str),
    /// A token, a merge or a special token names an id without a token.
    Id(u32),
    /// A token found in text is longer than the longest allowed.
    TooLong(u32),
    /// So many tokens share a hash that no table of bounded look-ups holds them.
    Collisions(&'static str),
    /// Splitting or normalising text takes Unicode's tables, which this build leaves out.
    Unicode,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Truncated => write!(f, "tokenizer section: shorter than its header"),
            Self::Version(v) => write!(f, "tokenizer section: version {v} is not read"),
            Self::Field(name) => write!(f, "tokenizer section: bad value of `{name}`"),
            Self::Length { announced, found } => write!(
                f,
                "tokenizer section: its header announces {announced} bytes, it has {found}"
            ),
            Self::TooMany(what) => write!(f, "tokenizer: too many {what}"),
            Self::Id(id) => write!(f, "tokenizer: there is no token {id}"),
            Self::TooLong(id) => write!(f, "tokenizer: token {id} is too long to be found in text"),
            Self::Collisions(what) => write!(f, "tokenizer: the hashes of {what} collide"),
            Self::Unicode => write!(
                f,
                "tokenizer: it needs the tables of Unicode; build inkstone-text with feature `unicode`"
            ),
        }
    }
}

impl core::error::Error for Error {}
