//! Texts that say the same, among more of them than memory holds: what they are compared by lies in temporary files, a
//! file a band, and one band is in memory at a time.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};

use anyhow::{Result, ensure};
use rayon::prelude::*;

use crate::duplicates::{BAND, HASHES, Print};

/// Bands of a signature.
const BANDS: usize = HASHES / BAND;
/// Texts of a band that others of it are compared with, at most.
const LEADERS: usize = 8;

/// What texts are compared by, while they come.
pub(super) struct Index {
    /// Hashes of all words, eight bytes each.
    whole: BufWriter<File>,
    /// A hash of the band for each text, four bytes each.
    bands: Vec<BufWriter<File>>,
    /// Signatures, a byte a number.
    signatures: BufWriter<File>,
    texts: usize,
}

/// How a text is like an earlier one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Like {
    /// It has the same words.
    Exactly,
    /// It has most of its shingles.
    Nearly,
}

/// For each text the earliest one it is like, itself if there is none.
pub(super) struct Found {
    first: Vec<u32>,
    exact: Vec<bool>,
}

impl Index {
    pub(super) fn new() -> Result<Index> {
        let file = || Ok::<_, anyhow::Error>(BufWriter::new(tempfile::tempfile()?));
        Ok(Index {
            whole: file()?,
            bands: (0..BANDS).map(|_| file()).collect::<Result<_>>()?,
            signatures: file()?,
            texts: 0,
        })
    }

    /// Texts so far.
    pub(super) fn len(&self) -> usize {
        self.texts
    }

    pub(super) fn add(&mut self, print: &Print) -> Result<()> {
        ensure!(
            self.texts < u32::MAX as usize,
            "more than {} texts",
            u32::MAX
        );
        self.texts += 1;
        self.whole.write_all(&print.whole.as_bytes()[..8])?;
        let bands = print.signature.as_chunks::<BAND>().0;
        for (file, band) in self.bands.iter_mut().zip(bands) {
            let key = band.iter().fold(0_u64, |key, x| {
                (key ^ x).wrapping_mul(0x9e37_79b9_7f4a_7c15)
            });
            file.write_all(&((key >> 32) as u32).to_le_bytes())?;
        }
        let short: Vec<u8> = print.signature.iter().map(|x| *x as u8).collect();
        self.signatures.write_all(&short)?;
        Ok(())
    }

    /// Finds what is like something before it, sharing `near` of its shingles by the signatures' estimate.
    pub(super) fn find(self, near: f64) -> Result<Found> {
        let mut found = Found {
            first: (0..self.texts as u32).collect(),
            exact: vec![false; self.texts],
        };
        let whole = column::<8>(self.whole)?;
        let whole = sorted(whole.into_iter().map(u64::from_le_bytes).collect());
        for same in runs(&whole) {
            for (_, text) in &same[1..] {
                found.first[*text as usize] = same[0].1;
                found.exact[*text as usize] = true;
            }
        }
        drop(whole);
        let mut signatures = Signatures(self.signatures.into_inner().map_err(|e| e.into_error())?);
        for band in self.bands {
            let keys = column::<4>(band)?;
            let band = sorted(keys.into_iter().map(u32::from_le_bytes).collect());
            for same in runs(&band) {
                found.band(same, near, &mut signatures)?;
            }
        }
        Ok(found)
    }
}

impl Found {
    /// The earliest text that `text` is like.
    pub(super) fn like(&self, text: usize) -> Option<(usize, Like)> {
        let first = self.root(text as u32) as usize;
        let how = if self.exact[text] {
            Like::Exactly
        } else {
            Like::Nearly
        };
        (first != text).then_some((first, how))
    }

    fn root(&self, mut text: u32) -> u32 {
        while self.first[text as usize] != text {
            text = self.first[text as usize];
        }
        text
    }

    /// Compares texts that share a band with the first of them.
    fn band<K>(&mut self, same: &[(K, u32)], near: f64, signatures: &mut Signatures) -> Result<()> {
        let mut leaders: Vec<(u32, [u8; HASHES])> = Vec::new();
        for (_, text) in same {
            let root = self.root(*text);
            if root != *text
                && (self.exact[*text as usize] || leaders.iter().any(|l| self.root(l.0) == root))
            {
                continue;
            }
            let signature = signatures.of(*text)?;
            match leaders
                .iter()
                .find(|leader| share(&leader.1, &signature) >= near)
            {
                Some(leader) => self.join(leader.0, *text),
                None if leaders.len() < LEADERS => leaders.push((*text, signature)),
                None => {}
            }
        }
        Ok(())
    }

    /// The later root follows the earlier one.
    fn join(&mut self, a: u32, b: u32) {
        let (a, b) = (self.root(a), self.root(b));
        self.first[a.max(b) as usize] = a.min(b);
    }
}

/// The file of signatures.
struct Signatures(File);

impl Signatures {
    fn of(&mut self, text: u32) -> Result<[u8; HASHES]> {
        let mut signature = [0; HASHES];
        self.0
            .seek(std::io::SeekFrom::Start(u64::from(text) * HASHES as u64))?;
        self.0.read_exact(&mut signature)?;
        Ok(signature)
    }
}

/// Share of shingles that both have, from the numbers that agree; of bytes, one in 256 agrees by chance.
fn share(a: &[u8; HASHES], b: &[u8; HASHES]) -> f64 {
    let agree = a.iter().zip(b).filter(|(a, b)| a == b).count() as f64 / HASHES as f64;
    (agree - 1.0 / 256.0) / (1.0 - 1.0 / 256.0)
}

/// A file of numbers of `N` bytes.
fn column<const N: usize>(file: BufWriter<File>) -> Result<Vec<[u8; N]>> {
    let mut file = file.into_inner().map_err(|e| e.into_error())?;
    file.rewind()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(bytes.as_chunks::<N>().0.to_vec())
}

/// Keys and the texts that have them, equal ones together, earlier texts first.
fn sorted<K: Ord + Copy + Send>(keys: Vec<K>) -> Vec<(K, u32)> {
    let mut pairs: Vec<(K, u32)> = keys.into_iter().zip(0..).collect();
    pairs.par_sort_unstable();
    pairs
}

/// Stretches of two and more equal keys.
fn runs<K: Eq>(pairs: &[(K, u32)]) -> impl Iterator<Item = &[(K, u32)]> {
    pairs
        .chunk_by(|a, b| a.0 == b.0)
        .filter(|run| run.len() > 1)
}
