//! Lays a vocabulary out as the section a tokenizer is read from.

use alloc::collections::{BTreeMap, BTreeSet};
use alloc::vec;
use alloc::vec::Vec;

use crate::section::{
    ENTRIES_MAX, FLAG_ADD_BOS, FLAG_ADD_EOS, FLAG_BYTE_FALLBACK, FLAG_COLLAPSE_SPACES,
    FLAG_FOLD_SPACES, FLAG_FUSE_UNKNOWN, FLAG_IGNORE_MERGES, FLAG_NFC, Hash, Header, INFO_LSTRIP,
    INFO_RSTRIP, Method, NONE, PROBES_MAX, SLOTS_MAX, SPECIAL_MAX, joint_hash, pair_hash, slot,
};
use crate::vocab::{Algorithm, Error, Kind, Merge, Vocabulary};

/// The tokenizer section that `vocabulary` describes.
///
/// Where two tokens have the same bytes, text becomes the one with the lower id.
///
/// # Errors
/// What cannot be laid out: an id without a token, a table beyond its limit.
pub fn build(vocabulary: &Vocabulary) -> Result<Vec<u8>, Error> {
    let tokens = &vocabulary.tokens;
    let count = limited(tokens.len(), ENTRIES_MAX, "tokens")?;
    let (method, merges): (_, &[Merge]) = match &vocabulary.algorithm {
        Algorithm::Bytes(merges) => (Method::Bytes, merges),
        Algorithm::Characters(merges) => (Method::Characters, merges),
        Algorithm::Scores => (Method::Scores, &[]),
        Algorithm::Unigram => (Method::Unigram, &[]),
    };
    check_ids(vocabulary, merges)?;
    let merges = unique(merges);
    let slots = text_slots(vocabulary)?;
    let merge_slots = hash_table(merges.iter().map(|m| pair_hash(m.left, m.right)), "merges")?;
    let specials = specials(vocabulary)?;
    let joints = joints(vocabulary, method);
    let text: usize = tokens.iter().map(|token| token.bytes.len()).sum();
    let longest = tokens
        .iter()
        .filter(|token| from_text(token.kind))
        .map(|token| token.bytes.len())
        .max();
    let scores = tokens.iter().filter(|t| from_text(t.kind)).map(|t| t.score);
    let header = Header {
        flags: flags(vocabulary),
        method: method as u32,
        pretokenizer: vocabulary.pretokenizer.id,
        space_prefix: vocabulary.space_prefix as u32,
        bos: vocabulary.bos.unwrap_or(NONE),
        eos: vocabulary.eos.unwrap_or(NONE),
        unknown: vocabulary.unknown.unwrap_or(NONE),
        tokens: count,
        slots: limited(slots.len(), SLOTS_MAX, "tokens")?,
        merges: limited(merges.len(), ENTRIES_MAX, "merges")?,
        merge_slots: limited(merge_slots.len(), SLOTS_MAX, "merges")?,
        specials: limited(specials.len(), ENTRIES_MAX, "special tokens")?,
        joints: limited(joints.len() * 8, u32::MAX, "neighbours")?,
        longest: limited(longest.unwrap_or(0), u32::MAX, "bytes of text")?,
        text: limited(text, u32::MAX, "bytes of text")?,
        worst: scores.fold(0.0, f32::min).to_bits(),
    };
    let mut out = Vec::new();
    put(&mut out, header.words());
    put(&mut out, ends(vocabulary));
    if matches!(method, Method::Scores | Method::Unigram) {
        // Adding +0 makes a -0 equal to 0 in its bits too.
        put(&mut out, tokens.iter().map(|t| (t.score + 0.0).to_bits()));
    }
    put(&mut out, slots);
    put(
        &mut out,
        merges.iter().flat_map(|m| [m.left, m.right, m.into]),
    );
    put(&mut out, merge_slots);
    put(&mut out, byte_tokens(vocabulary, method));
    out.extend(starts(vocabulary, &specials));
    put(&mut out, specials);
    out.extend(joints);
    out.extend(infos(vocabulary));
    for token in tokens {
        out.extend(&token.bytes);
    }
    Ok(out)
}

fn limited(count: usize, most: u32, what: &'static str) -> Result<u32, Error> {
    u32::try_from(count)
        .ok()
        .filter(|&count| count <= most)
        .ok_or(Error::TooMany(what))
}

fn check_ids(vocabulary: &Vocabulary, merges: &[Merge]) -> Result<(), Error> {
    let named = [vocabulary.bos, vocabulary.eos, vocabulary.unknown];
    let mut ids = named
        .into_iter()
        .flatten()
        .chain(merges.iter().flat_map(|m| [m.left, m.right, m.into]));
    match ids.find(|&id| id as usize >= vocabulary.tokens.len()) {
        Some(id) => Err(Error::Id(id)),
        None => Ok(()),
    }
}

fn flags(vocabulary: &Vocabulary) -> u32 {
    [
        (vocabulary.nfc, FLAG_NFC),
        (vocabulary.fold_spaces, FLAG_FOLD_SPACES),
        (vocabulary.collapse_spaces, FLAG_COLLAPSE_SPACES),
        (vocabulary.ignore_merges, FLAG_IGNORE_MERGES),
        (vocabulary.byte_fallback, FLAG_BYTE_FALLBACK),
        (vocabulary.fuse_unknown, FLAG_FUSE_UNKNOWN),
        (vocabulary.add_bos, FLAG_ADD_BOS),
        (vocabulary.add_eos, FLAG_ADD_EOS),
    ]
    .into_iter()
    .filter_map(|(set, flag)| set.then_some(flag))
    .fold(0, |flags, flag| flags | flag)
}

/// The merges without those a merge of lower rank hides.
fn unique(merges: &[Merge]) -> Vec<Merge> {
    let mut seen = BTreeSet::new();
    let first = |m: &&Merge| seen.insert((m.left, m.right));
    merges.iter().filter(first).copied().collect()
}

fn from_text(kind: Kind) -> bool {
    matches!(kind, Kind::Normal | Kind::UserDefined)
}

fn found_in_text(kind: Kind) -> bool {
    matches!(kind, Kind::Control | Kind::UserDefined | Kind::Unknown)
}

fn text_slots(vocabulary: &Vocabulary) -> Result<Vec<u32>, Error> {
    let mut seen = BTreeSet::new();
    let hashes = vocabulary.tokens.iter().map(|token| {
        let first = from_text(token.kind) && seen.insert(token.bytes.as_slice());
        first.then(|| Hash::of(&token.bytes))
    });
    sparse_hash_table(hashes.collect(), "tokens")
}

fn hash_table(hashes: impl Iterator<Item = u64>, what: &'static str) -> Result<Vec<u32>, Error> {
    sparse_hash_table(hashes.map(Some).collect(), what)
}

/// A table of the entries that have a hash, large enough that every look-up is short.
fn sparse_hash_table(hashes: Vec<Option<u64>>, what: &'static str) -> Result<Vec<u32>, Error> {
    let count = hashes.iter().flatten().count();
    if count == 0 {
        return Ok(Vec::new());
    }
    let mut size = (count + count / 2).next_power_of_two();
    while size <= SLOTS_MAX as usize && size <= count.saturating_mul(64).max(64) {
        if let Some(table) = try_table(&hashes, size) {
            return Ok(table);
        }
        size *= 2;
    }
    Err(Error::Collisions(what))
}

fn try_table(hashes: &[Option<u64>], size: usize) -> Option<Vec<u32>> {
    let mut table = vec![0; size];
    for (index, hash) in hashes.iter().enumerate() {
        let Some(hash) = *hash else { continue };
        let mut places =
            (0..PROBES_MAX).map(|step| (hash as usize).wrapping_add(step) & (size - 1));
        let free = places.find(|&place| table[place] == 0)?;
        table[free] = slot(index as u32, hash);
    }
    Some(table)
}

/// The tokens found in text as they are, in the order of their bytes.
fn specials(vocabulary: &Vocabulary) -> Result<Vec<u32>, Error> {
    let mut sorted = BTreeMap::new();
    for (id, token) in vocabulary.tokens.iter().enumerate() {
        if found_in_text(token.kind) && !token.bytes.is_empty() {
            if token.bytes.len() > SPECIAL_MAX {
                return Err(Error::TooLong(id as u32));
            }
            sorted.entry(token.bytes.as_slice()).or_insert(id as u32);
        }
    }
    Ok(sorted.into_values().collect())
}

fn starts(vocabulary: &Vocabulary, specials: &[u32]) -> [u8; 32] {
    let mut bits = [0; 32];
    for &id in specials {
        if let Some(&byte) = vocabulary.tokens[id as usize].bytes.first() {
            bits[usize::from(byte / 8)] |= 1 << (byte % 8);
        }
    }
    bits
}

/// A filter of the pairs of characters that stand side by side in some token.
///
/// Text may be cut between two characters that no token holds side by side without changing
/// what it becomes. Byte-level vocabularies are cut by their pre-tokenizer instead, and where
/// characters without a token are dropped their neighbours meet: both have an empty filter.
fn joints(vocabulary: &Vocabulary, method: Method) -> Vec<u8> {
    let drops = vocabulary.unknown.is_none() && !vocabulary.byte_fallback;
    if method == Method::Bytes || drops {
        return Vec::new();
    }
    let mut pairs = BTreeSet::new();
    for token in vocabulary.tokens.iter().filter(|t| from_text(t.kind)) {
        let text = core::str::from_utf8(&token.bytes).unwrap_or_default();
        pairs.extend(text.chars().zip(text.chars().skip(1)));
    }
    let bits = (pairs.len() * 8).next_power_of_two().clamp(32, 1 << 30);
    let mut table = vec![0; bits / 8];
    for (left, right) in pairs {
        let bit = joint_hash(left, right) as usize & (bits - 1);
        table[bit / 8] |= 1 << (bit % 8);
    }
    table
}

fn ends(vocabulary: &Vocabulary) -> impl Iterator<Item = u32> {
    vocabulary.tokens.iter().scan(0, |end, token| {
        *end += token.bytes.len() as u32;
        Some(*end)
    })
}

fn infos(vocabulary: &Vocabulary) -> impl Iterator<Item = u8> {
    vocabulary.tokens.iter().map(|token| {
        token.kind as u8
            | if token.lstrip { INFO_LSTRIP } else { 0 }
            | if token.rstrip { INFO_RSTRIP } else { 0 }
    })
}

/// The token of each byte: of the alphabet, or of byte fallback.
fn byte_tokens(vocabulary: &Vocabulary, method: Method) -> [u32; 256] {
    let kind = match method {
        Method::Bytes => Kind::Normal,
        _ => Kind::Byte,
    };
    let mut table = [NONE; 256];
    for (id, token) in vocabulary.tokens.iter().enumerate().rev() {
        if let ([byte], true) = (token.bytes.as_slice(), token.kind == kind) {
            table[usize::from(*byte)] = id as u32;
        }
    }
    table
}

fn put(out: &mut Vec<u8>, words: impl IntoIterator<Item = u32>) {
    out.extend(words.into_iter().flat_map(u32::to_le_bytes));
}
