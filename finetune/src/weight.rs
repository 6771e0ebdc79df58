//! Matrices of a model under training: frozen ones as they ship or unpacked ahead, trained ones in f32.

use core::ops::Range;
use std::borrow::Cow;

use inkstone_cpu::train::{Packed, Precision, Right, View};
use inkstone_model::Matrix;
use rayon::prelude::*;

use crate::compute::packed;

/// Outputs of a matrix that are unpacked and multiplied at once.
pub const STRIP: usize = 4096;

/// A matrix or vector of the model.
#[derive(Debug)]
pub struct Weight {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub inputs: usize,
    /// Where its numbers are.
    pub base: Base,
    /// What is added to a frozen matrix.
    pub adapter: Option<Adapter>,
}

/// Where the numbers of a weight are.
#[derive(Debug)]
pub enum Base {
    /// Among what is trained: its index there.
    Trained(usize),
    /// In the file, unpacked at each use: the exact bits that ship.
    Stored(Matrix),
    /// Unpacked ahead, in f32.
    Plain(Vec<f32>),
    /// Unpacked ahead, rounded and laid out for both directions, strip by strip.
    Packed(Vec<[Packed; 2]>),
}

/// A product of two thin matrices that is added to a frozen one: `W + scale · B·A` (Hu et al. 2021, arXiv:2106.09685).
#[derive(Debug, Clone, Copy)]
pub struct Adapter {
    /// `rank × inputs`: its index among what is trained.
    pub a: usize,
    /// `rows × rank`.
    pub b: usize,
    /// `alpha / rank`.
    pub scale: f32,
    /// Rows of `A`.
    pub rank: usize,
}

/// Which product a matrix is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// `x · Wᵀ`.
    Forward = 0,
    /// `dy · W`.
    Backward = 1,
}

/// Something that is trained, row by row.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Names it in checkpoints and adapters.
    pub name: String,
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
    /// Its numbers.
    pub values: Vec<f32>,
}

/// What a net's weights are read with.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The bytes of the model's file.
    pub file: &'a [u8],
    /// What is trained.
    pub trained: &'a [Tensor],
    /// What products are computed in.
    pub precision: Precision,
}

impl Weight {
    /// Ranges of outputs that [`Self::factor`] prepares one by one.
    pub fn strips(&self) -> impl Iterator<Item = Range<usize>> {
        let rows = self.rows;
        (0..rows)
            .step_by(STRIP)
            .map(move |first| first..(first + STRIP).min(rows))
    }

    /// Prepares the outputs `strip`, one of [`Self::strips`], as a right factor.
    #[must_use]
    pub fn factor<'a>(&'a self, reader: Reader<'a>, strip: &Range<usize>, way: Way) -> Factor<'a> {
        let shape = (strip.len(), self.inputs);
        let numbers = strip.start * self.inputs..strip.end * self.inputs;
        let values = match &self.base {
            Base::Packed(strips) => {
                let packed = &strips[strip.start / STRIP][way as usize];
                return Factor::Rounded(Cow::Borrowed(packed));
            }
            Base::Plain(values) => Cow::Borrowed(&values[numbers]),
            Base::Trained(index) => Cow::Borrowed(&reader.trained[*index].values[numbers]),
            Base::Stored(matrix) => Cow::Owned(unpacked(matrix, reader.file, strip)),
        };
        Factor::new(reader.precision, values, shape, way)
    }

    /// Decodes row `index`: an embedding.
    pub fn row(&self, reader: Reader<'_>, index: usize, out: &mut [f32]) {
        match &self.base {
            Base::Stored(matrix) => matrix.row(reader.file, index, out),
            Base::Plain(values) => {
                out.copy_from_slice(&values[index * self.inputs..][..self.inputs])
            }
            Base::Trained(tensor) => {
                let values = &reader.trained[*tensor].values;
                out.copy_from_slice(&values[index * self.inputs..][..self.inputs]);
            }
            Base::Packed(_) => unreachable!("what is looked up is never packed"),
        }
    }

    /// A vector's numbers: a gain or a bias, which is plain or trained.
    #[must_use]
    pub fn vector<'a>(&'a self, trained: &'a [Tensor]) -> &'a [f32] {
        match &self.base {
            Base::Plain(values) => values,
            Base::Trained(index) => &trained[*index].values,
            Base::Stored(_) | Base::Packed(_) => unreachable!("vectors are unpacked ahead"),
        }
    }

    /// Its index among what is trained.
    #[must_use]
    pub fn trained(&self) -> Option<usize> {
        match self.base {
            Base::Trained(index) => Some(index),
            _ => None,
        }
    }

    /// Whether it or its adapter is trained.
    #[must_use]
    pub fn learns(&self) -> bool {
        self.trained().is_some() || self.adapter.is_some()
    }
}

/// A right factor, and what had to be made for it.
#[derive(Debug)]
pub enum Factor<'a> {
    /// Numbers, `outputs × inputs`, and the product they are for.
    Plain(Cow<'a, [f32]>, (usize, usize), Way),
    /// Rounded and laid out.
    Rounded(Cow<'a, Packed>),
}

impl<'a> Factor<'a> {
    /// A matrix `outputs × inputs` in `precision`.
    #[must_use]
    pub fn new(
        precision: Precision,
        values: Cow<'a, [f32]>,
        (outputs, inputs): (usize, usize),
        way: Way,
    ) -> Factor<'a> {
        let plain = Factor::Plain(values, (outputs, inputs), way);
        match (precision, plain.right()) {
            (Precision::Bf16, Right::F32(view)) => Factor::Rounded(Cow::Owned(packed(view))),
            _ => plain,
        }
    }

    /// As products take it.
    #[must_use]
    pub fn right(&self) -> Right<'_> {
        match self {
            Factor::Plain(values, (outputs, inputs), way) => {
                let w = View::new(values, *outputs, *inputs);
                Right::F32(match way {
                    Way::Forward => w.transposed(),
                    Way::Backward => w,
                })
            }
            Factor::Rounded(packed) => Right::Bf16(packed),
        }
    }
}

/// Rows of a matrix as numbers.
#[must_use]
pub fn unpacked(matrix: &Matrix, file: &[u8], rows: &Range<usize>) -> Vec<f32> {
    let inputs = matrix.inputs;
    let mut values = vec![0.0; rows.len() * inputs];
    values
        .par_chunks_mut(inputs)
        .enumerate()
        .for_each(|(index, row)| matrix.row(file, rows.start + index, row));
    values
}
