//! Rounds rows of numbers to the native formats.

use half::f16;
use inkstone_quant::GROUP;
use inkstone_quant::codes::NL4_LEVELS;

use crate::pack::CodedRow;

/// The largest magnitude of a block scale, and of a level of q8.
const BYTE_MAX: f32 = 127.0;
/// Shares of a block's largest magnitude that are tried as the reach of the levels.
const REACHES: [f32; 10] = [0.72, 0.76, 0.80, 0.84, 0.88, 0.92, 0.96, 1.0, 1.04, 1.08];
/// Flips of single codes after the best reach is known.
const FLIPS_MAX: usize = 16;

/// The values of ggml's `Q8_0`: per 32 inputs `d = amax / 127` in f16, codes `round(x · (1 / d))`
/// with the unrounded `d` and ties away from zero.
pub fn q8(numbers: &[f32], row: &mut CodedRow) {
    row.clear();
    for block in numbers.chunks(GROUP) {
        let largest = block.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
        let scale = largest / BYTE_MAX;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        row.records.extend(f16::from_f32(scale).to_le_bytes());
        let codes = block.iter().map(|x| round(x * inverse) as i8);
        row.codes.extend(codes.map(|code| code as u8 ^ 0x80));
        row.codes
            .resize(row.codes.len().next_multiple_of(GROUP), 0x80);
    }
}

/// 4.25 bits: codes into the table of 16 levels, a signed byte per 32 inputs under one f32 a row.
pub fn q4(numbers: &[f32], row: &mut CodedRow) {
    search::<Table>(numbers, row);
}

/// 5.25 bits: 32 even levels, a signed byte per 32 inputs under one f32 a row.
pub fn q5(numbers: &[f32], row: &mut CodedRow) {
    search::<Even>(numbers, row);
}

/// What codes stand for.
trait Levels {
    /// The highest code.
    const LAST: u8;
    /// The largest magnitude of a level.
    const MOST: f32;
    fn level(code: u8) -> f32;
    /// The code of the level nearest to `x`.
    fn nearest(x: f32) -> u8;
}

/// Per block the scale is searched that loses least of `Σ w · x²`, with the weights
/// `w = √(σ² + x²)`: for each reach of the levels codes are assigned and the best scale for them
/// follows, then single codes flip while that gains. The row's f32 is fitted last.
fn search<L: Levels>(numbers: &[f32], row: &mut CodedRow) {
    row.clear();
    let variance = mean_square(numbers);
    let blocks: Vec<Block> = numbers
        .chunks(GROUP)
        .map(|block| Block::new(block, variance))
        .collect();
    let scales: Vec<f32> = blocks.iter().map(Block::best_scale::<L>).collect();
    let largest = scales.iter().fold(0.0_f32, |most, s| most.max(s.abs()));
    let step = largest / BYTE_MAX;
    let mut fit = [0.0_f64; 2];
    for (block, scale) in blocks.iter().zip(&scales) {
        let byte = block.best_byte::<L>(*scale, step);
        let codes = block.codes::<L>(step * f32::from(byte));
        row.records.push(byte as u8);
        row.codes.extend(codes);
        block.correlate::<L>(&codes, byte, &mut fit);
    }
    let fitted = if fit[1] > 0.0 { fit[0] / fit[1] } else { 0.0 };
    row.header.extend((fitted as f32).to_le_bytes());
}

fn mean_square(numbers: &[f32]) -> f32 {
    let sum: f64 = numbers.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
    (sum / numbers.len().max(1) as f64) as f32
}

/// 32 numbers and how much an error in each of them weighs; zeros stand where the row has ended.
struct Block {
    numbers: [f32; GROUP],
    weights: [f32; GROUP],
}

/// Codes, and with them the sums that say how good they are at their best scale.
#[derive(Clone, Copy)]
struct Trial {
    codes: [u8; GROUP],
    /// `Σ w · x · level`.
    along: f32,
    /// `Σ w · level²`.
    energy: f32,
}

impl Block {
    fn new(block: &[f32], variance: f32) -> Self {
        let (mut numbers, mut weights) = ([0.0; GROUP], [0.0; GROUP]);
        numbers[..block.len()].copy_from_slice(block);
        for (weight, x) in weights.iter_mut().zip(block) {
            *weight = (variance + x * x).sqrt();
        }
        Self { numbers, weights }
    }

    fn best_scale<L: Levels>(&self) -> f32 {
        let largest = self
            .numbers
            .iter()
            .fold(0.0_f32, |most, x| most.max(x.abs()));
        if largest == 0.0 || !largest.is_finite() {
            return 0.0;
        }
        let reaches = REACHES.iter().flat_map(|&reach| [reach, -reach]);
        let trials = reaches.map(|reach| self.trial::<L>(largest * reach / L::MOST));
        let best = trials.max_by(|a, b| a.gain().total_cmp(&b.gain()));
        let best = best.expect("the list of reaches is not empty");
        self.flip::<L>(best).scale()
    }

    fn trial<L: Levels>(&self, scale: f32) -> Trial {
        let codes = self.codes::<L>(scale);
        let levels = codes.map(L::level);
        let mut trial = Trial {
            codes,
            along: 0.0,
            energy: 0.0,
        };
        for ((level, weight), x) in levels.iter().zip(&self.weights).zip(&self.numbers) {
            trial.along += weight * x * level;
            trial.energy += weight * level * level;
        }
        trial
    }

    /// The nearest codes under `scale`.
    fn codes<L: Levels>(&self, scale: f32) -> [u8; GROUP] {
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        self.numbers.map(|x| L::nearest(x * inverse))
    }

    /// Moves, one at a time, the code on which the gain depends most, while the gain rises.
    fn flip<L: Levels>(&self, mut trial: Trial) -> Trial {
        for _ in 0..FLIPS_MAX {
            let scale = trial.scale();
            let mut steepest = (0, 0.0_f32);
            for (i, &code) in trial.codes.iter().enumerate() {
                let slope = self.weights[i] * (self.numbers[i] - scale * L::level(code)) * scale;
                if slope.abs() > steepest.1.abs() {
                    steepest = (i, slope);
                }
            }
            let (i, slope) = steepest;
            let code = trial.codes[i];
            let moved = if slope > 0.0 {
                (code + 1).min(L::LAST)
            } else {
                code.saturating_sub(1)
            };
            let (old, new, weight) = (L::level(code), L::level(moved), self.weights[i]);
            let mut next = trial;
            next.codes[i] = moved;
            next.along += weight * self.numbers[i] * (new - old);
            next.energy += weight * (new * new - old * old);
            if next.gain() <= trial.gain() {
                break;
            }
            trial = next;
        }
        trial
    }

    /// The byte near `scale / step` under which the block loses least.
    fn best_byte<L: Levels>(&self, scale: f32, step: f32) -> i8 {
        if step == 0.0 {
            return 0;
        }
        let near = (scale / step).round();
        let tried = [near - 1.0, near, near + 1.0].map(|byte| byte.clamp(-127.0, 127.0) as i8);
        let losses = tried.map(|byte| (byte, self.loss::<L>(step * f32::from(byte))));
        let best = losses.into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
        best.expect("three bytes are tried").0
    }

    fn loss<L: Levels>(&self, scale: f32) -> f32 {
        let codes = self.codes::<L>(scale);
        let error = |i: usize| self.numbers[i] - scale * L::level(codes[i]);
        (0..GROUP)
            .map(|i| self.weights[i] * error(i) * error(i))
            .sum()
    }

    /// Adds to `Σ w · x · s · level` and `Σ w · (s · level)²`.
    fn correlate<L: Levels>(&self, codes: &[u8; GROUP], byte: i8, fit: &mut [f64; 2]) {
        for (i, &code) in codes.iter().enumerate() {
            let (weight, level) = (f64::from(self.weights[i]), f64::from(L::level(code)));
            let scaled = f64::from(byte) * level;
            fit[0] += weight * f64::from(self.numbers[i]) * scaled;
            fit[1] += weight * scaled * scaled;
        }
    }
}

impl Trial {
    fn scale(&self) -> f32 {
        if self.energy > 0.0 {
            self.along / self.energy
        } else {
            0.0
        }
    }

    /// How much of `Σ w · x²` the codes explain at their best scale.
    fn gain(&self) -> f32 {
        self.along * self.scale()
    }
}

/// The 16 levels of `NL4`.
struct Table;

impl Levels for Table {
    const LAST: u8 = 15;
    const MOST: f32 = 127.0;

    fn level(code: u8) -> f32 {
        f32::from(NL4_LEVELS[usize::from(code)])
    }

    fn nearest(x: f32) -> u8 {
        // Midpoints of levels are multiples of one half, so doubling makes the look-up exact.
        let doubled = (x * 2.0 + 256.0).clamp(0.0, 511.0);
        NEAREST[doubled as usize & 511]
    }
}

/// −16 ..= 15, the levels of `I5`.
struct Even;

impl Levels for Even {
    const LAST: u8 = 31;
    const MOST: f32 = 16.0;

    fn level(code: u8) -> f32 {
        f32::from(code) - Self::MOST
    }

    fn nearest(x: f32) -> u8 {
        (x + Self::MOST + 0.5).clamp(0.0, f32::from(Self::LAST)) as u8
    }
}

/// `x` rounded, ties away from zero; without the library call that `f32::round` is on processors
/// of the first generations.
fn round(x: f32) -> i32 {
    let whole = x as i32;
    let part = x - whole as f32;
    whole + i32::from(part >= 0.5) - i32::from(part <= -0.5)
}

static NEAREST: [u8; 512] = nearest_table();

const fn nearest_table() -> [u8; 512] {
    let mut table = [0; 512];
    let mut at = 0;
    while at < 512 {
        let mut code = 0;
        while code < 15 {
            let midpoint = NL4_LEVELS[code] as i32 + NL4_LEVELS[code + 1] as i32;
            if at as i32 - 256 >= midpoint {
                code += 1;
            } else {
                break;
            }
        }
        table[at] = code as u8;
        at += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use inkstone_quant::Format;

    /// Sums of twelve uniform numbers: near enough to Gaussian (Irwin–Hall).
    fn gaussian(count: usize) -> Vec<f32> {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut uniform = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1 << 24) as f32
        };
        let mut sum = || (0..12).map(|_| uniform()).sum::<f32>() - 6.0;
        (0..count).map(|_| 0.02 * sum()).collect()
    }

    fn decoded(name: &str, numbers: &[f32], quantize: fn(&[f32], &mut CodedRow)) -> Vec<f32> {
        let format = Format::by_name(name).unwrap();
        let mut row = CodedRow::default();
        quantize(numbers, &mut row);
        let mut panel = crate::pack::Panel::new(format, 1, numbers.len()).unwrap();
        panel.put_coded(0, &row);
        let mut out = vec![0.0; numbers.len()];
        format.row(panel.bytes(), 1, 0, &mut out);
        out
    }

    /// Signal over noise, in decibels.
    fn quality(numbers: &[f32], decoded: &[f32]) -> f32 {
        let noise = |(x, y): (&f32, &f32)| (x - y) * (x - y);
        let noise: f32 = numbers.iter().zip(decoded).map(noise).sum();
        let signal: f32 = numbers.iter().map(|x| x * x).sum();
        10.0 * (signal / noise).log10()
    }

    fn nearest_is_found<L: Levels>() {
        for i in -5200..5200 {
            let x = i as f32 / 40.0;
            let chosen = (L::level(L::nearest(x)) - x).abs();
            let best = (0..=L::LAST)
                .map(|c| (L::level(c) - x).abs())
                .fold(f32::MAX, f32::min);
            assert!(chosen <= best, "{x}");
        }
    }

    #[test]
    fn the_nearest_level_is_found() {
        nearest_is_found::<Table>();
        nearest_is_found::<Even>();
    }

    #[test]
    fn ties_round_away_from_zero() {
        for i in -1016..=1016 {
            let x = i as f32 / 8.0;
            assert_eq!(round(x), x.round() as i32);
        }
        assert_eq!(round(0.499_999_97), 0);
    }

    #[test]
    fn q4_keeps_gaussian_weights_as_well_as_its_table_can() {
        let numbers = gaussian(1 << 14);
        let decibels = quality(&numbers, &decoded("q4", &numbers, q4));
        assert!(decibels > 22.3, "{decibels}");
    }

    #[test]
    fn q5_keeps_gaussian_weights() {
        let numbers = gaussian(1 << 14);
        let decibels = quality(&numbers, &decoded("q5", &numbers, q5));
        assert!(decibels > 27.0, "{decibels}");
    }

    #[test]
    fn q8_keeps_gaussian_weights() {
        let numbers = gaussian(1 << 12);
        let decibels = quality(&numbers, &decoded("q8", &numbers, q8));
        assert!(decibels > 44.0, "{decibels}");
    }

    #[test]
    fn zeros_and_short_rows_stay_what_they_are() {
        type Quantize = fn(&[f32], &mut CodedRow);
        for (name, quantize) in [("q4", q4 as Quantize), ("q5", q5), ("q8", q8)] {
            assert_eq!(decoded(name, &[0.0; 45], quantize), [0.0; 45]);
            let mut numbers = [0.0; 45];
            numbers[44] = 1.0;
            let out = decoded(name, &numbers, quantize);
            assert!((out[44] - 1.0).abs() < 0.005, "{name} {}", out[44]);
        }
    }

    #[test]
    fn q4_follows_blocks_of_very_different_size() {
        let mut numbers = gaussian(512);
        for (i, x) in numbers.iter_mut().enumerate() {
            *x *= 1.0 + (i / GROUP) as f32;
        }
        let decibels = quality(&numbers, &decoded("q4", &numbers, q4));
        assert!(decibels > 22.0, "{decibels}");
    }
}
