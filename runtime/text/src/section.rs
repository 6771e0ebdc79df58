//! The tokenizer section: fixed-width little-endian tables, used where they lie.
//!
//! A header of [`WORDS`] words is followed by the tables of [`Layout`] in their order. Hash tables
//! are arrays of `u32` with linear probing: 0 is empty, else the low 24 bits are an index plus one
//! and the high 8 bits those of the hash. Every access is checked, so bytes that lie about their
//! contents give wrong tokens, never a panic.

use crate::vocab::{Error, Kind, SpacePrefix};

pub(crate) const VERSION: u32 = 1;
pub(crate) const WORDS: usize = 17;
/// The word that means "no token".
pub(crate) const NONE: u32 = u32::MAX;
/// Entries of a table that a slot can point to.
pub(crate) const ENTRIES_MAX: u32 = (1 << 24) - 1;
pub(crate) const SLOTS_MAX: u32 = 1 << 26;
/// Slots looked at before a look-up gives up; a writer makes the table larger instead.
pub(crate) const PROBES_MAX: usize = 48;
/// Bytes of a token that is found in text as it is.
pub(crate) const SPECIAL_MAX: usize = 1024;

pub(crate) const FLAG_NFC: u32 = 1;
pub(crate) const FLAG_FOLD_SPACES: u32 = 1 << 1;
pub(crate) const FLAG_COLLAPSE_SPACES: u32 = 1 << 2;
pub(crate) const FLAG_IGNORE_MERGES: u32 = 1 << 3;
pub(crate) const FLAG_BYTE_FALLBACK: u32 = 1 << 4;
pub(crate) const FLAG_FUSE_UNKNOWN: u32 = 1 << 5;
pub(crate) const FLAG_ADD_BOS: u32 = 1 << 6;
pub(crate) const FLAG_ADD_EOS: u32 = 1 << 7;
const FLAGS: u32 = (1 << 8) - 1;

pub(crate) const INFO_KIND: u8 = 7;
pub(crate) const INFO_LSTRIP: u8 = 1 << 3;
pub(crate) const INFO_RSTRIP: u8 = 1 << 4;

/// How pieces become tokens; the merges themselves are a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Method {
    Bytes = 0,
    Characters = 1,
    Scores = 2,
    Unigram = 3,
}

impl Method {
    const ALL: [Self; 4] = [Self::Bytes, Self::Characters, Self::Scores, Self::Unigram];
}

/// The words at the beginning of a section.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Header {
    pub(crate) flags: u32,
    pub(crate) method: u32,
    pub(crate) pretokenizer: u32,
    pub(crate) space_prefix: u32,
    pub(crate) bos: u32,
    pub(crate) eos: u32,
    pub(crate) unknown: u32,
    pub(crate) tokens: u32,
    pub(crate) slots: u32,
    pub(crate) merges: u32,
    pub(crate) merge_slots: u32,
    pub(crate) specials: u32,
    /// Bits of the table of neighbours.
    pub(crate) joints: u32,
    /// Bytes of the longest token that text can become.
    pub(crate) longest: u32,
    /// Bytes of all tokens together.
    pub(crate) text: u32,
    /// Bits of the lowest score of a token that text can become, or of 0.
    pub(crate) worst: u32,
}

impl Header {
    pub(crate) fn words(&self) -> [u32; WORDS] {
        [
            VERSION,
            self.flags,
            self.method,
            self.pretokenizer,
            self.space_prefix,
            self.bos,
            self.eos,
            self.unknown,
            self.tokens,
            self.slots,
            self.merges,
            self.merge_slots,
            self.specials,
            self.joints,
            self.longest,
            self.text,
            self.worst,
        ]
    }

    fn read(bytes: &[u8]) -> Result<Self, Error> {
        let mut words = [0; WORDS];
        for (index, word) in words.iter_mut().enumerate() {
            *word = u32_at(bytes, index).ok_or(Error::Truncated)?;
        }
        let [
            version,
            flags,
            method,
            pretokenizer,
            space_prefix,
            bos,
            eos,
            unknown,
            tokens,
            slots,
            merges,
            merge_slots,
            specials,
            joints,
            longest,
            text,
            worst,
        ] = words;
        if version != VERSION {
            return Err(Error::Version(version));
        }
        Ok(Self {
            flags,
            method,
            pretokenizer,
            space_prefix,
            bos,
            eos,
            unknown,
            tokens,
            slots,
            merges,
            merge_slots,
            specials,
            joints,
            longest,
            text,
            worst,
        })
    }

    fn check(&self) -> Result<(), Error> {
        let table = |slots: u32| slots == 0 || (slots.is_power_of_two() && slots <= SLOTS_MAX);
        let id = |id: u32| id == NONE || id < self.tokens;
        let checks = [
            ("flags", self.flags & !FLAGS == 0),
            ("tokens", self.tokens <= ENTRIES_MAX),
            ("merges", self.merges <= ENTRIES_MAX),
            ("specials", self.specials <= self.tokens),
            ("slots", table(self.slots)),
            ("merge slots", table(self.merge_slots)),
            (
                "joints",
                self.joints == 0 || (self.joints.is_power_of_two() && self.joints >= 32),
            ),
            ("bos", id(self.bos)),
            ("eos", id(self.eos)),
            ("unknown", id(self.unknown)),
        ];
        match checks.iter().find(|(_, good)| !good) {
            Some((name, _)) => Err(Error::Field(name)),
            None => Ok(()),
        }
    }
}

/// Bytes of each table, in the order of the section.
pub(crate) struct Layout {
    pub(crate) ends: u64,
    pub(crate) scores: u64,
    pub(crate) slots: u64,
    pub(crate) merges: u64,
    pub(crate) merge_slots: u64,
    pub(crate) byte_tokens: u64,
    pub(crate) starts: u64,
    pub(crate) specials: u64,
    pub(crate) joints: u64,
    pub(crate) infos: u64,
    pub(crate) text: u64,
}

impl Layout {
    fn of(header: &Header, method: Method) -> Self {
        let tokens = u64::from(header.tokens);
        let scored = matches!(method, Method::Scores | Method::Unigram);
        Self {
            ends: tokens * 4,
            scores: if scored { tokens * 4 } else { 0 },
            slots: u64::from(header.slots) * 4,
            merges: u64::from(header.merges) * 12,
            merge_slots: u64::from(header.merge_slots) * 4,
            byte_tokens: 256 * 4,
            starts: 32,
            specials: u64::from(header.specials) * 4,
            joints: u64::from(header.joints) / 8,
            infos: tokens,
            text: u64::from(header.text),
        }
    }

    fn total(&self) -> u64 {
        WORDS as u64 * 4
            + self.ends
            + self.scores
            + self.slots
            + self.merges
            + self.merge_slots
            + self.byte_tokens
            + self.starts
            + self.specials
            + self.joints
            + self.infos
            + self.text
    }
}

/// A section whose header holds; its tables are read entry by entry.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section<'a> {
    pub(crate) header: Header,
    pub(crate) method: Method,
    pub(crate) space_prefix: SpacePrefix,
    ends: &'a [u8],
    scores: &'a [u8],
    slots: &'a [u8],
    merges: &'a [u8],
    merge_slots: &'a [u8],
    byte_tokens: &'a [u8],
    starts: &'a [u8],
    specials: &'a [u8],
    joints: &'a [u8],
    infos: &'a [u8],
    text: &'a [u8],
}

impl<'a> Section<'a> {
    pub(crate) fn parse(bytes: &'a [u8]) -> Result<Self, Error> {
        let header = Header::read(bytes)?;
        header.check()?;
        let method = *Method::ALL
            .get(header.method as usize)
            .ok_or(Error::Field("method"))?;
        let space_prefix = *SpacePrefix::ALL
            .get(header.space_prefix as usize)
            .ok_or(Error::Field("space prefix"))?;
        let layout = Layout::of(&header, method);
        if layout.total() != bytes.len() as u64 {
            return Err(Error::Length {
                announced: layout.total(),
                found: bytes.len() as u64,
            });
        }
        let mut rest = bytes.get(WORDS * 4..).ok_or(Error::Truncated)?;
        let mut table = |length: u64| {
            let length = usize::try_from(length).map_err(|_| Error::Truncated)?;
            let (head, tail) = rest.split_at_checked(length).ok_or(Error::Truncated)?;
            rest = tail;
            Ok(head)
        };
        Ok(Self {
            header,
            method,
            space_prefix,
            ends: table(layout.ends)?,
            scores: table(layout.scores)?,
            slots: table(layout.slots)?,
            merges: table(layout.merges)?,
            merge_slots: table(layout.merge_slots)?,
            byte_tokens: table(layout.byte_tokens)?,
            starts: table(layout.starts)?,
            specials: table(layout.specials)?,
            joints: table(layout.joints)?,
            infos: table(layout.infos)?,
            text: table(layout.text)?,
        })
    }

    pub(crate) fn flag(&self, flag: u32) -> bool {
        self.header.flags & flag != 0
    }

    /// `id`, if there is such a token.
    pub(crate) fn known(&self, id: u32) -> Option<u32> {
        (id < self.header.tokens).then_some(id)
    }

    pub(crate) fn token(&self, id: u32) -> Option<&'a [u8]> {
        let id = id as usize;
        let start = match id.checked_sub(1) {
            Some(before) => u32_at(self.ends, before)?,
            None => 0,
        };
        let end = u32_at(self.ends, id)?;
        self.text.get(start as usize..end as usize)
    }

    pub(crate) fn info(&self, id: u32) -> Option<u8> {
        self.infos.get(id as usize).copied()
    }

    pub(crate) fn kind(&self, id: u32) -> Option<Kind> {
        let kind = self.info(id)? & INFO_KIND;
        Kind::ALL.get(usize::from(kind)).copied()
    }

    pub(crate) fn score(&self, id: u32) -> f32 {
        u32_at(self.scores, id as usize).map_or(0.0, f32::from_bits)
    }

    /// The token that text with the bytes `bytes` and their hash `hash` is.
    pub(crate) fn find(&self, bytes: &[u8], hash: u64) -> Option<u32> {
        probe(self.slots, hash, |index| {
            (self.token(index) == Some(bytes)).then_some(index)
        })
        .and_then(|id| self.known(id))
    }

    /// The rank of the merge of two tokens, and what they become.
    pub(crate) fn merge(&self, left: u32, right: u32) -> Option<(u32, u32)> {
        let (rank, into) = probe(self.merge_slots, pair_hash(left, right), |index| {
            let at = index as usize * 3;
            let found = u32_at(self.merges, at)? == left && u32_at(self.merges, at + 1)? == right;
            found
                .then(|| u32_at(self.merges, at + 2))
                .flatten()
                .map(|into| (index, into))
        })?;
        Some((rank, self.known(into)?))
    }

    pub(crate) fn byte_token(&self, byte: u8) -> Option<u32> {
        u32_at(self.byte_tokens, usize::from(byte)).and_then(|id| self.known(id))
    }

    /// Whether any token found in text as it is begins with `byte`.
    pub(crate) fn starts_special(&self, byte: u8) -> bool {
        let byte = usize::from(byte);
        self.starts
            .get(byte / 8)
            .is_some_and(|bits| bits >> (byte % 8) & 1 == 1)
    }

    /// The tokens found in text as they are, in the order of their bytes.
    pub(crate) fn special(&self, index: usize) -> Option<u32> {
        u32_at(self.specials, index).and_then(|id| self.known(id))
    }

    /// Whether a token may hold `left` and `right` side by side.
    pub(crate) fn joins(&self, left: char, right: char) -> bool {
        let Some(bits) = self.header.joints.checked_sub(1) else {
            return true;
        };
        let bit = joint_hash(left, right) as u32 & bits;
        self.joints
            .get(bit as usize / 8)
            .is_none_or(|byte| byte >> (bit % 8) & 1 == 1)
    }
}

/// The little-endian word `index` of a table.
pub(crate) fn u32_at(table: &[u8], index: usize) -> Option<u32> {
    let at = index.checked_mul(4)?;
    let bytes = table.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

/// FNV-1a over 64 bits, one byte at a time; `finish` spreads it over all bits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hash(u64);

impl Hash {
    pub(crate) const START: Self = Self(0xcbf2_9ce4_8422_2325);

    pub(crate) fn add(self, byte: u8) -> Self {
        Self((self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
    }

    pub(crate) fn of(bytes: &[u8]) -> u64 {
        bytes
            .iter()
            .fold(Self::START, |hash, &byte| hash.add(byte))
            .finish()
    }

    pub(crate) fn finish(self) -> u64 {
        spread(self.0)
    }
}

pub(crate) fn pair_hash(left: u32, right: u32) -> u64 {
    spread(u64::from(left) << 32 | u64::from(right))
}

pub(crate) fn joint_hash(left: char, right: char) -> u64 {
    pair_hash(u32::from(left), u32::from(right))
}

/// The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
fn spread(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// The slot word of entry `index` with hash `hash`.
pub(crate) fn slot(index: u32, hash: u64) -> u32 {
    tag(hash) | (index + 1)
}

fn tag(hash: u64) -> u32 {
    ((hash >> 56) as u32) << 24
}

/// What `accept` makes of the first entry with hash `hash` that it accepts.
fn probe<T>(slots: &[u8], hash: u64, accept: impl Fn(u32) -> Option<T>) -> Option<T> {
    let mask = (slots.len() / 4).checked_sub(1)?;
    let first = hash as usize;
    for step in 0..PROBES_MAX {
        let word = u32_at(slots, first.wrapping_add(step) & mask)?;
        if word == 0 {
            return None;
        }
        if word & !ENTRIES_MAX == tag(hash)
            && let Some(found) = accept((word & ENTRIES_MAX).wrapping_sub(1))
        {
            return Some(found);
        }
    }
    None
}
