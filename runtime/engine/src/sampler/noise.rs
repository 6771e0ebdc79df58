//! Randomness that is a function of seed and position: one ChaCha20 block for each token.

/// The block of one position.
///
/// `ChaCha: a variant of Salsa20` (Bernstein 2008), 20 rounds: the key is the seed in little-endian and 24 zero
/// bytes, the 64-bit block number is the position, the nonce zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Noise([u32; 16]);

/// `expand 32-byte k`.
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

impl Noise {
    pub(super) const fn new(seed: u64, position: u64) -> Self {
        let [a, b, c, d] = CONSTANTS;
        let (seed, seed_high) = (seed as u32, (seed >> 32) as u32);
        let (position, position_high) = (position as u32, (position >> 32) as u32);
        Self(block([
            a,
            b,
            c,
            d,
            seed,
            seed_high,
            0,
            0,
            0,
            0,
            0,
            0,
            position,
            position_high,
            0,
            0,
        ]))
    }

    /// A number in 0 .. 1 that draws the token.
    pub(super) fn token(&self) -> f64 {
        unit(self.0[0], self.0[1])
    }

    /// Another, that decides whether XTC acts.
    pub(super) fn xtc(&self) -> f64 {
        unit(self.0[2], self.0[3])
    }
}

/// The upper 53 of 64 bits as a fraction.
fn unit(low: u32, high: u32) -> f64 {
    const SCALE: f64 = 1.0 / (1_u64 << 53) as f64;
    let bits = (u64::from(high) << 32 | u64::from(low)) >> 11;
    bits as f64 * SCALE
}

const fn block(input: [u32; 16]) -> [u32; 16] {
    let mut state = input;
    let mut round = 0;
    while round < 20 {
        let diagonal = round % 2;
        let mut column = 0;
        while column < 4 {
            let b = 4 + (column + diagonal) % 4;
            let c = 8 + (column + 2 * diagonal) % 4;
            let d = 12 + (column + 3 * diagonal) % 4;
            state = quarter_round(state, [column, b, c, d]);
            column += 1;
        }
        round += 1;
    }
    let mut word = 0;
    while word < 16 {
        state[word] = state[word].wrapping_add(input[word]);
        word += 1;
    }
    state
}

const fn quarter_round(mut s: [u32; 16], [a, b, c, d]: [usize; 4]) -> [u32; 16] {
    s[a] = s[a].wrapping_add(s[b]);
    s[d] = (s[d] ^ s[a]).rotate_left(16);
    s[c] = s[c].wrapping_add(s[d]);
    s[b] = (s[b] ^ s[c]).rotate_left(12);
    s[a] = s[a].wrapping_add(s[b]);
    s[d] = (s[d] ^ s[a]).rotate_left(8);
    s[c] = s[c].wrapping_add(s[d]);
    s[b] = (s[b] ^ s[c]).rotate_left(7);
    s
}

#[cfg(test)]
mod tests {
    use super::{CONSTANTS, Noise, block, unit};

    #[test]
    fn the_block_is_that_of_rfc_8439_section_2_3_2() {
        let mut input = [0; 16];
        input[..4].copy_from_slice(&CONSTANTS);
        for (index, word) in input[4..12].iter_mut().enumerate() {
            *word = u32::from_le_bytes(core::array::from_fn(|byte| (4 * index + byte) as u8));
        }
        input[12..].copy_from_slice(&[1, 0x0900_0000, 0x4a00_0000, 0]);
        let expected = [
            0xe4e7_f110,
            0x1559_3bd1,
            0x1fdd_0f50,
            0xc471_20a3,
            0xc7f4_d1c7,
            0x0368_c033,
            0x9aaa_2204,
            0x4e6c_d4c3,
            0x4664_82d2,
            0x09aa_9f07,
            0x05d7_c214,
            0xa202_8bd9,
            0xd19c_12b5,
            0xb94e_16de,
            0xe883_d0cb,
            0x4e3c_50a2,
        ];
        assert_eq!(block(input), expected);
    }

    #[test]
    fn seed_zero_at_position_zero_is_the_zero_key_stream() {
        let Noise(words) = Noise::new(0, 0);
        assert_eq!(
            words[..4],
            [0xade0_b876, 0x903d_f1a0, 0xe56a_5d40, 0x28bd_8653]
        );
    }

    #[test]
    fn fractions_stay_below_one() {
        assert_eq!(unit(0, 0), 0.0);
        assert!(unit(u32::MAX, u32::MAX) < 1.0);
        assert_eq!(unit(0, 1 << 31), 0.5);
    }
}
