//! The tokenizer in use: a checked section, and questions to it.

use alloc::string::String;
use alloc::vec::Vec;

use crate::detokenizer::Detokenizer;
use crate::encode;
use crate::pretokenizer::Pretokenizer;
use crate::section::{FLAG_ADD_BOS, FLAG_ADD_EOS, FLAG_NFC, Hash, SPECIAL_MAX, Section};
use crate::unicode;
use crate::vocab::{Error, Kind, SpacePrefix};

/// A tokenizer that reads its section where it lies.
#[derive(Debug, Clone, Copy)]
pub struct Tokenizer<'a> {
    pub(crate) section: Section<'a>,
    pub(crate) pretokenizer: &'static Pretokenizer,
}

/// What [`Tokenizer::encode`] leaves to its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Control tokens that stand in the text become themselves, not their letters.
    pub parse_special: bool,
    /// Begin with the begin-of-text token; `None` does what the vocabulary says.
    pub add_bos: Option<bool>,
    /// End with the end-of-text token; `None` does what the vocabulary says.
    pub add_eos: Option<bool>,
}

impl Options {
    /// Only what the text itself becomes: nothing added, no control token parsed.
    pub const PLAIN: Self = Self {
        parse_special: false,
        add_bos: Some(false),
        add_eos: Some(false),
    };
}

impl<'a> Tokenizer<'a> {
    /// Checks the header of a section; no table is read.
    ///
    /// # Errors
    /// What is wrong with the header, or that its tables are not as long as the section.
    pub fn parse(section: &'a [u8]) -> Result<Self, Error> {
        let section = Section::parse(section)?;
        let pretokenizer = Pretokenizer::by_id(section.header.pretokenizer)
            .ok_or(Error::Field("pre-tokenizer"))?;
        if !unicode::PRESENT && (section.flag(FLAG_NFC) || pretokenizer.splits()) {
            return Err(Error::Unicode);
        }
        Ok(Self {
            section,
            pretokenizer,
        })
    }

    /// Appends the tokens of `text` to `out`; every id is below [`Self::len`].
    ///
    /// Takes time in proportion to `n log n` and memory in proportion to `n` for `n` bytes.
    pub fn encode(&self, text: &str, options: Options, out: &mut Vec<u32>) {
        if options.add_bos.unwrap_or(self.section.flag(FLAG_ADD_BOS)) {
            out.extend(self.bos());
        }
        encode::text(self, text, options.parse_special, out);
        if options.add_eos.unwrap_or(self.section.flag(FLAG_ADD_EOS)) {
            out.extend(self.eos());
        }
    }

    /// The text of `ids` from the beginning of a text; control tokens give none.
    #[must_use]
    pub fn decode(&self, ids: &[u32]) -> String {
        let mut text = String::new();
        let mut detokenizer = Detokenizer::new(*self);
        let written = ids
            .iter()
            .try_for_each(|&id| detokenizer.push(id, &mut text))
            .and_then(|()| detokenizer.finish(&mut text));
        written.expect("writing to a string does not fail");
        text
    }

    /// How many tokens there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.section.header.tokens as usize
    }

    /// Whether there are no tokens.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes token `id` stands for; a control token's are its name.
    #[must_use]
    pub fn token_bytes(&self, id: u32) -> Option<&'a [u8]> {
        self.section.token(id)
    }

    /// What kind of entry token `id` is.
    #[must_use]
    pub fn kind(&self, id: u32) -> Option<Kind> {
        self.section.kind(id)
    }

    /// Whether token `id` stands for no text: it is a control or an unknown token.
    #[must_use]
    pub fn is_control(&self, id: u32) -> bool {
        matches!(self.kind(id), Some(Kind::Control | Kind::Unknown))
    }

    /// The score of token `id`; 0 where the vocabulary has none.
    #[must_use]
    pub fn score(&self, id: u32) -> f32 {
        self.section.score(id)
    }

    /// The token whose bytes, or whose name if it is a control token, are `text`.
    #[must_use]
    pub fn id_of(&self, text: &str) -> Option<u32> {
        let bytes = text.as_bytes();
        match longest_special(&self.section, bytes, true) {
            Some((id, length)) if length == bytes.len() => Some(id),
            _ => self.section.find(bytes, Hash::of(bytes)),
        }
    }

    /// The token of a lone byte: of the byte alphabet, or of byte fallback.
    #[must_use]
    pub fn byte_token(&self, byte: u8) -> Option<u32> {
        self.section.byte_token(byte)
    }

    /// The token that begins a text.
    #[must_use]
    pub fn bos(&self) -> Option<u32> {
        self.section.known(self.section.header.bos)
    }

    /// The token that ends a text.
    #[must_use]
    pub fn eos(&self) -> Option<u32> {
        self.section.known(self.section.header.eos)
    }

    /// The token of what has none.
    #[must_use]
    pub fn unknown(&self) -> Option<u32> {
        self.section.known(self.section.header.unknown)
    }

    /// Whether texts begin with [`Self::bos`] unless the caller says otherwise.
    #[must_use]
    pub fn adds_bos(&self) -> bool {
        self.section.flag(FLAG_ADD_BOS)
    }

    /// Whether encoding puts a space before a text, which decoding takes away.
    #[must_use]
    pub fn prefixes_space(&self) -> bool {
        self.section.space_prefix != SpacePrefix::Never
    }

    /// How text is split before it is tokenised.
    #[must_use]
    pub fn pretokenizer(&self) -> &'static Pretokenizer {
        self.pretokenizer
    }
}

/// The longest token found in text as it is with which `text` begins, and its length.
///
/// The tokens are sorted, so that those which share a beginning are neighbours; each byte of the
/// text narrows their range.
pub(crate) fn longest_special(
    section: &Section<'_>,
    text: &[u8],
    parse_special: bool,
) -> Option<(u32, usize)> {
    let token = |index: usize| section.special(index).and_then(|id| section.token(id));
    let mut range = 0..section.header.specials as usize;
    let mut best = None;
    for (depth, &byte) in text.iter().enumerate().take(SPECIAL_MAX) {
        let at = |index: usize| token(index).and_then(|bytes| bytes.get(depth)).copied();
        range.start = partition(range.clone(), |index| at(index) < Some(byte));
        range.end = partition(range.clone(), |index| at(index) <= Some(byte));
        if range.is_empty() {
            break;
        }
        let first = section.special(range.start)?;
        let wanted = parse_special || section.kind(first) == Some(Kind::UserDefined);
        if wanted && section.token(first).map(<[u8]>::len) == Some(depth + 1) {
            best = Some((first, depth + 1));
        }
    }
    best
}

/// The first index of a sorted range that is not `before`.
fn partition(mut range: core::ops::Range<usize>, before: impl Fn(usize) -> bool) -> usize {
    while range.start < range.end {
        let middle = range.start + (range.end - range.start) / 2;
        if before(middle) {
            range.start = middle + 1;
        } else {
            range.end = middle;
        }
    }
    range.start
}
