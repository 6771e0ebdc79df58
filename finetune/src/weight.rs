//! Matrices of a model under training: frozen ones as they ship or unpacked ahead, trained ones in f32.

use core::ops::Range;

use inkstone_cpu::train::{Columns, Form, Integers, Packed, Part, Precision, Right, View};
use inkstone_model::Matrix;
use rayon::prelude::*;

use crate::compute::{integers, packed};

/// Outputs of the head that are unpacked and multiplied at once.
pub const STRIP: usize = 4096;

/// A matrix or vector of the model.
#[derive(Debug)]
pub struct Weight {
    /// Outputs.
    pub rows: usize,
    /// Inputs.
    pub inputs: usize,
    /// Outputs that are prepared at once.
    pub strip: usize,
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
    /// Unpacked ahead, rounded and laid out for both directions, strip by strip ([`Weight::strip`]).
    Packed(Vec<[Packed; 2]>),
    /// Multiplied as it lies in the file; for the way back as integers that were made ahead, strip by strip.
    Integers(Matrix, Vec<Integers<'static>>),
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

impl Way {
    /// A matrix `outputs × inputs` as the right factor of the product.
    #[must_use]
    pub fn of(self, values: &[f32], (outputs, inputs): (usize, usize)) -> View<'_> {
        let w = View::new(values, outputs, inputs);
        match self {
            Way::Forward => w.transposed(),
            Way::Backward => w,
        }
    }
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

impl Tensor {
    /// Whether it is a matrix, which decays, and no gain or bias.
    #[must_use]
    pub fn is_matrix(&self) -> bool {
        // An adapter of rank 1 is one too.
        self.rows > 1 || self.name.ends_with(".lora_a")
    }
}

/// What a net's weights are read with.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// The bytes of the model's file.
    pub file: &'a [u8],
    /// What is trained.
    pub trained: &'a [Tensor],
    /// What products are computed in.
    pub form: Form,
}

impl Weight {
    /// Ranges of outputs that [`Self::factor`] prepares one by one.
    pub fn strips(&self) -> impl Iterator<Item = Range<usize>> {
        let (rows, strip) = (self.rows, self.strip);
        let first = (0..rows).step_by(strip);
        first.map(move |first| first..(first + strip).min(rows))
    }

    /// Prepares the outputs `strip`, one of [`Self::strips`], as a right factor.
    #[must_use]
    pub fn factor<'a>(&'a self, reader: Reader<'a>, strip: &Range<usize>, way: Way) -> Factor<'a> {
        let shape = (strip.len(), self.inputs);
        let numbers = strip.start * self.inputs..strip.end * self.inputs;
        let values = match &self.base {
            Base::Packed(strips) => {
                return Factor::Part(strips[strip.start / self.strip][way as usize].whole());
            }
            Base::Plain(values) => &values[numbers],
            Base::Trained(index) => &reader.trained[*index].values[numbers],
            Base::Integers(matrix, strips) => {
                return match way {
                    Way::Forward => Factor::shipped(matrix, reader, strip),
                    Way::Backward => Factor::Columns(strips[strip.start / self.strip].whole()),
                };
            }
            Base::Stored(matrix) => {
                if reader.form.integers && Integers::ships(matrix) {
                    return match way {
                        Way::Forward => Factor::shipped(matrix, reader, strip),
                        Way::Backward => Factor::Integers(rounded(matrix, reader.file, strip)),
                    };
                }
                let values = unpacked(matrix, reader.file, strip);
                return match reader.form.precision {
                    Precision::F32 => Factor::Own(values, shape, way),
                    Precision::Bf16 => Factor::Packed(packed(way.of(&values, shape))),
                };
            }
        };
        Factor::shared(reader.form.precision, way.of(values, shape))
    }

    /// Decodes row `index`: an embedding.
    pub fn row(&self, reader: Reader<'_>, index: usize, out: &mut [f32]) {
        match &self.base {
            Base::Stored(matrix) | Base::Integers(matrix, _) => {
                matrix.row(reader.file, index, out);
            }
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
            Base::Stored(_) | Base::Packed(_) | Base::Integers(..) => {
                unreachable!("vectors are unpacked ahead")
            }
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
    /// Where it lies.
    View(View<'a>),
    /// Numbers, `outputs × inputs`, and the product they are for.
    Own(Vec<f32>, (usize, usize), Way),
    /// Rounded and laid out.
    Packed(Packed),
    /// Rounded and laid out ahead.
    Part(Part<'a>),
    /// As it ships, or made of that for the way back.
    Integers(Integers<'a>),
    /// Made ahead.
    Columns(Columns<'a>),
}

impl<'a> Factor<'a> {
    /// A matrix in `precision`.
    #[must_use]
    pub fn new(precision: Precision, view: View<'a>) -> Factor<'a> {
        match precision {
            Precision::F32 => Factor::View(view),
            Precision::Bf16 => Factor::Packed(Packed::new(view)),
        }
    }

    /// As [`Self::new`], by all threads.
    #[must_use]
    pub fn shared(precision: Precision, view: View<'a>) -> Factor<'a> {
        match precision {
            Precision::F32 => Factor::View(view),
            Precision::Bf16 => Factor::Packed(packed(view)),
        }
    }

    /// Rows of a matrix of integers, as they lie in the file.
    fn shipped(matrix: &Matrix, reader: Reader<'a>, rows: &Range<usize>) -> Factor<'a> {
        let shipped = Integers::shipped(matrix, reader.file, rows);
        Factor::Integers(shipped.expect("a matrix that ships as integers"))
    }

    /// A matrix that `fill` writes row by row.
    #[must_use]
    pub fn from_rows(
        precision: Precision,
        (rows, columns): (usize, usize),
        mut fill: impl FnMut(usize, &mut [f32]),
    ) -> Factor<'a> {
        if precision == Precision::Bf16 {
            return Factor::Packed(Packed::from_rows(rows, columns, fill));
        }
        let mut values = vec![0.0; rows * columns];
        let each = values.chunks_exact_mut(columns).enumerate();
        each.for_each(|(row, to)| fill(row, to));
        Factor::Own(values, (rows, columns), Way::Backward)
    }

    /// As products take it.
    #[must_use]
    pub fn right(&self) -> Right<'_> {
        match self {
            Factor::View(view) => Right::F32(*view),
            Factor::Own(values, shape, way) => Right::F32(way.of(values, *shape)),
            Factor::Packed(packed) => Right::Bf16(packed.whole()),
            Factor::Part(part) => Right::Bf16(*part),
            Factor::Integers(integers) => Right::Int8(integers.whole()),
            Factor::Columns(columns) => Right::Int8(*columns),
        }
    }
}

/// Rows of a matrix as integers of eight bits, for the way back.
#[must_use]
pub fn rounded(matrix: &Matrix, file: &[u8], rows: &Range<usize>) -> Integers<'static> {
    let inputs = matrix.inputs;
    integers(rows.len(), inputs, |some| {
        let mut values = vec![0.0; some.len() * inputs];
        for (row, to) in some.zip(values.chunks_exact_mut(inputs)) {
            matrix.row(file, rows.start + row, to);
        }
        values
    })
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
