//! Lays weights out as the runtime wants them: panels of rows, scales first, then tiles of codes.

use half::f16;
use inkstone_quant::{Encoding, Float, Format, GROUP};

use crate::error::{Result, malformed, unsupported};
use crate::ggml_types::{self, GgmlType, NON_LINEAR};
use crate::quantize;

/// One row in codes, before it is laid out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CodedRow {
    /// The bytes of the row's header fields.
    pub header: Vec<u8>,
    /// The bytes of its scale records, one after the other.
    pub records: Vec<u8>,
    /// One code a byte, a whole number of groups.
    pub codes: Vec<u8>,
}

/// A panel being filled.
#[derive(Debug, Clone)]
pub struct Panel {
    format: &'static Format,
    height: usize,
    inputs: usize,
    bytes: Vec<u8>,
}

/// How rows of a source type become rows of a format.
#[derive(Debug, Clone, Copy)]
pub enum Route {
    /// The same plain numbers.
    Plain,
    /// The codes and scales of a table row, block by block.
    Blocks(&'static Relay),
    /// Through f32, rounded anew.
    Numbers(fn(&[f32], &mut CodedRow)),
}

/// How the blocks of a source type become codes and scales of a format.
#[derive(Debug)]
pub struct Relay {
    /// Name of the source type.
    pub from: &'static str,
    /// Name of the format.
    pub to: &'static str,
    /// Whether only the layout changes, so that not a bit of codes and scales is lost.
    pub lossless: bool,
    /// Appends scale records and codes of one block; false if a scale is beyond the format.
    split: fn(&[u8], &mut CodedRow) -> bool,
}

/// The source types that keep their codes.
pub static RELAYS: &[Relay] = &[
    lossless("Q4_0", "Q4_0", |b, row| {
        same(b, 0..2, row, |i| nibble(&b[2..], i))
    }),
    lossless("Q4_1", "Q4_1", |b, row| {
        same(b, 0..4, row, |i| nibble(&b[4..], i))
    }),
    lossless("Q5_0", "Q5_0", |b, row| {
        same(b, 0..2, row, |i| nibble(&b[6..], i) | bit(&b[2..], i) << 4)
    }),
    lossless("Q5_1", "Q5_1", |b, row| {
        same(b, 0..4, row, |i| nibble(&b[8..], i) | bit(&b[4..], i) << 4)
    }),
    lossless("Q8_0", "q8", |b, row| {
        same(b, 0..2, row, |i| b[2 + i] ^ 0x80)
    }),
    lossless("IQ4_NL", "IQ4_NL", |b, row| {
        same(b, 0..2, row, |i| nibble(&b[2..], i))
    }),
    lossless("Q4_K", "Q4_K", |b, row| {
        same(b, 0..16, row, |i| k_nibble(&b[16..], i))
    }),
    lossless("Q5_K", "Q5_K", |b, row| {
        same(b, 0..16, row, |i| {
            k_nibble(&b[48..], i) | (b[16 + i % 32] >> (i / 32) & 1) << 4
        })
    }),
    lossless("Q6_K", "Q6_K", |b, row| {
        same(b, 192..210, row, |i| q6_k_code(b, i))
    }),
    // The same values in a wider format.
    transcoded("Q3_K", "Q6_K", split_q3_k),
    transcoded("MXFP4", "Q5_0", split_mxfp4),
    // Scales are rounded to f16.
    transcoded("IQ4_XS", "IQ4_NL", split_iq4_xs),
];

impl Route {
    /// The route that loses least, and the format at its end.
    ///
    /// # Errors
    /// The type is only sized, not read.
    pub fn keeping(kind: &GgmlType) -> Result<(Self, &'static Format)> {
        if let Some(relay) = RELAYS.iter().find(|relay| relay.from == kind.name) {
            return Ok((Self::Blocks(relay), format(relay.to)));
        }
        if [ggml_types::F32, ggml_types::F16, ggml_types::BF16].contains(kind) {
            return Ok((Self::Plain, format(kind.name)));
        }
        match kind.decode {
            Some(_) => Ok((Self::Numbers(quantize::q8), format("q8"))),
            None => Err(unsupported(format!("type {} is not read", kind.name))),
        }
    }

    /// The route to q8; rows that are q8 already keep their codes.
    ///
    /// # Errors
    /// The type is only sized, not read.
    pub fn to_q8(kind: &GgmlType) -> Result<(Self, &'static Format)> {
        match Self::keeping(kind)? {
            (Self::Blocks(relay), q8) if relay.to == "q8" => Ok((Self::Blocks(relay), q8)),
            _ => Ok((Self::Numbers(quantize::q8), format("q8"))),
        }
    }

    /// The route to q4.
    ///
    /// # Errors
    /// The type is only sized, not read.
    pub fn to_q4(kind: &GgmlType) -> Result<(Self, &'static Format)> {
        Self::keeping(kind)?;
        Ok((Self::Numbers(quantize::q4), format("q4")))
    }

    /// The route to q5.
    ///
    /// # Errors
    /// The type is only sized, not read.
    pub fn to_q5(kind: &GgmlType) -> Result<(Self, &'static Format)> {
        Self::keeping(kind)?;
        Ok((Self::Numbers(quantize::q5), format("q5")))
    }

    /// Whether codes and scales keep their bits.
    #[must_use]
    pub fn is_lossless(&self) -> bool {
        match self {
            Self::Plain => true,
            Self::Blocks(relay) => relay.lossless,
            Self::Numbers(_) => false,
        }
    }
}

impl CodedRow {
    /// Forgets the row, keeps the memory.
    pub fn clear(&mut self) {
        self.header.clear();
        self.records.clear();
        self.codes.clear();
    }
}

/// Packs source rows into panels, one after the other.
#[derive(Debug, Clone)]
pub struct Packer {
    route: Route,
    kind: &'static GgmlType,
    panel: Panel,
    coded: CodedRow,
    numbers: Vec<f32>,
}

impl Packer {
    /// For rows of `inputs` elements of `kind`, in panels of `height` rows.
    ///
    /// # Errors
    /// The rows fill no whole number of blocks.
    pub fn new(route: Route, kind: &'static GgmlType, panel: Panel) -> Result<Self> {
        if kind.bytes_of(panel.inputs as u64).is_none() {
            let inputs = panel.inputs;
            return Err(malformed(format!(
                "rows of {inputs} in blocks of {}",
                kind.block
            )));
        }
        Ok(Self {
            route,
            kind,
            panel,
            coded: CodedRow::default(),
            numbers: Vec::new(),
        })
    }

    /// The panel of the rows `rows` of a matrix in `bytes`; missing rows are zero.
    ///
    /// # Errors
    /// A scale is beyond the format.
    pub fn pack(&mut self, bytes: &[u8], rows: &[u32]) -> Result<&[u8]> {
        self.panel.clear();
        let row_bytes = self.panel.inputs / self.kind.block * self.kind.bytes;
        for (to, &from) in rows.iter().enumerate() {
            let row = &bytes[from as usize * row_bytes..][..row_bytes];
            self.put(to, row)?;
        }
        Ok(self.panel.bytes())
    }

    /// The panels of any number of rows, one after the other.
    ///
    /// # Errors
    /// As [`Packer::pack`].
    pub fn pack_all(&mut self, bytes: &[u8], rows: &[u32]) -> Result<Vec<u8>> {
        let mut panels = Vec::new();
        for rows in rows.chunks(self.panel.height) {
            panels.extend(self.pack(bytes, rows)?);
        }
        Ok(panels)
    }

    fn put(&mut self, to: usize, row: &[u8]) -> Result<()> {
        match self.route {
            Route::Plain => {
                self.panel.put_plain(to, row);
                return Ok(());
            }
            Route::Blocks(relay) => {
                self.coded.clear();
                for block in row.chunks_exact(self.kind.bytes) {
                    if !(relay.split)(block, &mut self.coded) {
                        let kind = relay.from;
                        return Err(unsupported(format!("a scale of {kind} is beyond f16")));
                    }
                }
            }
            Route::Numbers(quantize) => {
                self.numbers.clear();
                let decoded = self.kind.decode_into(row, &mut self.numbers);
                assert!(decoded, "routes are made from types that are decoded");
                quantize(&self.numbers, &mut self.coded);
            }
        }
        self.panel.put_coded(to, &self.coded);
        Ok(())
    }
}

impl Panel {
    /// An empty panel of `height` rows (16 or 1); `None` where the size overflows.
    #[must_use]
    pub fn new(format: &'static Format, height: usize, inputs: usize) -> Option<Self> {
        let bytes = format.panel_bytes(inputs as u64, height as u64)?;
        Some(Self {
            format,
            height,
            inputs,
            bytes: vec![0; usize::try_from(bytes).ok()?],
        })
    }

    /// The panel as it stands in a file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Makes every row zero again.
    pub fn clear(&mut self) {
        self.bytes.fill(0);
    }

    /// Lays a row of codes out; the row must hold zeros before.
    ///
    /// # Panics
    /// The row has another number of records or codes than the format asks for.
    pub fn put_coded(&mut self, row: usize, coded: &CodedRow) {
        let Encoding::Blocks(codes, scales) = self.format.encoding else {
            panic!("{} holds plain numbers", self.format.name);
        };
        assert_eq!(
            coded.codes.len().div_ceil(GROUP),
            self.inputs.div_ceil(GROUP)
        );
        scales.put_header(&mut self.bytes, self.height, row, &coded.header);
        let records = coded.records.chunks_exact(scales.record_bytes());
        assert_eq!(records.len(), self.inputs.div_ceil(scales.span));
        for (index, record) in records.enumerate() {
            scales.put_record(&mut self.bytes, self.height, row, index, record);
        }
        let start = self.format.scale_bytes(self.inputs, self.height);
        let tiles = self.bytes[start..].chunks_exact_mut(codes.tile_bytes(self.height));
        for (tile, group) in tiles.zip(coded.codes.chunks(GROUP)) {
            for (input, &code) in group.iter().enumerate() {
                codes.put(tile, self.height, row, input, code);
            }
        }
    }

    /// Lays a row of plain numbers out.
    ///
    /// # Panics
    /// The format holds codes.
    pub fn put_plain(&mut self, row: usize, numbers: &[u8]) {
        let Encoding::Float(float) = self.format.encoding else {
            panic!("{} holds codes", self.format.name);
        };
        let size = Float::bytes(float);
        let places = self.bytes[row * size..].chunks_mut(size * self.height);
        for (place, number) in places.zip(numbers.chunks_exact(size)) {
            place[..size].copy_from_slice(number);
        }
    }
}

/// The format called `name`.
fn format(name: &str) -> &'static Format {
    Format::by_name(name).expect("the tables of the converter name formats of the runtime")
}

const fn lossless(
    from: &'static str,
    to: &'static str,
    split: fn(&[u8], &mut CodedRow) -> bool,
) -> Relay {
    Relay {
        from,
        to,
        lossless: true,
        split,
    }
}

const fn transcoded(
    from: &'static str,
    to: &'static str,
    split: fn(&[u8], &mut CodedRow) -> bool,
) -> Relay {
    Relay {
        lossless: false,
        ..lossless(from, to, split)
    }
}

/// A block whose scale fields are a record as they stand, and whose codes `code` finds.
fn same(
    block: &[u8],
    record: core::ops::Range<usize>,
    row: &mut CodedRow,
    code: impl Fn(usize) -> u8,
) -> bool {
    // Records of 16 bytes and more serve 256 inputs.
    let inputs = if record.len() >= 16 { 256 } else { GROUP };
    row.records.extend(&block[record]);
    row.codes.extend((0..inputs).map(code));
    true
}

/// Code `i` of 32 nibbles, the low ones first.
fn nibble(bytes: &[u8], i: usize) -> u8 {
    bytes[i % 16] >> (i / 16 * 4) & 15
}

/// Bit `i` of a little-endian number.
fn bit(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 8] >> (i % 8) & 1
}

/// Code `i` of 256 nibbles: of 32 bytes first the low ones, then the high.
fn k_nibble(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 64 * 32 + i % 32] >> (i / 32 % 2 * 4) & 15
}

fn q6_k_code(block: &[u8], i: usize) -> u8 {
    let (half, quarter, column) = (i / 128, i / 32 % 4, i % 32);
    let low = block[half * 64 + quarter % 2 * 32 + column] >> (quarter / 2 * 4) & 15;
    let high = block[128 + half * 32 + column] >> (quarter * 2) & 3;
    low | high << 4
}

/// Three-bit codes less 4 are six-bit codes less 32; scales less 32 are signed bytes.
fn split_q3_k(block: &[u8], row: &mut CodedRow) -> bool {
    let packed = &block[96..108];
    row.records.extend((0..16).map(|group| {
        let low = packed[group % 8] >> (group / 8 * 4) & 15;
        let high = packed[8 + group % 4] >> (group / 4 * 2) & 3;
        (low | high << 4).wrapping_sub(32)
    }));
    row.records.extend(&block[108..110]);
    row.codes.extend((0..256).map(|i| {
        let low = block[32 + i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
        let high = block[i % 32] >> (i / 32) & 1;
        (low | high << 2) + 28
    }));
    true
}

/// The levels of E2M1, doubled, are whole and within ±12.
fn split_mxfp4(block: &[u8], row: &mut CodedRow) -> bool {
    const DOUBLED: [u8; 16] = [16, 17, 18, 19, 20, 22, 24, 28, 16, 15, 14, 13, 12, 10, 8, 4];
    let exponent = i32::from(block[0]) - 128;
    let scale = f16::from_f64(libm::ldexp(1.0, exponent));
    row.records.extend(scale.to_le_bytes());
    row.codes
        .extend((0..32).map(|i| DOUBLED[usize::from(nibble(&block[1..], i))]));
    scale.is_finite()
}

fn split_iq4_xs(block: &[u8], row: &mut CodedRow) -> bool {
    debug_assert_eq!(NON_LINEAR, inkstone_quant::codes::NL4_LEVELS);
    let scale = f16::from_le_bytes([block[0], block[1]]).to_f32();
    let upper = u16::from_le_bytes([block[2], block[3]]);
    let mut finite = true;
    for group in 0..8 {
        let low = block[4 + group / 2] >> (group % 2 * 4) & 15;
        let high = (upper >> (group * 2) & 3) as u8;
        let scale = f16::from_f32(scale * f32::from((low | high << 4) as i8 - 32));
        finite &= scale.is_finite();
        row.records.extend(scale.to_le_bytes());
        let codes = &block[8 + group * 16..];
        row.codes.extend((0..32).map(|i| nibble(codes, i)));
    }
    finite
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Random blocks of a type whose f16 fields stay finite.
    fn blocks(kind: &GgmlType, count: usize) -> Vec<u8> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut byte = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 56) as u8
        };
        let mut bytes: Vec<u8> = (0..count * kind.bytes).map(|_| byte()).collect();
        for block in bytes.chunks_exact_mut(kind.bytes) {
            let fields: &[usize] = match kind.name {
                "MXFP4" => {
                    block[0] = 110 + block[0] % 20;
                    &[]
                }
                "F32" => &[2],
                "BF16" | "F16" => &[0],
                "Q4_1" | "Q5_1" | "Q4_K" | "Q5_K" => &[0, 2],
                "Q6_K" => &[208],
                "Q3_K" => &[108],
                "Q2_K" => &[80, 82],
                _ => &[0],
            };
            for &field in fields {
                block[field + 1] = 0x20 | block[field + 1] & 0x87;
            }
        }
        bytes
    }

    /// Packs rows backwards in panels and decodes them again.
    fn round_trip(
        route: Route,
        format: &'static Format,
        kind: &'static GgmlType,
        height: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        let (rows, inputs) = (19, 512);
        let bytes = blocks(kind, rows * inputs / kind.block);
        let panel = Panel::new(format, height, inputs).unwrap();
        let mut packer = Packer::new(route, kind, panel).unwrap();
        let order: Vec<u32> = (0..rows as u32).rev().collect();
        let (mut out, mut expected) = (Vec::new(), Vec::new());
        for chunk in order.chunks(height) {
            let panel = packer.pack(&bytes, chunk).unwrap();
            for (at, &row) in chunk.iter().enumerate() {
                let mut numbers = vec![0.0; inputs];
                format.row(panel, height, at, &mut numbers);
                out.extend(numbers);
                let size = bytes.len() / rows;
                let source = &bytes[row as usize * size..][..size];
                assert!(kind.decode_into(source, &mut expected));
            }
        }
        (expected, out)
    }

    fn each(mut check: impl FnMut(&'static GgmlType, Vec<f32>, Vec<f32>, Route)) {
        let read = |t: &&&GgmlType| t.decode.is_some();
        for kind in ggml_types::TYPES
            .iter()
            .collect::<Vec<_>>()
            .iter()
            .filter(read)
        {
            let (route, format) = Route::keeping(kind).unwrap();
            for height in [1, 16] {
                let (expected, out) = round_trip(route, format, kind, height);
                check(kind, expected, out, route);
            }
        }
    }

    #[test]
    fn lossless_routes_keep_every_bit() {
        let mut seen = 0;
        each(|kind, expected, out, route| {
            let exact = route.is_lossless() || ["Q3_K", "MXFP4"].contains(&kind.name);
            if exact {
                seen += 1;
                let bits = |v: &[f32]| v.iter().map(|x| (x + 0.0).to_bits()).collect::<Vec<_>>();
                assert!(bits(&expected) == bits(&out), "{}", kind.name);
            }
        });
        assert_eq!(seen, 2 * (3 + 9 + 2));
    }

    #[test]
    fn other_routes_come_near() {
        each(|kind, expected, out, _| {
            let difference = |(x, y): (&f32, &f32)| f64::from(x - y).powi(2);
            let error: f64 = expected.iter().zip(&out).map(difference).sum();
            let energy: f64 = expected.iter().map(|x| f64::from(*x).powi(2)).sum();
            assert!(error <= 1e-4 * energy, "{}: {error} of {energy}", kind.name);
        });
    }

    #[test]
    fn a_scale_beyond_f16_is_refused() {
        let mut block = vec![0; 17];
        block[0] = 200;
        let kind = ggml_types::by_name("MXFP4").unwrap();
        let (route, format) = Route::keeping(kind).unwrap();
        let panel = Panel::new(format, 1, 32).unwrap();
        Packer::new(route, kind, panel)
            .unwrap()
            .pack(&block, &[0])
            .unwrap_err();
    }

    #[test]
    fn types_that_are_only_sized_are_refused() {
        for name in ["IQ2_XS", "I32", "TQ1_0"] {
            Route::keeping(ggml_types::by_name(name).unwrap()).unwrap_err();
        }
    }
}
