//! Products of matrices, in f32 by the `gemm` crate, in bf16 or in integers by kernels of our own.
#![allow(unsafe_code)]

use core::ops::Range;
use std::vec;
use std::vec::Vec;

use super::bf16::{self, Part, Rounded};
use super::int8::{self, Columns};
use super::view::View;

/// What factors are rounded to; sums are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 24 significant bits: runs everywhere, and the yardstick.
    F32,
    /// Eight significant bits: twice as fast where the processor multiplies them in pairs (AVX512-BF16), else slow.
    Bf16,
}

/// What factors are rounded to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    /// For factors of numbers.
    pub precision: Precision,
    /// Whether left factors are rounded for factors of integers as well, as the runtime does.
    pub integers: bool,
}

impl Form {
    /// With integers or without.
    #[must_use]
    pub const fn new(precision: Precision, integers: bool) -> Form {
        Form {
            precision,
            integers,
        }
    }

    /// `int8`, `bf16` or `f32`; beside integers is the fastest that this processor has.
    #[must_use]
    pub fn by_name(name: &str) -> Option<Form> {
        match name {
            "int8" => Some(Form::new(Precision::detect(), true)),
            "bf16" => Some(Form::new(Precision::Bf16, false)),
            "f32" => Some(Form::new(Precision::F32, false)),
            _ => None,
        }
    }

    /// What [`Self::by_name`] knows it as.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self.precision {
            _ if self.integers => "int8",
            Precision::Bf16 => "bf16",
            Precision::F32 => "f32",
        }
    }

    fn codes(self, rows: usize, columns: usize) -> Option<int8::Rounded> {
        self.integers.then(|| int8::Rounded::empty(rows, columns))
    }
}

impl From<Precision> for Form {
    fn from(precision: Precision) -> Form {
        Form::new(precision, false)
    }
}

/// A right factor, `inputs × columns`: weights.
#[derive(Debug, Clone, Copy)]
pub enum Right<'a> {
    /// As it is.
    F32(View<'a>),
    /// Rounded and laid out.
    Bf16(Part<'a>),
    /// Integers with scales.
    Int8(Columns<'a>),
}

impl Precision {
    /// The fastest that this processor has.
    #[must_use]
    pub fn detect() -> Precision {
        if bf16::available() {
            Precision::Bf16
        } else {
            Precision::F32
        }
    }
}

impl<'a> Right<'a> {
    /// Some inputs and columns; integers keep all of their inputs.
    ///
    /// # Panics
    /// It has not as many, or what is laid out cannot be cut there ([`Part::part`]).
    #[must_use]
    pub fn part(self, inputs: Range<usize>, columns: Range<usize>) -> Right<'a> {
        match self {
            Right::F32(view) => Right::F32(view.part(inputs).columns_of(columns)),
            Right::Bf16(part) => Right::Bf16(part.part(inputs, columns)),
            Right::Int8(all) => Right::Int8(all.part(columns)),
        }
    }

    /// Columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        match self {
            Right::F32(view) => view.columns(),
            Right::Bf16(part) => part.columns(),
            Right::Int8(columns) => columns.count(),
        }
    }

    /// What a left factor is made for that is multiplied with nothing else.
    #[must_use]
    pub fn form(&self) -> Form {
        match self {
            Right::F32(_) => Precision::F32.into(),
            Right::Bf16(_) => Precision::Bf16.into(),
            Right::Int8(_) => Form::new(Precision::F32, true),
        }
    }
}

/// A left factor, `rows × inputs`: activations or gradients, rounded once for whatever they are multiplied with.
#[derive(Debug)]
pub struct Left<'a> {
    rows: usize,
    numbers: Numbers<'a>,
    /// The runtime's rounded form, where it is wanted.
    codes: Option<int8::Rounded>,
}

#[derive(Debug)]
enum Numbers<'a> {
    View(View<'a>),
    /// Row by row.
    Own(Vec<f32>, usize),
    Rounded(Rounded),
}

impl<'a> Left<'a> {
    /// Rounds a matrix, whose rows lie along where it is to be multiplied with integers.
    #[must_use]
    pub fn new(form: impl Into<Form>, view: View<'a>) -> Left<'a> {
        let (form, rows) = (form.into(), view.rows());
        let numbers = match form.precision {
            Precision::F32 => Numbers::View(view),
            Precision::Bf16 => Numbers::Rounded(Rounded::new(view)),
        };
        let mut codes = form.codes(rows, view.columns());
        if let Some(codes) = &mut codes {
            (0..rows).for_each(|row| codes.put(row, 0, view.row(row)));
        }
        Left {
            rows,
            numbers,
            codes,
        }
    }

    /// Rows that are yet to be written ([`Self::put`]).
    #[must_use]
    pub fn empty(form: impl Into<Form>, rows: usize, columns: usize) -> Left<'a> {
        let form = form.into();
        let numbers = match form.precision {
            Precision::F32 => Numbers::Own(vec![0.0; rows * columns], columns),
            Precision::Bf16 => Numbers::Rounded(Rounded::empty(rows, columns)),
        };
        Left {
            rows,
            numbers,
            codes: form.codes(rows, columns),
        }
    }

    /// Rows that `fill` writes one by one.
    #[must_use]
    pub fn from_rows(
        form: impl Into<Form>,
        rows: usize,
        columns: usize,
        mut fill: impl FnMut(usize, &mut [f32]),
    ) -> Left<'a> {
        let mut left = Left::empty(form, rows, columns);
        let mut x = vec![0.0; columns];
        for row in 0..rows {
            fill(row, &mut x);
            left.put_row(row, 0, &x);
        }
        left
    }

    /// All rows of some columns, from `column` on, where a pair begins, for integers a group of 32.
    ///
    /// # Panics
    /// It has no such rows or columns, or is a view.
    pub fn put(&mut self, column: usize, x: View<'_>) {
        for row in 0..x.rows() {
            self.put_row(row, column, x.row(row));
        }
    }

    fn put_row(&mut self, row: usize, column: usize, x: &[f32]) {
        if let Some(codes) = &mut self.codes {
            codes.put(row, column, x);
        }
        match &mut self.numbers {
            Numbers::View(_) => panic!("a view is written to"),
            Numbers::Own(numbers, columns) => {
                numbers[row * *columns + column..][..x.len()].copy_from_slice(x);
            }
            Numbers::Rounded(rounded) => rounded.put(row, column, x),
        }
    }

    /// As numbers or rounded.
    fn numbers(&self) -> Result<View<'_>, &Rounded> {
        match &self.numbers {
            Numbers::View(view) => Ok(*view),
            Numbers::Own(numbers, columns) => Ok(View::new(numbers, self.rows, *columns)),
            Numbers::Rounded(rounded) => Err(rounded),
        }
    }
}

/// Where rows of a product go.
#[derive(Debug)]
pub struct To<'a> {
    /// From the first element of the first row on.
    pub data: &'a mut [f32],
    /// Rows.
    pub rows: usize,
    /// Elements from one row to the next.
    pub stride: usize,
    /// Whether the product is added to what is there.
    pub add: bool,
}

impl<'a> To<'a> {
    /// Rows `stride` apart, the last one perhaps cut short: a product takes their place.
    #[must_use]
    pub fn rows(data: &'a mut [f32], stride: usize) -> To<'a> {
        let rows = data.len().div_ceil(stride);
        To {
            data,
            rows,
            stride,
            add: false,
        }
    }

    /// The same rows, for as long as they are not wanted here.
    pub fn again(&mut self) -> To<'_> {
        To {
            data: self.data,
            ..*self
        }
    }
}

/// The sum of products `left · right`.
///
/// # Panics
/// Shapes or precisions that do not fit each other.
pub fn multiply(terms: &[(&Left<'_>, Right<'_>)], mut to: To<'_>) {
    let Some((_, right)) = terms.first() else {
        return;
    };
    let columns = right.columns();
    if to.rows == 0 || columns == 0 {
        return;
    }
    assert!(
        (to.rows - 1) * to.stride + columns <= to.data.len() && columns <= to.stride,
        "a product exceeds its slice"
    );
    let same =
        |(left, right): &(&Left<'_>, Right<'_>)| left.rows == to.rows && right.columns() == columns;
    assert!(terms.iter().all(same), "a product of several shapes");
    let mut rounded = Vec::with_capacity(terms.len());
    for (left, right) in terms {
        match (right, left.numbers(), &left.codes) {
            (Right::F32(right), Ok(left), _) => {
                float(left, *right, &mut to);
                to.add = true;
            }
            (Right::Bf16(right), Err(left), _) => rounded.push((left, *right)),
            (Right::Int8(right), _, Some(left)) => {
                int8::multiply(left, *right, &mut to);
                to.add = true;
            }
            _ => panic!("a product of two precisions"),
        }
    }
    if !rounded.is_empty() {
        bf16::multiply(&rounded, to);
    }
}

/// One product in f32.
fn float(left: View<'_>, right: View<'_>, to: &mut To<'_>) {
    let (inputs, columns) = (left.columns(), right.columns());
    assert_eq!(inputs, right.rows(), "factors of different inputs");
    let (left_row, left_column) = left.strides();
    let (right_row, right_column) = right.strides();
    let (a, b) = (left.rows_from(0), right.rows_from(0));
    // SAFETY: `View` has checked that every element of the factors is within its slice, and `multiply` that every
    // element of the product is within `to`, which nothing else refers to.
    unsafe {
        gemm::gemm(
            to.rows,
            columns,
            inputs,
            to.data.as_mut_ptr(),
            1,
            to.stride as isize,
            to.add,
            a.as_ptr(),
            left_column as isize,
            left_row as isize,
            b.as_ptr(),
            right_column as isize,
            right_row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}
