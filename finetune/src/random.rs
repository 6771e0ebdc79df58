//! Draws that depend on a seed and a name alone.

/// A stream of numbers: SplitMix64 (Steele et al. 2014), begun where BLAKE3 of seed and name says.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream called `name` under `seed`.
    #[must_use]
    pub fn new(seed: u64, name: &str) -> Random {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes());
        hasher.update(name.as_bytes());
        let bytes = hasher.finalize();
        let (first, _) = bytes.as_bytes().split_at(8);
        Random(u64::from_le_bytes(
            first.try_into().expect("eight bytes were split off"),
        ))
    }

    /// Sixty-four bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Evenly within `±bound`.
    pub fn uniform(&mut self, bound: f32) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1_u64 << 24) as f32;
        (2.0 * unit - 1.0) * bound
    }

    /// One of `0 .. end`; `end` is not zero.
    pub fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// Normal with mean 0 and deviation `deviation` (Box and Muller 1958).
    pub fn normal(&mut self, deviation: f32) -> f32 {
        let unit = ((self.bits() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        let angle = (self.bits() >> 11) as f64 / (1_u64 << 53) as f64 * core::f64::consts::TAU;
        ((-2.0 * unit.ln()).sqrt() * angle.cos()) as f32 * deviation
    }

    /// In another order (Durstenfeld 1964).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
