//! Reads llama2.c checkpoints of the first version (the format: `legacy_export` of its `export.py`).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::{Error, ErrorKind, Result, malformed};

const HEADER: u64 = 7 * 4;
/// The magic number of later versions, where `dim` stands in the first.
const LATER_MAGIC: i32 = 0x616b_3432;
/// No size in the header of a real checkpoint is larger.
const SIZE_MAX: i32 = 1 << 24;

/// The header of a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Width of the residual stream.
    pub width: u64,
    /// Width between the two halves of a feed-forward block.
    pub ffn_width: u64,
    /// Layers.
    pub layers: u64,
    /// Heads of queries.
    pub heads: u64,
    /// Heads of keys and values.
    pub kv_heads: u64,
    /// Tokens in the vocabulary.
    pub vocab: u64,
    /// Whether the output shares the embedding's matrix.
    pub tied: bool,
    /// Longest sequence.
    pub context: u64,
}

/// One matrix or gain of a checkpoint; all elements are F32.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Name, as a GGUF file would call it.
    pub name: String,
    /// The sizes, the slowest running first.
    pub shape: Vec<u64>,
    /// First byte, from the start of the file.
    pub offset: u64,
    /// Length in bytes.
    pub bytes: u64,
}

/// Opens a checkpoint and says where its pieces lie.
///
/// # Errors
/// The header is absurd or disagrees with the length of the file.
pub fn open(path: &Path) -> Result<(File, Header, Vec<Piece>)> {
    let named = |error: Error| error.in_file(path);
    let file = File::open(path).map_err(|e| named(e.into()))?;
    let length = file.metadata().map_err(|e| named(e.into()))?.len();
    let header = Header::parse(&file).map_err(named)?;
    let pieces = header.pieces(length).map_err(named)?;
    Ok((file, header, pieces))
}

/// The vocabulary beside a checkpoint: `tok512.bin` for 512 tokens, or `tokenizer.bin`.
#[must_use]
pub fn vocabulary(checkpoint: &Path, vocab: u64) -> Option<PathBuf> {
    let names = [format!("tok{vocab}.bin"), "tokenizer.bin".to_owned()];
    let mut paths = names.iter().map(|name| checkpoint.with_file_name(name));
    paths.find(|path| path.exists())
}

impl Header {
    /// Reads the seven numbers at the start of a checkpoint.
    ///
    /// # Errors
    /// A number is absurd, or they contradict each other.
    pub fn parse(mut reader: impl Read) -> Result<Self> {
        let mut bytes = [0; HEADER as usize];
        reader
            .read_exact(&mut bytes)
            .map_err(|e| Error::from(e).at(0))?;
        let words = bytes.as_chunks::<4>().0;
        let number = |i: usize| i32::from_le_bytes(words[i]);
        if number(0) == LATER_MAGIC {
            let message = "a llama2.c checkpoint of a later version; version 0 is read";
            return Err(Error::new(ErrorKind::Version, message).at(0));
        }
        let size = |i: usize| match number(i) {
            n @ 1..=SIZE_MAX => Ok(n as u64),
            n => Err(malformed(format!("size {i} of the header is {n}")).at(4 * i as u64)),
        };
        let vocab = number(5);
        if !(1..=SIZE_MAX as u32).contains(&vocab.unsigned_abs()) {
            return Err(malformed(format!("a vocabulary of {vocab} tokens")).at(20));
        }
        let header = Self {
            width: size(0)?,
            ffn_width: size(1)?,
            layers: size(2)?,
            heads: size(3)?,
            kv_heads: size(4)?,
            vocab: vocab.unsigned_abs().into(),
            tied: vocab > 0,
            context: size(6)?,
        };
        let even = |a: u64, b: u64| a.is_multiple_of(b);
        if !even(header.width, header.heads)
            || !even(header.heads, header.kv_heads)
            || !even(header.width / header.heads, 2)
        {
            return Err(malformed("the heads do not divide the width").at(0));
        }
        Ok(header)
    }

    /// The width of one head.
    #[must_use]
    pub fn head_dim(&self) -> u64 {
        self.width / self.heads
    }

    /// Every piece of a file of `length` bytes. No piece is listed before the total is seen to fit.
    ///
    /// # Errors
    /// The pieces do not fill the file exactly.
    pub fn pieces(&self, length: u64) -> Result<Vec<Piece>> {
        let kinds = self.kinds();
        let total = kinds.iter().try_fold(HEADER, |end, kind| {
            kind.elements()?
                .checked_mul(kind.copies)?
                .checked_mul(4)?
                .checked_add(end)
        });
        if total != Some(length) {
            let message = format!("the header asks for {total:?} bytes, the file has {length}");
            return Err(malformed(message).at(0));
        }
        let mut offset = HEADER;
        let mut pieces = Vec::new();
        for kind in &kinds {
            let bytes = 4 * kind.elements().expect("the total was computed from it");
            for copy in 0..kind.copies {
                if let Some(name) = kind.name {
                    pieces.push(Piece {
                        name: name.replace("{}", &copy.to_string()),
                        shape: kind.shape.clone(),
                        offset,
                        bytes,
                    });
                }
                offset += bytes;
            }
        }
        Ok(pieces)
    }

    fn kinds(&self) -> Vec<Kind> {
        let (l, d, f, v) = (self.layers, self.width, self.ffn_width, self.vocab);
        let kv = self.kv_heads * self.head_dim();
        let kind = |name, copies, shape: &[u64]| Kind {
            name,
            copies,
            shape: shape.to_vec(),
        };
        vec![
            kind(Some("token_embd.weight"), 1, &[v, d]),
            kind(Some("blk.{}.attn_norm.weight"), l, &[d]),
            kind(Some("blk.{}.attn_q.weight"), l, &[d, d]),
            kind(Some("blk.{}.attn_k.weight"), l, &[kv, d]),
            kind(Some("blk.{}.attn_v.weight"), l, &[kv, d]),
            kind(Some("blk.{}.attn_output.weight"), l, &[d, d]),
            kind(Some("blk.{}.ffn_norm.weight"), l, &[d]),
            kind(Some("blk.{}.ffn_gate.weight"), l, &[f, d]),
            kind(Some("blk.{}.ffn_down.weight"), l, &[d, f]),
            kind(Some("blk.{}.ffn_up.weight"), l, &[f, d]),
            kind(Some("output_norm.weight"), 1, &[d]),
            // Tables of cosines and sines, which follow from the header.
            kind(None, 2, &[self.context, self.head_dim() / 2]),
            kind(Some("output.weight"), u64::from(!self.tied), &[v, d]),
        ]
    }
}

/// A piece that stands in the file `copies` times in a row.
struct Kind {
    name: Option<&'static str>,
    copies: u64,
    shape: Vec<u64>,
}

impl Kind {
    fn elements(&self) -> Option<u64> {
        self.shape
            .iter()
            .try_fold(1_u64, |product, &size| product.checked_mul(size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(numbers: [i32; 7]) -> Result<Header> {
        let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
        Header::parse(bytes.as_slice())
    }

    #[test]
    fn the_pieces_fill_the_file() {
        let tied = header([8, 16, 2, 2, 1, 10, 4]).unwrap();
        let elements = 80 + 2 * (8 + 64 + 32 + 32 + 64 + 8 + 3 * 128) + 8 + 2 * 4 * 2;
        let pieces = tied.pieces(28 + 4 * elements).unwrap();
        assert_eq!(pieces.len(), 2 + 2 * 9);
        assert_eq!(pieces[2].name, "blk.1.attn_norm.weight");
        assert_eq!(pieces[5].shape, [4, 8]);
        tied.pieces(28 + 4 * elements + 1).unwrap_err();
        let untied = header([8, 16, 2, 2, 1, -10, 4]).unwrap();
        let pieces = untied.pieces(28 + 4 * elements + 4 * 80).unwrap();
        assert_eq!(pieces.last().unwrap().name, "output.weight");
    }

    #[test]
    fn absurd_headers_are_refused() {
        for (index, value) in [
            (0, -8),
            (2, 0),
            (3, i32::MAX),
            (3, 3),
            (5, i32::MIN),
            (6, -1),
        ] {
            let mut numbers = [8, 16, 2, 2, 1, 10, 4];
            numbers[index] = value;
            header(numbers).unwrap_err();
        }
        let large = header([1 << 24, 1 << 24, 1 << 24, 1 << 23, 1, 1 << 24, 4]).unwrap();
        large.pieces(1 << 40).unwrap_err();
        let later = header([LATER_MAGIC, 1, 0, 0, 0, 0, 0]).unwrap_err();
        assert_eq!(later.kind(), ErrorKind::Version);
    }
}
