//! Adapters: what fine-tuning has added to a model's matrices (Hu et al. 2021, arXiv:2106.09685), attached to one that is
//! open already. Any number of them is one of their ranks together, which stands in memory beside the mapped file.

use core::fmt;
use core::ops::Range;
use std::path::Path;
use std::sync::Arc;

use inkstone_format::{File, SectionKind};
use inkstone_model::Matrix;
use inkstone_model::weights::{ADAPTED, Beside, Bytes, LinearRoles, is_adapter};

use crate::error::{Error, ErrorKind, Result};
use crate::mapped::Mapped;
use crate::streamed::Streamed;

/// Rows of the thin matrices over one matrix, of all adapters together, at most.
const RANKS: usize = 4096;

/// Where matrices begin.
const ALIGNMENT: usize = 64;

/// An adapter in memory; clones share it.
#[derive(Clone)]
pub struct Adapter(Arc<Inner>);

struct Inner {
    name: String,
    id: [u8; 32],
    made_for: Option<[u8; 32]>,
    pairs: Vec<Pair>,
}

/// The two thin matrices over one matrix. `b·a`, scaled, is added to it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Pair {
    /// The layer.
    pub layer: u16,
    /// The role of the matrix, a number of [`ROLES`](inkstone_model::ROLES).
    pub role: u16,
    /// Outputs of the matrix.
    pub rows: usize,
    /// Inputs of the matrix.
    pub inputs: usize,
    /// Rows of `a`.
    pub rank: usize,
    /// `rank × inputs`.
    pub a: Vec<f32>,
    /// `rows × rank`.
    pub b: Vec<f32>,
}

impl fmt::Debug for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Adapter").field(&self.0.name).finish()
    }
}

impl Adapter {
    /// Reads an adapter's file: an `.ink` of thin matrices alone.
    ///
    /// # Errors
    /// As [`Model::open`](crate::Model::open); [`ErrorKind::NotAModel`] for a file without adapters.
    pub fn open(path: &Path) -> Result<Adapter> {
        let mapped = Mapped::open(path)?;
        mapped.verify(&mut |_, _| {})?;
        let file = mapped.file();
        let at = |kind, what: &str| Error::text(kind, format!("{}: {what}", path.display()));
        let pairs = pairs_of(&file).map_err(|what| at(ErrorKind::Damaged, &what))?;
        if pairs.is_empty() {
            return Err(at(ErrorKind::NotAModel, "the file holds no adapter"));
        }
        let made_for = file.section(SectionKind::Adapter);
        let inner = Inner {
            name: path.display().to_string(),
            id: file.id(),
            made_for: made_for.and_then(|id| id.try_into().ok()),
            pairs,
        };
        Ok(Adapter(Arc::new(inner)))
    }

    /// An adapter of matrices in memory, which messages call `name`.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] for shapes that are none, or a number that is not finite.
    pub fn of(name: &str, pairs: Vec<Pair>) -> Result<Adapter> {
        let mut hasher = blake3::Hasher::new();
        for pair in &pairs {
            let shape = [pair.rows, pair.inputs, pair.rank];
            let long = pair.a.len() == pair.rank.saturating_mul(pair.inputs)
                && pair.b.len() == pair.rows.saturating_mul(pair.rank);
            let finite = pair.a.iter().chain(&pair.b).all(|x| x.is_finite());
            if !long || !finite || shape.contains(&0) || roles(pair.role).is_none() {
                let text = format!("{name}: matrices of layer {} are unsound", pair.layer);
                return Err(Error::text(ErrorKind::Invalid, text));
            }
            let place = [usize::from(pair.layer), usize::from(pair.role)];
            for n in place.into_iter().chain(shape) {
                hasher.update(&(n as u64).to_le_bytes());
            }
            for x in pair.a.iter().chain(&pair.b) {
                hasher.update(&x.to_le_bytes());
            }
        }
        let inner = Inner {
            name: name.to_owned(),
            id: hasher.finalize().into(),
            made_for: None,
            pairs,
        };
        Ok(Adapter(Arc::new(inner)))
    }

    /// What messages call it.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Names what it adds.
    pub fn id(&self) -> [u8; 32] {
        self.0.id
    }

    /// The [id](crate::Model::id) of the model that it was made for, where its file says it.
    pub fn made_for(&self) -> Option<[u8; 32]> {
        self.0.made_for
    }

    /// Its matrices.
    pub fn pairs(&self) -> &[Pair] {
        &self.0.pairs
    }
}

/// The adapters that stand among a file's tensors.
pub(crate) fn pairs_of(file: &File<'_>) -> core::result::Result<Vec<Pair>, String> {
    let thin = file.tensors().filter(|t| is_adapter(t.role));
    let matrices = thin.map(|t| {
        let matrix = Matrix::of(&t).ok_or("an adapter is too large")?;
        Ok(Beside {
            layer: t.layer,
            role: t.role,
            matrix,
        })
    });
    let matrices = matrices.collect::<core::result::Result<Vec<Beside>, &str>>()?;
    pairs_among(&matrices, file.bytes().into())
}

/// The adapters among matrices, which ascend by layer, then role.
fn pairs_among(matrices: &[Beside], bytes: Bytes<'_>) -> core::result::Result<Vec<Pair>, String> {
    let mut pairs = Vec::new();
    for &Beside {
        layer,
        role,
        matrix: a,
    } in matrices
    {
        let Some([role, _, _, b_role]) = ADAPTED.iter().find(|roles| roles[2] == role) else {
            continue;
        };
        let b = matrices.binary_search_by_key(&(layer, *b_role), |b| (b.layer, b.role));
        let b = b.ok().map(|at| matrices[at].matrix);
        let plain = |matrix: &Matrix| matrix.format.id == 0;
        let b = b.filter(|b| b.inputs == a.rows && plain(b) && plain(&a));
        let b = b.ok_or_else(|| format!("an adapter of layer {layer} lacks a matrix"))?;
        pairs.push(Pair {
            layer,
            role: *role,
            rows: b.rows,
            inputs: a.inputs,
            rank: a.rows,
            a: numbers(&a, bytes)?,
            b: numbers(&b, bytes)?,
        });
    }
    Ok(pairs)
}

fn numbers(matrix: &Matrix, bytes: Bytes<'_>) -> core::result::Result<Vec<f32>, String> {
    let count = matrix.rows.checked_mul(matrix.inputs);
    let mut numbers = vec![0.0; count.ok_or("an adapter is too large")?];
    for (row, out) in numbers.chunks_exact_mut(matrix.inputs).enumerate() {
        matrix.row(bytes, row, out);
    }
    Ok(numbers)
}

fn roles(role: u16) -> Option<&'static LinearRoles> {
    ADAPTED.iter().find(|roles| roles[0] == role)
}

/// Matrices that stand beside a file: the thin ones of adapters, the vectors of a file that is not in memory.
#[derive(Default)]
pub(crate) struct Stack {
    bytes: Vec<u8>,
    start: usize,
    table: Vec<Beside>,
}

impl Stack {
    /// Adapters and what each is scaled by; offsets count on behind `file_bytes`.
    pub(crate) fn new(
        adapters: &[(&[Pair], f32)],
        file_bytes: usize,
    ) -> core::result::Result<Stack, String> {
        let mut parts: Vec<(&Pair, f32)> = adapters
            .iter()
            .flat_map(|(pairs, scale)| pairs.iter().map(move |pair| (pair, *scale)))
            .collect();
        // Stable: adapters over one matrix stay in the order in which they were attached.
        parts.sort_by_key(|(pair, _)| (pair.layer, pair.role));
        let groups = || parts.chunk_by(|(p, _), (q, _)| (p.layer, p.role) == (q.layer, q.role));
        let bytes = groups().map(panels_bytes).sum::<usize>();
        let mut stack = Stack::sized(bytes);
        let mut end = 0;
        for parts in groups() {
            stack.put(parts, file_bytes, &mut end)?;
        }
        stack.table.sort_by_key(|b| (b.layer, b.role));
        Ok(stack)
    }

    /// The vectors of a file whose weights are not in memory: norms, biases, the tables of rope.
    pub(crate) fn of_vectors(file: &File<'_>, streamed: &Streamed) -> Result<Stack> {
        let vectors = || file.tensors().filter(|t| t.rows == 1 && t.panel_rows == 1);
        let large = || Error::text(ErrorKind::OutOfMemory, "the file's vectors are too large");
        let places = vectors().map(|t| Matrix::of(&t).ok_or_else(large));
        let places = places.collect::<Result<Vec<Matrix>>>()?;
        let padded = |matrix: &Matrix| matrix.panel_bytes.next_multiple_of(ALIGNMENT);
        let mut stack = Stack::sized(places.iter().map(padded).sum());
        let mut end = 0;
        for (tensor, mut matrix) in vectors().zip(places) {
            let to = &mut stack.bytes[stack.start + end..][..matrix.panel_bytes];
            let read = streamed.read_at(matrix.offset, to);
            read.map_err(|e| Error::text(ErrorKind::Io, format!("the file's vectors: {e}")))?;
            matrix.offset = streamed.file_bytes + end;
            end += padded(&matrix);
            stack.table.push(Beside {
                layer: tensor.layer,
                role: tensor.role,
                matrix,
            });
        }
        Ok(stack)
    }

    /// Room for so many bytes at a multiple of [`ALIGNMENT`].
    fn sized(bytes: usize) -> Stack {
        let bytes = vec![0; bytes + ALIGNMENT];
        Stack {
            start: bytes.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT),
            bytes,
            table: Vec::new(),
        }
    }

    /// The adapters of a model that has these beside its file, or else those in it.
    pub(crate) fn held(
        &self,
        file: &File<'_>,
        bytes: Bytes<'_>,
    ) -> core::result::Result<Vec<Pair>, String> {
        match self.table() {
            [] => pairs_of(file),
            table => pairs_among(table, bytes),
        }
    }

    /// The bytes behind the file.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes[self.start..]
    }

    /// The matrices, by layer and role.
    pub(crate) fn table(&self) -> &[Beside] {
        &self.table
    }

    /// Stacks what is over one matrix.
    fn put(
        &mut self,
        parts: &[(&Pair, f32)],
        file_bytes: usize,
        end: &mut usize,
    ) -> core::result::Result<(), String> {
        let Pair {
            layer,
            role,
            rows,
            inputs,
            ..
        } = *parts[0].0;
        let rank: usize = parts.iter().map(|(pair, _)| pair.rank).sum();
        let alike = parts
            .iter()
            .all(|(p, _)| (p.rows, p.inputs) == (rows, inputs));
        if !alike || rank > RANKS {
            return Err(format!(
                "the adapters of layer {layer} have {rank} rows together, at most {RANKS} of one shape can be attached"
            ));
        }
        let Some([_, _, a_role, b_role]) = roles(role) else {
            return Err(format!("role {role} takes no adapter"));
        };
        let mut a = place(rank, inputs, end);
        let mut b = place(rows, rank, end);
        let mut first = 0;
        for (pair, scale) in parts {
            for (row, values) in pair.a.chunks_exact(pair.inputs).enumerate() {
                self.write(&a, first + row, 0, values, 1.0);
            }
            for (row, values) in pair.b.chunks_exact(pair.rank).enumerate() {
                self.write(&b, row, first, values, *scale);
            }
            first += pair.rank;
        }
        for (matrix, role) in [(&mut a, *a_role), (&mut b, *b_role)] {
            matrix.offset += file_bytes;
            let matrix = *matrix;
            self.table.push(Beside {
                layer,
                role,
                matrix,
            });
        }
        Ok(())
    }

    /// Elements of a row from column `first` on.
    fn write(&mut self, matrix: &Matrix, row: usize, first: usize, values: &[f32], scale: f32) {
        let height = matrix.panel_rows;
        let panel = matrix.offset + row / height * matrix.panel_bytes;
        let at: Range<usize> = self.start + panel..self.start + panel + matrix.panel_bytes;
        let (words, _) = self.bytes[at].as_chunks_mut::<4>();
        let column = words.iter_mut().skip(first * height + row % height);
        for (to, x) in column.step_by(height).zip(values) {
            *to = (x * scale).to_le_bytes();
        }
    }
}

/// Bytes of the thin matrices over one matrix.
fn panels_bytes(parts: &[(&Pair, f32)]) -> usize {
    let rank: usize = parts.iter().map(|(pair, _)| pair.rank).sum();
    let Pair { rows, inputs, .. } = parts[0].0;
    let mut end = 0;
    place(rank, *inputs, &mut end);
    place(*rows, rank, &mut end);
    end
}

/// A matrix at `end`, which moves behind it.
fn place(rows: usize, inputs: usize, end: &mut usize) -> Matrix {
    let matrix = Matrix::plain(rows, inputs, *end);
    *end += matrix.panels() * matrix.panel_bytes;
    matrix
}
