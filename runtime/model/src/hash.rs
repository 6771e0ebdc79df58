//! The hash of logits that names a computation: equal on every machine that keeps to the numerics.

use core::fmt;

use inkstone_quant::NUMERICS;

/// Collects rows of logits; BLAKE3 over their little-endian f32 bits, rows in order, the vocabulary without padding.
#[derive(Debug, Clone, Default)]
pub struct LogitsHash {
    hasher: blake3::Hasher,
    rows: u64,
}

/// What [`LogitsHash`] came to. Shown as the name of the numerics, a colon and 64 hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub [u8; 32]);

impl LogitsHash {
    /// The hash of no rows.
    pub fn new() -> LogitsHash {
        LogitsHash::default()
    }

    /// Adds a row, `vocabulary` long.
    pub fn row(&mut self, logits: &[f32]) {
        let mut bytes = [0; 1024];
        for part in logits.chunks(bytes.len() / 4) {
            for (to, x) in bytes.chunks_exact_mut(4).zip(part) {
                to.copy_from_slice(&x.to_bits().to_le_bytes());
            }
            self.hasher.update(&bytes[..part.len() * 4]);
        }
        self.rows += 1;
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The hash of the rows so far.
    pub fn finish(&self) -> Digest {
        Digest(*self.hasher.finalize().as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{NUMERICS}:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use super::*;
    use std::format;
    use std::string::ToString;
    use std::vec::Vec;

    #[test]
    fn the_hash_is_blake3_of_little_endian_bits() {
        let row: Vec<f32> = (0..700).map(|i| i as f32 * 0.5 - 3.0).collect();
        let bytes: Vec<u8> = row.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut hash = LogitsHash::new();
        hash.row(&row[..300]);
        hash.row(&row[300..]);
        assert_eq!(
            hash.finish().to_string(),
            format!("n1:{}", blake3::hash(&bytes).to_hex())
        );
        assert_eq!(hash.rows(), 2);
    }
}
