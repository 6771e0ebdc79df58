//! Holds a converted file against its source: the recorded rewrites, applied anew, must give the
//! same bits.

use inkstone_format::records::{self, Origin as Record, Provenance, Rewrite};
use inkstone_format::{File, NO_LAYER, SectionKind, Tensor};
use inkstone_model::Matrix;
use inkstone_model::weights::ROLES;

use crate::convert::{tokenizer_section, vector, vocabulary};
use crate::error::{Error, ErrorKind, Result, malformed, missing};
use crate::parts::{Origin, Part, Parts};
use crate::rewrite;
use crate::source::Source;

/// What a comparison found.
#[derive(Debug, Clone)]
pub struct Comparison {
    /// One entry for each tensor of the file, in its order.
    pub tensors: Vec<Compared>,
}

/// What became of one tensor.
#[derive(Debug, Clone)]
pub struct Compared {
    /// Its layer, or `NO_LAYER`.
    pub layer: u16,
    /// The name of its role.
    pub role: &'static str,
    /// Its name in the source; empty if it was computed.
    pub source: String,
    /// Numbers compared.
    pub numbers: u64,
    /// How they compare.
    pub outcome: Outcome,
}

/// How the numbers of a tensor compare with those of the source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// Every bit is the same.
    Equal,
    /// The record says that they were rounded to another format.
    Rounded {
        /// Root of the squared error over the squared source.
        relative_error: f64,
    },
}

impl Comparison {
    /// The tensors whose every bit is the same.
    #[must_use]
    pub fn equal(&self) -> usize {
        let equal = |t: &&Compared| t.outcome == Outcome::Equal;
        self.tensors.iter().filter(equal).count()
    }

    /// The tensors that were rounded.
    pub fn rounded(&self) -> impl Iterator<Item = &Compared> {
        self.tensors.iter().filter(|t| t.outcome != Outcome::Equal)
    }
}

/// Compares every tensor, the spec and the vocabulary of `file` with `source`.
///
/// # Errors
/// `Mismatch` names the first number that differs where the record promises equal bits; other
/// kinds mean that the comparison was not possible.
pub fn compare(source: &Source, file: &File<'_>) -> Result<Comparison> {
    let parts = Parts::of(source)?;
    if file.section(SectionKind::Spec) != Some(&parts.resolved.section()[..]) {
        return Err(mismatch("the spec follows from other hyperparameters"));
    }
    if let Some(section) = file.section(SectionKind::Tokenizer) {
        let vocabulary = vocabulary(source)?.ok_or_else(|| missing("no vocabulary"))?;
        if section != tokenizer_section(&vocabulary)? {
            return Err(mismatch("the vocabulary is another"));
        }
    }
    let provenance = file
        .section(SectionKind::Provenance)
        .ok_or_else(|| missing("the file does not say where its tensors come from"))?;
    let provenance: Provenance = records::decode(provenance)
        .map_err(|e| malformed("the provenance cannot be read").because(e))?;
    let tensors: Vec<Tensor> = file.tensors().collect();
    if tensors.len() != provenance.tensors.len() || tensors.len() != parts.parts.len() {
        return Err(mismatch(format!(
            "{} tensors, {} origins, {} parts of the source",
            tensors.len(),
            provenance.tensors.len(),
            parts.parts.len()
        )));
    }
    let compared = tensors
        .iter()
        .zip(&provenance.tensors)
        .zip(&parts.parts)
        .map(|((tensor, record), part)| compare_tensor(source, file, tensor, record, part))
        .collect::<Result<_>>()?;
    Ok(Comparison { tensors: compared })
}

fn compare_tensor(
    source: &Source,
    file: &File<'_>,
    tensor: &Tensor,
    record: &Record,
    part: &Part,
) -> Result<Compared> {
    let place = (tensor.layer, tensor.role);
    let shape = (u64::from(tensor.rows), u64::from(tensor.inputs));
    if place != (record.layer, record.role)
        || place != (part.layer, part.role)
        || shape != (part.rows, part.inputs)
    {
        return Err(mismatch(format!("{} is another tensor", name(tensor))));
    }
    let matrix = Matrix::of(tensor).ok_or_else(|| malformed("a tensor is too large"))?;
    let mut sums = Sums::default();
    match &part.origin {
        Origin::Tensor { name, .. } if !part.vector => {
            if *name != record.source {
                return Err(mismatch(format!("{name} is recorded as {}", record.source)));
            }
            compare_matrix(source, file, &matrix, record, &mut sums)
        }
        _ => {
            let numbers = vector(source, part)?;
            let mut row = vec![0.0; matrix.inputs];
            matrix.row(file.bytes(), 0, &mut row);
            sums.add(&numbers, &row);
            Ok(())
        }
    }
    .map_err(|e: Error| e.about(&name(tensor)))?;
    Ok(Compared {
        layer: tensor.layer,
        role: role(tensor.role),
        source: record.source.clone(),
        numbers: shape.0 * shape.1,
        outcome: sums.outcome(tensor, record)?,
    })
}

fn compare_matrix(
    source: &Source,
    file: &File<'_>,
    matrix: &Matrix,
    record: &Record,
    sums: &mut Sums,
) -> Result<()> {
    let tensor = source
        .tensor(&record.source)
        .ok_or_else(|| missing(format!("no tensor {}", record.source)))?;
    let (rows, inputs) = tensor.matrix();
    let rewritten = rewrite::apply(&record.rewrites, rows)?;
    if rewritten.rows.len() != matrix.rows || inputs != matrix.inputs as u64 {
        return Err(mismatch("the rewrites give another shape"));
    }
    let row_bytes = tensor.kind.bytes_of(inputs);
    let row_bytes = row_bytes.ok_or_else(|| malformed("rows are no whole blocks"))? as usize;
    let mut bytes = Vec::new();
    source.read(tensor, &mut bytes)?;
    let (mut expected, mut found) = (Vec::new(), vec![0.0; matrix.inputs]);
    for (to, &from) in rewritten.rows.iter().enumerate() {
        expected.clear();
        let row = &bytes[from as usize * row_bytes..][..row_bytes];
        if !tensor.kind.decode_into(row, &mut expected) {
            return Err(malformed(format!("type {} is not read", tensor.kind.name)));
        }
        if rewritten.add != 0.0 {
            expected.iter_mut().for_each(|x| *x += rewritten.add);
        }
        matrix.row(file.bytes(), to, &mut found);
        sums.add(&expected, &found);
    }
    Ok(())
}

/// What differs so far.
#[derive(Default)]
struct Sums {
    seen: u64,
    first: Option<(u64, f32, f32)>,
    error: f64,
    energy: f64,
}

impl Sums {
    fn add(&mut self, expected: &[f32], found: &[f32]) {
        for (at, (&x, &y)) in expected.iter().zip(found).enumerate() {
            if x.to_bits() != y.to_bits() {
                self.first.get_or_insert((self.seen + at as u64, x, y));
            }
            self.error += (f64::from(x) - f64::from(y)).powi(2);
            self.energy += f64::from(x).powi(2);
        }
        self.seen += expected.len() as u64;
    }

    fn outcome(&self, tensor: &Tensor, record: &Record) -> Result<Outcome> {
        let rounded = |r: &Rewrite| matches!(r, Rewrite::Transcode { .. });
        match self.first {
            None => Ok(Outcome::Equal),
            Some(_) if record.rewrites.iter().any(rounded) => Ok(Outcome::Rounded {
                relative_error: (self.error / self.energy).sqrt(),
            }),
            Some((at, expected, found)) => Err(mismatch(format!(
                "element {at} of {} is {found:e}, by the source {expected:e}",
                name(tensor)
            ))),
        }
    }
}

fn name(tensor: &Tensor) -> String {
    match tensor.layer {
        NO_LAYER => role(tensor.role).to_owned(),
        layer => format!("{} of layer {layer}", role(tensor.role)),
    }
}

fn role(id: u16) -> &'static str {
    let role = ROLES.iter().find(|role| role.id == id);
    role.map_or("unknown", |role| role.name)
}

fn mismatch(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Mismatch, message)
}
