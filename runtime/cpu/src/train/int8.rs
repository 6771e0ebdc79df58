//! Products with frozen matrices in integers: the runtime's kernels, over panels as they ship or made here.

use core::cell::RefCell;
use core::ops::Range;
use std::vec::Vec;

use inkstone_model::Matrix;
use inkstone_quant::activation::groups;
use inkstone_quant::codes::I8;
use inkstone_quant::{Format, GROUP, PANEL};
use multiversion::multiversion;

use super::lines::Lines;
use super::product::To;
use super::view::View;
use crate::isa::{Isa, Ready};
use crate::kernels::{Job, Kernel, PANELS, Panel, Products, Rows};
use crate::ops::round;
use crate::scales::Decoder;
use crate::simd;

/// Rows whose products with a block of panels are held at once.
const TOKENS: usize = 128;
/// Bytes of a tile of eight-bit codes.
const TILE: usize = I8.tile_bytes(PANEL);

/// A right factor of integers, `inputs × columns`: panels of sixteen columns, in groups of 16 or 32 inputs.
#[derive(Debug, Clone)]
pub struct Integers<'a> {
    kernel: &'static Kernel,
    isa: Ready,
    columns: usize,
    /// Tiles of a panel.
    tiles: usize,
    bytes: Bytes<'a>,
    /// Bytes of a panel, and those of them that lie before its tiles.
    panel: usize,
    skip: usize,
    scales: Lines<f32>,
    /// As many as scales, or none.
    minima: Lines<f32>,
}

#[derive(Debug, Clone)]
enum Bytes<'a> {
    Shipped(&'a [u8]),
    Made(Lines<u32>),
}

/// Some columns of it, from a panel's first on.
#[derive(Debug, Clone, Copy)]
pub struct Columns<'a> {
    matrix: &'a Integers<'a>,
    first: usize,
    count: usize,
}

/// A group of 32 inputs that is to be filled.
#[derive(Debug)]
pub struct Group<'a> {
    index: usize,
    /// Its tile and scales in each panel.
    places: Vec<(&'a mut [u8; TILE], &'a mut [f32; PANEL])>,
}

impl<'a> Integers<'a> {
    /// Whether the runtime multiplies with a matrix in integers.
    #[must_use]
    pub fn ships(matrix: &Matrix) -> bool {
        matrix.panel_rows == PANEL && Kernel::find(matrix.format, isa().isa()).is_some()
    }

    /// The rows `rows`, from a panel's first on, of a matrix as it lies in `file`, as columns: what the runtime
    /// multiplies with. None where that is not in integers ([`Self::ships`]).
    #[must_use]
    pub fn shipped(matrix: &Matrix, file: &'a [u8], rows: &Range<usize>) -> Option<Integers<'a>> {
        let isa = isa();
        let kernel = Kernel::find(matrix.format, isa.isa())?;
        let decoder = Decoder::of(matrix.format)?;
        if matrix.panel_rows != PANEL || !rows.start.is_multiple_of(PANEL) {
            return None;
        }
        let panels = rows.start / PANEL..rows.end.div_ceil(PANEL);
        let start = matrix.offset + panels.start * matrix.panel_bytes;
        let bytes = file
            .get(start..)?
            .get(..panels.len() * matrix.panel_bytes)?;
        let tiles = matrix.inputs.div_ceil(GROUP);
        let each = tiles * (GROUP / kernel.group);
        let all = panels.len() * each * PANEL;
        let mut scales = Lines::zeros(all);
        let mut minima = Lines::zeros(if decoder.minimum() { all } else { 0 });
        let of_panels = bytes.chunks_exact(matrix.panel_bytes);
        for (index, bytes) in of_panels.enumerate() {
            let at = index * each..(index + 1) * each;
            let scales = &mut scales.as_chunks_mut().0[at.clone()];
            let minima = minima.as_chunks_mut().0.get_mut(at);
            let minima = minima.unwrap_or_default();
            decoder.decode(isa, bytes, matrix.inputs, scales, minima);
        }
        Some(Integers {
            kernel,
            isa,
            columns: rows.len(),
            tiles,
            bytes: Bytes::Shipped(bytes),
            panel: matrix.panel_bytes,
            skip: matrix.format.scale_bytes(matrix.inputs, PANEL),
            scales,
            minima,
        })
    }

    /// Zeros for `inputs × columns`, to be filled with integers of eight bits ([`Self::groups`]).
    ///
    /// # Panics
    /// The table of kernels lacks eight bits.
    #[must_use]
    pub fn zeros(inputs: usize, columns: usize) -> Integers<'static> {
        let (isa, tiles, panels) = (isa(), groups(inputs), columns.div_ceil(PANEL));
        let eight = Format::by_name("q8").and_then(|format| Kernel::find(format, isa.isa()));
        Integers {
            kernel: eight.expect("a kernel of eight bits"),
            isa,
            columns,
            tiles,
            bytes: Bytes::Made(Lines::zeros(panels * tiles * TILE / size_of::<u32>())),
            panel: tiles * TILE,
            skip: 0,
            scales: Lines::zeros(panels * tiles * PANEL),
            minima: Lines::default(),
        }
    }

    /// Its groups, which can be filled one beside the other; none where they are those of a file.
    pub fn groups(&mut self) -> Vec<Group<'_>> {
        let bytes = match &mut self.bytes {
            Bytes::Shipped(_) => &mut [],
            Bytes::Made(words) => words.bytes_mut(),
        };
        let group = |index| Group {
            index,
            places: Vec::new(),
        };
        let mut groups: Vec<_> = (0..self.tiles).map(group).collect();
        let tiles = bytes.as_chunks_mut::<TILE>().0;
        let places = tiles.iter_mut().zip(self.scales.as_chunks_mut().0);
        for (at, place) in places.enumerate() {
            groups[at % self.tiles].places.push(place);
        }
        groups
    }

    /// All of it.
    #[must_use]
    pub fn whole(&self) -> Columns<'_> {
        Columns {
            matrix: self,
            first: 0,
            count: self.columns,
        }
    }

    /// The bytes of a panel.
    fn bytes(&self, index: usize) -> Option<&[u8]> {
        let bytes = match &self.bytes {
            Bytes::Shipped(bytes) => bytes,
            Bytes::Made(words) => words.bytes(),
        };
        bytes.get(index * self.panel..(index + 1) * self.panel)
    }

    fn panel(&self, index: usize) -> Panel<'_> {
        let each = self.tiles * (GROUP / self.kernel.group);
        let at = index * each..(index + 1) * each;
        Panel {
            tiles: self.bytes(index).map_or(&[], |bytes| &bytes[self.skip..]),
            scales: &self.scales.as_chunks().0[at.clone()],
            minima: self.minima.as_chunks().0.get(at),
            next: self.bytes(index + PANELS).unwrap_or_default(),
        }
    }
}

impl<'a> Columns<'a> {
    /// Some of its columns.
    ///
    /// # Panics
    /// They begin or end within a panel, or there are not as many.
    #[must_use]
    pub fn part(self, columns: Range<usize>) -> Columns<'a> {
        let whole = columns.end == self.count || columns.end.is_multiple_of(PANEL);
        assert!(
            columns.start.is_multiple_of(PANEL) && whole && columns.end <= self.count,
            "a part of integers ends within a panel"
        );
        Columns {
            first: self.first + columns.start,
            count: columns.len(),
            ..self
        }
    }

    /// How many.
    pub(super) fn count(self) -> usize {
        self.count
    }
}

impl Group<'_> {
    /// Its inputs of `inputs`.
    #[must_use]
    pub fn inputs(&self, inputs: usize) -> Range<usize> {
        self.index * GROUP..inputs.min((self.index + 1) * GROUP)
    }

    /// Rounds those inputs, `inputs × columns`, to multiples of a 127th of the largest in their column.
    ///
    /// # Panics
    /// There are more than a group has, or rows do not lie along.
    pub fn fill(self, x: View<'_>) {
        let mut block = [[0.0; PANEL]; GROUP];
        for (panel, (tile, scales)) in self.places.into_iter().enumerate() {
            let columns = panel * PANEL..x.columns().min((panel + 1) * PANEL);
            for (row, to) in block[..x.rows()].iter_mut().enumerate() {
                to[..columns.len()].copy_from_slice(&x.row(row)[columns.clone()]);
            }
            *scales = fill(&block, tile);
        }
    }
}

/// A tile of eight-bit codes and its scales. Not compiled for AVX-512: compilers scatter there what lies side by side.
#[multiversion(targets("x86_64+avx2"))]
fn fill(block: &[[f32; PANEL]; GROUP], tile: &mut [u8; TILE]) -> [f32; PANEL] {
    let mut most = [0.0_f32; PANEL];
    for row in block {
        for (most, x) in most.iter_mut().zip(row) {
            *most = most.max(x.abs());
        }
    }
    let inverse = most.map(|most| {
        let inverse = 127.0 / most;
        if inverse.is_finite() { inverse } else { 0.0 }
    });
    let quads = tile.as_chunks_mut::<4>().0.as_chunks_mut::<PANEL>().0;
    for (quad, rows) in quads.iter_mut().zip(block.as_chunks::<4>().0) {
        let mut words = [0_u32; PANEL];
        for (input, row) in rows.iter().enumerate() {
            for ((word, x), inverse) in words.iter_mut().zip(row).zip(&inverse) {
                // Adding 1.5 · 2²³ leaves the nearest integer, ties to even, in the lowest bits.
                let nearest = (x * inverse + 12_582_912.0).to_bits();
                *word |= (nearest & 0xff) << (8 * input);
            }
        }
        // 128 more, as unsigned bytes.
        *quad = words.map(|word| (word ^ 0x8080_8080).to_le_bytes());
    }
    most.map(|most| most / 127.0)
}

/// A left factor in the runtime's rounded form.
#[derive(Debug)]
pub(super) struct Rounded {
    /// Groups of a row, and from one row to the next: an odd number of lines, so that rows do not contend for places in a
    /// cache.
    groups: usize,
    stride: usize,
    room: Room,
}

#[derive(Debug, Default)]
struct Room {
    codes: Vec<[i8; GROUP]>,
    scales: Vec<f32>,
    sums: Vec<[i32; 2]>,
}

std::thread_local! {
    /// What rounded rows have left, for the next ones.
    static LEFT: RefCell<Vec<Room>> = const { RefCell::new(Vec::new()) };
}

impl Rounded {
    /// Rows that are yet to be written.
    pub(super) fn empty(rows: usize, columns: usize) -> Rounded {
        let mut room = LEFT.with_borrow_mut(Vec::pop).unwrap_or_default();
        let groups = groups(columns);
        let stride = (groups.div_ceil(2) | 1) * 2;
        room.codes.resize(rows * stride, [0; GROUP]);
        room.scales.resize(rows * stride, 0.0);
        room.sums.resize(rows * stride, [0; 2]);
        Rounded {
            groups,
            stride,
            room,
        }
    }

    /// Numbers of a row from `column`, where a group begins, on; they end with a group or with the row.
    pub(super) fn put(&mut self, row: usize, column: usize, x: &[f32]) {
        assert!(column.is_multiple_of(GROUP), "a group is rounded at once");
        let first = row * self.stride + column / GROUP;
        let at = first..first + groups(x.len());
        let codes = round::Codes {
            codes: &mut self.room.codes[at.clone()],
            scales: &mut self.room.scales[at.clone()],
            sums: &mut self.room.sums[at],
        };
        simd::run(isa(), round::Round { x, codes });
    }

    fn rows(&self, rows: Range<usize>) -> Rows<'_> {
        let at = rows.start * self.stride..rows.end * self.stride;
        Rows {
            count: rows.len(),
            groups: self.stride,
            codes: self.room.codes[at.clone()].as_flattened(),
            scales: &self.room.scales[at.clone()],
            sums: self.room.sums[at].as_flattened(),
        }
    }
}

impl Drop for Rounded {
    fn drop(&mut self) {
        let room = core::mem::take(&mut self.room);
        // A thread that ends has no use for it.
        let _ = LEFT.try_with(|left| left.borrow_mut().push(room));
    }
}

/// One product, the bits of the runtime's.
pub(super) fn multiply(left: &Rounded, right: Columns<'_>, to: &mut To<'_>) {
    let m = right.matrix;
    assert_eq!(left.groups, m.tiles, "factors of different inputs");
    let (mut out, end) = ([[0.0; PANEL]; PANELS * TOKENS], right.first + right.count);
    for first in (right.first..end).step_by(PANELS * PANEL) {
        let columns = first..end.min(first + PANELS * PANEL);
        let panels = columns.len().div_ceil(PANEL);
        let both = [first / PANEL, first / PANEL + panels - 1].map(|index| m.panel(index));
        for row in (0..to.rows).step_by(TOKENS) {
            let rows = row..to.rows.min(row + TOKENS);
            let at = row * to.stride + first - right.first;
            let job = Job {
                panels: &both[..panels],
                tiles: m.tiles,
                rows: left.rows(rows),
            };
            m.kernel.multiply_on(m.isa, &job, &mut out);
            let products = &out[..panels * job.rows.count];
            put(
                products,
                panels,
                columns.len(),
                &mut to.data[at..],
                to.stride,
                to.add,
            );
        }
    }
}

/// Products of rows with `panels` panels go where they belong.
#[multiversion(targets("x86_64+avx512f+avx512vl", "x86_64+avx2"))]
fn put(from: &[Products], panels: usize, columns: usize, to: &mut [f32], stride: usize, add: bool) {
    for (from, to) in from.chunks_exact(panels).zip(to.chunks_mut(stride)) {
        let (whole, rest) = to[..columns].as_chunks_mut::<PANEL>();
        for (to, from) in whole.iter_mut().zip(from) {
            if add {
                to.iter_mut().zip(from).for_each(|(to, from)| *to += from);
            } else {
                *to = *from;
            }
        }
        for (to, from) in rest.iter_mut().zip(from.last().into_iter().flatten()) {
            *to = if add { *to + from } else { *from };
        }
    }
}

/// The one that the environment names where there is such a one, else the best.
fn isa() -> Ready {
    static FOUND: std::sync::OnceLock<Ready> = std::sync::OnceLock::new();
    *FOUND.get_or_init(|| {
        let isa = Isa::from_env().unwrap_or_else(|_| Isa::detect());
        Ready::new(isa).expect("an instruction set that was found")
    })
}
