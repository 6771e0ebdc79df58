//! Matrices of a model under training: frozen ones as they ship or unpacked ahead, trained ones in f32.

use core::ops::Range;
use inkstone_cpu::train::{Packed, Precision, Right, View};
use inkstone_model::Matrix;
use rayon::prelude::*;

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
    /// Ranges of outputs that [`Self::with`] hands out one by one.
    pub fn strips(&self) -> impl Iterator<Item = Range<usize>> {
        let rows = self.rows;
        (0..rows)
            .step_by(STRIP)
            .map(move |first| first..(first + STRIP).min(rows))
    }

    /// Prepares the outputs `strip`, one of [`Self::strips`], as a right factor.
    pub fn with<R>(
        &self,
        reader: Reader<'_>,
        strip: &Range<usize>,
        way: Way,
        work: impl FnOnce(Right<'_>) -> R,
    ) -> R {
        let outputs = |values: &[f32], work| {
            let w = View::new(values, strip.len(), self.inputs);
            prepared(reader.precision, w, way, work)
        };
        let first = strip.start * self.inputs;
        match &self.base {
            Base::Packed(strips) => work(Right::Bf16(&strips[strip.start / STRIP][way as usize])),
            Base::Plain(values) => outputs(&values[first..], work),
            Base::Trained(index) => outputs(&reader.trained[*index].values[first..], work),
            Base::Stored(matrix) => outputs(&unpacked(matrix, reader.file, strip), work),
        }
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

/// Hands `work` a matrix `outputs × inputs` as a right factor.
pub fn prepared<R>(
    precision: Precision,
    w: View<'_>,
    way: Way,
    work: impl FnOnce(Right<'_>) -> R,
) -> R {
    let factor = match way {
        Way::Forward => w.transposed(),
        Way::Backward => w,
    };
    match precision {
        Precision::F32 => work(Right::F32(factor)),
        Precision::Bf16 => work(Right::Bf16(&Packed::new(factor))),
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
