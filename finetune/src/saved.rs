//! Rows that the way forwards saves for the way back, in the precision of products.

use core::ops::Range;

use inkstone_cpu::train::{Lines, Precision, View, narrow, widen};

/// Rows of an even number of columns.
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
    ///
    /// # Panics
    /// An odd number of columns.
    pub fn rows(&mut self, precision: Precision, rows: usize, columns: usize) -> Rows<'_> {
        assert!(columns.is_multiple_of(2), "rows of pairs");
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

    /// Some columns of some rows, which go to `to`, `stride` apart. Columns begin and end at even ones.
    pub fn get(&self, rows: Range<usize>, columns: Range<usize>, to: &mut [f32], stride: usize) {
        for (row, to) in rows.zip(to.chunks_mut(stride)) {
            let (at, to) = (row * self.columns + columns.start, &mut to[..columns.len()]);
            match &self.numbers {
                Numbers::F32(numbers) => to.copy_from_slice(&numbers[at..][..to.len()]),
                Numbers::Bf16(numbers) => widen(&numbers[at / 2..][..to.len() / 2], to),
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

    /// All rows of some columns, from `column` on, which is even, as is their number.
    pub fn put(&mut self, column: usize, x: View<'_>) {
        for row in 0..x.rows() {
            let (at, x) = (row * self.columns + column, x.row(row));
            match &mut self.numbers {
                Numbers::F32(numbers) => numbers[at..][..x.len()].copy_from_slice(x),
                Numbers::Bf16(numbers) => narrow(x, &mut numbers[at / 2..][..x.len() / 2]),
            }
        }
    }
}

fn first<'a, T>(rest: &mut &'a mut [T], count: usize) -> &'a mut [T] {
    let (first, behind) = core::mem::take(rest).split_at_mut(count);
    *rest = behind;
    first
}
