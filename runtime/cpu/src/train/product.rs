//! Products of matrices, in f32 by the `gemm` crate or in bf16 by kernels of our own.
#![allow(unsafe_code)]

use std::vec::Vec;

use super::bf16::{self, Packed};
use super::view::View;

/// What factors are rounded to; sums are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// 24 significant bits: runs everywhere, and the yardstick.
    F32,
    /// Eight significant bits: twice as fast where the processor multiplies them in pairs (AVX512-BF16), else slow.
    Bf16,
}

/// A right factor, `inputs × columns`: weights.
#[derive(Debug, Clone, Copy)]
pub enum Right<'a> {
    /// As it is.
    F32(View<'a>),
    /// Rounded and laid out.
    Bf16(&'a Packed),
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

impl Right<'_> {
    /// Columns.
    #[must_use]
    pub fn columns(&self) -> usize {
        match self {
            Right::F32(view) => view.columns(),
            Right::Bf16(packed) => packed.columns(),
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

/// `to.rows` rows from `first` on of the sum of products `left · right`.
///
/// # Panics
/// Shapes or precisions that do not fit each other.
pub fn multiply(terms: &[(View<'_>, Right<'_>)], first: usize, mut to: To<'_>) {
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
    assert!(
        terms.iter().all(|(left, _)| first + to.rows <= left.rows()),
        "a product has more rows than its left factor"
    );
    match right {
        Right::F32(_) => {
            for (left, right) in terms {
                let Right::F32(right) = right else {
                    panic!("a product of two precisions");
                };
                float(*left, *right, first, &mut to);
                to.add = true;
            }
        }
        Right::Bf16(_) => {
            let pairs = terms.iter().map(|(left, right)| match right {
                Right::Bf16(right) => (*left, *right),
                Right::F32(_) => panic!("a product of two precisions"),
            });
            bf16::multiply(&pairs.collect::<Vec<_>>(), first, to);
        }
    }
}

/// One product in f32.
fn float(left: View<'_>, right: View<'_>, first: usize, to: &mut To<'_>) {
    let (inputs, columns) = (left.columns(), right.columns());
    assert_eq!(inputs, right.rows(), "factors of different inputs");
    let (left_row, left_column) = left.strides();
    let (right_row, right_column) = right.strides();
    let (a, b) = (left.rows_from(first), right.rows_from(0));
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
