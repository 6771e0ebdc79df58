//! Rows that the way forwards saves for the way back, in the precision of products.

use core::ops::Range;

use inkstone_cpu::train::{Lines, Precision, View, narrow, widen};

/// Rows of numbers; each begins a pair.
#[derive(Debug, Default)]
pub struct Saved {
    columns: usize,
    numbers: Numbers<Lines<f32>, Lines<u32>>,
}

/// Some of its rows, to be written.
#[derive(Debug)]
pub struct Rows<'a> {
    columns: usize,
    numbers: Numbers<&'a mut [f32], &'a mut [u32]>,
}

#[derive(Debug)]
enum Numbers<F, B> {
    F32(F),
    /// Two in a word.
    Bf16(B),
}

impl Default for Numbers<Lines<f32>, Lines<u32>> {
    fn default() -> Self {
        Numbers::F32(Lines::default())
    }
}

impl Saved {
    /// Makes room; what is there is forgotten.
    pub fn rows(&mut self, precision: Precision, rows: usize, columns: usize) -> Rows<'_> {
        let columns = columns.next_multiple_of(2);
        self.columns = columns;
        match (precision, &mut self.numbers) {
            (Precision::F32, Numbers::F32(numbers)) => numbers.resize(rows * columns),
            (Precision::Bf16, Numbers::Bf16(numbers)) => numbers.resize(rows * columns / 2),
            (Precision::F32, numbers) => *numbers = Numbers::F32(Lines::zeros(rows * columns)),
            (Precision::Bf16, numbers) => {
                *numbers = Numbers::Bf16(Lines::zeros(rows * columns / 2))
            }
        }
        let numbers = match &mut self.numbers {
            Numbers::F32(numbers) => Numbers::F32(&mut numbers[..]),
            Numbers::Bf16(numbers) => Numbers::Bf16(&mut numbers[..]),
        };
        Rows { columns, numbers }
    }

    /// Some columns of some rows, from an even one on; they go to `to`, `stride` apart.
    pub fn get(&self, rows: Range<usize>, columns: Range<usize>, to: &mut [f32], stride: usize) {
        for (row, to) in rows.zip(to.chunks_mut(stride)) {
            let (at, to) = (row * self.columns + columns.start, &mut to[..columns.len()]);
            match &self.numbers {
                Numbers::F32(numbers) => to.copy_from_slice(&numbers[at..][..to.len()]),
                Numbers::Bf16(numbers) => widen(&numbers[at / 2..][..to.len().div_ceil(2)], to),
            }
        }
    }
}

impl<'a> Rows<'a> {
    /// The next ones.
    pub fn take(&mut self, rows: usize) -> Rows<'a> {
        let columns = self.columns;
        let numbers = match &mut self.numbers {
            Numbers::F32(rest) => Numbers::F32(first(rest, rows * columns)),
            Numbers::Bf16(rest) => Numbers::Bf16(first(rest, rows * columns / 2)),
        };
        Rows { columns, numbers }
    }

    /// All rows of some columns, from `column` on, which is even.
    pub fn put(&mut self, column: usize, x: View<'_>) {
        for row in 0..x.rows() {
            let (at, x) = (row * self.columns + column, x.row(row));
            match &mut self.numbers {
                Numbers::F32(numbers) => numbers[at..][..x.len()].copy_from_slice(x),
                Numbers::Bf16(numbers) => narrow(x, &mut numbers[at / 2..][..x.len().div_ceil(2)]),
            }
        }
    }
}

fn first<'a, T>(rest: &mut &'a mut [T], count: usize) -> &'a mut [T] {
    let (first, behind) = core::mem::take(rest).split_at_mut(count);
    *rest = behind;
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_got_in_the_precision_of_products() {
        let x: Vec<f32> = (0..3 * 19).map(|i| i as f32 * 0.37 - 9.0).collect();
        for (precision, error) in [(Precision::F32, 0.0), (Precision::Bf16, 1.0 / 256.0)] {
            let mut saved = Saved::default();
            let mut rows = saved.rows(precision, 3, 19);
            let (mut first, mut rest) = (rows.take(1), rows.take(2));
            first.put(0, View::new(&x[..19], 1, 19));
            for columns in [0..16, 16..19] {
                let part = View::strided(&x[19 + columns.start..], 2, columns.len(), 19);
                rest.put(columns.start, part);
            }
            let mut seen = [0.0; 2 * 5];
            saved.get(1..3, 14..19, &mut seen, 5);
            for (row, seen) in seen.chunks_exact(5).enumerate() {
                for (seen, x) in seen.iter().zip(&x[(row + 1) * 19 + 14..]) {
                    assert!((seen - x).abs() <= x.abs() * error, "{seen} of {x}");
                }
            }
        }
    }
}
