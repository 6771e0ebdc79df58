//! From text to tokens: cut out what stands as it is, normalise, split, and tokenise the pieces.

use alloc::borrow::Cow;
use alloc::string::String;
use alloc::vec::Vec;

use crate::merge::{Merger, rank_of};
use crate::section::{
    FLAG_BYTE_FALLBACK, FLAG_COLLAPSE_SPACES, FLAG_FOLD_SPACES, FLAG_FUSE_UNKNOWN,
    FLAG_IGNORE_MERGES, FLAG_NFC, Hash, INFO_LSTRIP, INFO_RSTRIP, Method, NONE, Section,
};
use crate::tokenizer::{Tokenizer, longest_special};
use crate::unicode;
use crate::unigram::Lattice;
use crate::vocab::SpacePrefix;

/// What SentencePiece writes for a space.
const LOWER_BLOCK: char = '\u{2581}';
/// Bytes of a piece; a longer one is cut, so that places in it fit 32 bits.
const PIECE_MAX: usize = 1 << 28;

/// Appends the tokens of `text` to `out`.
pub(crate) fn text(tokenizer: &Tokenizer<'_>, text: &str, parse_special: bool, out: &mut Vec<u32>) {
    let mut encoder = Encoder::new(tokenizer, out);
    let mut rest = 0;
    while let Some(special) = next_special(&tokenizer.section, text, rest, parse_special) {
        encoder.stretch(&text[rest..special.start], rest == 0);
        encoder.out.push(special.id);
        rest = special.end;
    }
    encoder.stretch(&text[rest..], rest == 0);
}

/// A token found in text as it is, with the white space it takes.
struct Special {
    id: u32,
    start: usize,
    end: usize,
}

fn next_special(
    section: &Section<'_>,
    text: &str,
    from: usize,
    parse_special: bool,
) -> Option<Special> {
    let bytes = text.as_bytes();
    (from..bytes.len())
        .filter(|&at| section.starts_special(bytes[at]))
        .find_map(|at| {
            let (id, length) = longest_special(section, &bytes[at..], parse_special)?;
            // Only bytes that are not UTF-8 in the section could end inside a character.
            let (before, after) = (text.get(from..at)?, text.get(at + length..)?);
            let info = section.info(id)?;
            let left = if info & INFO_LSTRIP == 0 {
                before
            } else {
                before.trim_end()
            };
            let right = if info & INFO_RSTRIP == 0 {
                after
            } else {
                after.trim_start()
            };
            Some(Special {
                id,
                start: from + left.len(),
                end: text.len() - right.len(),
            })
        })
}

/// The state of one call: where tokens go, and room that pieces share.
struct Encoder<'t, 'a, 'o> {
    tokenizer: &'t Tokenizer<'a>,
    out: &'o mut Vec<u32>,
    merger: Merger,
    lattice: Lattice,
    /// The last token is an unknown one that the next may join.
    after_unknown: bool,
}

impl<'t, 'a, 'o> Encoder<'t, 'a, 'o> {
    fn new(tokenizer: &'t Tokenizer<'a>, out: &'o mut Vec<u32>) -> Self {
        Self {
            tokenizer,
            out,
            merger: Merger::default(),
            lattice: Lattice::default(),
            after_unknown: false,
        }
    }

    /// Tokenises text between tokens cut out of it.
    fn stretch(&mut self, text: &str, first: bool) {
        if text.is_empty() {
            return;
        }
        let text = normalise(&self.tokenizer.section, text, first);
        self.after_unknown = false;
        self.tokenizer
            .pretokenizer
            .split(&text, &mut |piece| self.piece(piece));
    }

    fn piece(&mut self, piece: &str) {
        let section = &self.tokenizer.section;
        if section.flag(FLAG_IGNORE_MERGES)
            && let Some(id) = section.find(piece.as_bytes(), Hash::of(piece.as_bytes()))
        {
            self.out.push(id);
            return;
        }
        let mut rest = piece;
        while !rest.is_empty() {
            let (part, after) = rest.split_at(safe_cut(section, rest));
            match section.method {
                Method::Bytes => self.merge_bytes(part),
                Method::Characters => self.merge_characters(part),
                Method::Scores => self.merge_scores(part),
                Method::Unigram => self.segment(part),
            }
            rest = after;
        }
    }

    fn merge_bytes(&mut self, piece: &str) {
        let section = &self.tokenizer.section;
        self.merger.clear();
        for (at, byte) in piece.bytes().enumerate() {
            if let Some(id) = section.byte_token(byte) {
                self.merger.push(id, at, at + 1);
            }
        }
        self.merge_by_rank();
    }

    fn merge_characters(&mut self, piece: &str) {
        let section = &self.tokenizer.section;
        self.merger.clear();
        let mut fused = None;
        for (at, character) in piece.char_indices() {
            let end = at + character.len_utf8();
            let bytes = &piece.as_bytes()[at..end];
            let previous = fused.take();
            if let Some(id) = section.find(bytes, Hash::of(bytes)) {
                self.merger.push(id, at, end);
            } else if falls_back(section, bytes) {
                for (at, &byte) in (at..end).zip(bytes) {
                    self.merger
                        .push(section.byte_token(byte).unwrap_or(NONE), at, at + 1);
                }
            } else if let Some(unknown) = self.tokenizer.unknown() {
                if previous.is_none() {
                    self.merger.push(unknown, at, end);
                }
                fused = section.flag(FLAG_FUSE_UNKNOWN).then_some(());
            }
        }
        self.merge_by_rank();
    }

    fn merge_by_rank(&mut self) {
        let section = &self.tokenizer.section;
        self.merger
            .run(|left, right| section.merge(left.id, right.id));
        self.out.extend(
            self.merger
                .symbols()
                .filter_map(|symbol| section.known(symbol.id)),
        );
    }

    fn merge_scores(&mut self, piece: &str) {
        let section = &self.tokenizer.section;
        let longest = section.header.longest as usize;
        let mut merger = core::mem::take(&mut self.merger);
        merger.clear();
        for (at, character) in piece.char_indices() {
            merger.push(NONE, at, at + character.len_utf8());
        }
        merger.run(|left, right| {
            let joined = piece
                .as_bytes()
                .get(left.start as usize..right.end as usize)?;
            if joined.len() > longest {
                return None;
            }
            let id = section.find(joined, Hash::of(joined))?;
            Some((rank_of(section.score(id)), id))
        });
        for symbol in merger.symbols() {
            let bytes = &piece.as_bytes()[symbol.start as usize..symbol.end as usize];
            let id = match symbol.id {
                NONE => section.find(bytes, Hash::of(bytes)),
                id => Some(id),
            };
            self.token_or_bytes(id, bytes);
        }
        self.merger = merger;
    }

    fn segment(&mut self, piece: &str) {
        let section = &self.tokenizer.section;
        let mut lattice = core::mem::take(&mut self.lattice);
        for &(id, start, end) in lattice.segment(section, piece) {
            let known = (id != NONE).then_some(id);
            self.token_or_bytes(known, &piece.as_bytes()[start..end]);
        }
        self.lattice = lattice;
    }

    /// Writes a token; or, where text has none, those of its bytes, or the unknown token.
    fn token_or_bytes(&mut self, id: Option<u32>, bytes: &[u8]) {
        let section = &self.tokenizer.section;
        let joins = self.after_unknown && section.flag(FLAG_FUSE_UNKNOWN);
        self.after_unknown = false;
        if let Some(id) = id {
            self.out.push(id);
        } else if falls_back(section, bytes) {
            self.out
                .extend(bytes.iter().filter_map(|&byte| section.byte_token(byte)));
        } else {
            self.after_unknown = true;
            if !joins {
                self.out.extend(self.tokenizer.unknown());
            }
        }
    }
}

fn falls_back(section: &Section<'_>, bytes: &[u8]) -> bool {
    section.flag(FLAG_BYTE_FALLBACK) && bytes.iter().all(|&b| section.byte_token(b).is_some())
}

/// Where `text` may first be cut without changing its tokens: between neighbours that no token
/// holds side by side.
fn safe_cut(section: &Section<'_>, text: &str) -> usize {
    if section.header.joints == 0 && text.len() <= PIECE_MAX {
        return text.len();
    }
    let neighbours = text.char_indices().skip(1).zip(text.chars());
    for ((at, right), left) in neighbours {
        if at >= PIECE_MAX || !section.joins(left, right) {
            return at;
        }
    }
    text.len()
}

/// The text the pre-tokenizer sees.
fn normalise<'t>(section: &Section<'_>, text: &'t str, first: bool) -> Cow<'t, str> {
    let mut text = Cow::Borrowed(text);
    if section.flag(FLAG_NFC)
        && let Some(composed) = unicode::nfc(&text)
    {
        text = Cow::Owned(composed);
    }
    if section.flag(FLAG_FOLD_SPACES) && text.contains(LOWER_BLOCK) {
        text = Cow::Owned(text.replace(LOWER_BLOCK, " "));
    }
    if section.flag(FLAG_COLLAPSE_SPACES) {
        text = Cow::Owned(collapse_spaces(&text));
    }
    let prefix = match section.space_prefix {
        SpacePrefix::Never => false,
        SpacePrefix::First => first,
        SpacePrefix::FirstUnlessSpace => first && !text.starts_with(' '),
        SpacePrefix::Every => true,
        SpacePrefix::EveryUnlessSpace => !text.starts_with(' '),
    };
    if prefix && !text.is_empty() {
        let mut prefixed = String::with_capacity(text.len() + 1);
        prefixed.push(' ');
        prefixed.push_str(&text);
        text = Cow::Owned(prefixed);
    }
    text
}

/// Words joined by single spaces.
fn collapse_spaces(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}
