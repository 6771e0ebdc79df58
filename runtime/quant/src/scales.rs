//! Scale codecs: how the scale and, where there is one, the minimum of each group are stored.
//!
//! A codec describes records of little-endian fields: one header a row and one record for every `span` inputs of a
//! row. Fields of the rows of a panel stand side by side (`[record][field][row]`), headers first, so that decoding is
//! a row of vector loads. Fields keep the bits of the format they come from.

use crate::math::f16;

/// How scales are stored.
#[derive(Debug)]
pub struct Scales {
    /// For messages and tables.
    pub name: &'static str,
    /// Widths in bytes of a row's header fields.
    pub header: &'static [usize],
    /// Widths in bytes of the fields of one record.
    pub record: &'static [usize],
    /// Inputs that one record serves.
    pub span: usize,
    /// Inputs that share one scale: 16 or 32.
    pub group: usize,
    /// Whether a minimum is subtracted.
    pub minimum: bool,
    /// `(scale, minimum)` of group `g` of a record.
    decode: fn(&Fields<'_>, g: usize) -> (f32, f32),
}

/// f16 per 32: Q4_0, Q5_0, Q8_0, IQ4_NL.
pub static F16: Scales = Scales {
    name: "f16",
    header: &[],
    record: &[2],
    span: 32,
    group: 32,
    minimum: false,
    decode: |f, _| (f.f16(0), 0.0),
};

/// f16 scale and f16 minimum per 32, the minimum added: Q4_1, Q5_1.
pub static F16_MIN: Scales = Scales {
    name: "f16+min",
    header: &[],
    record: &[2, 2],
    span: 32,
    group: 32,
    minimum: true,
    decode: |f, _| (f.f16(0), -f.f16(1)),
};

/// A signed byte per 32 under one f32 a row: q4, q5.
pub static S8_ROW: Scales = Scales {
    name: "s8*row",
    header: &[4],
    record: &[1],
    span: 32,
    group: 32,
    minimum: false,
    decode: |f, _| {
        (
            f32::from_bits(f.header(0)) * f32::from(f.byte(0) as i8),
            0.0,
        )
    },
};

/// Six-bit scales and minima per 32 under two f16 per 256, in the bit fields of ggml's `block_q4_K`: Q4_K, Q5_K.
pub static K_MIN: Scales = Scales {
    name: "k6+min",
    header: &[],
    record: &[2, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1],
    span: 256,
    group: 32,
    minimum: true,
    decode: |f, g| {
        let (scale, minimum) = k_fields(g, |i| f.byte(2 + i));
        (f.f16(0) * f32::from(scale), f.f16(1) * f32::from(minimum))
    },
};

/// A signed byte per 16 under one f16 per 256: Q6_K.
pub static K_S8: Scales = Scales {
    name: "k8",
    header: &[],
    record: &[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2],
    span: 256,
    group: 16,
    minimum: false,
    decode: |f, g| (f.f16(16) * f32::from(f.byte(g) as i8), 0.0),
};

/// Every codec; tests iterate it.
pub static SCALES: &[&Scales] = &[&F16, &F16_MIN, &S8_ROW, &K_MIN, &K_S8];

/// The six-bit scale and minimum of group `g` (0 ..= 7) in the twelve bytes of a K-quant.
fn k_fields(g: usize, byte: impl Fn(usize) -> u8) -> (u8, u8) {
    if g < 4 {
        (byte(g) & 63, byte(g + 4) & 63)
    } else {
        let low = byte(g + 4);
        (
            (low & 15) | (byte(g - 4) >> 6) << 4,
            (low >> 4) | (byte(g) >> 6) << 4,
        )
    }
}

const fn total(widths: &[usize]) -> usize {
    let mut sum = 0;
    let mut i = 0;
    while i < widths.len() {
        sum += widths[i];
        i += 1;
    }
    sum
}

impl Scales {
    /// Bytes of a row's header.
    pub const fn header_bytes(&self) -> usize {
        total(self.header)
    }

    /// Bytes of one record of one row.
    pub const fn record_bytes(&self) -> usize {
        total(self.record)
    }

    /// Scale bytes of a panel of `rows` rows, before padding.
    pub const fn bytes(&self, inputs: usize, rows: usize) -> usize {
        (self.header_bytes() + inputs.div_ceil(self.span) * self.record_bytes()) * rows
    }

    /// Scale and minimum of group `g` of `row`; the minimum is zero where the codec has none.
    #[inline]
    pub fn get(&self, bytes: &[u8], rows: usize, row: usize, g: usize) -> (f32, f32) {
        let per_record = self.span / self.group;
        let record = g / per_record;
        let start = (self.header_bytes() + record * self.record_bytes()) * rows;
        let fields = Fields {
            codec: self,
            panel: bytes,
            start,
            rows,
            row,
        };
        (self.decode)(&fields, g % per_record)
    }

    /// Writes a row's header into a panel, from its fields' bytes in order.
    pub fn put_header(&self, bytes: &mut [u8], rows: usize, row: usize, fields: &[u8]) {
        scatter(self.header, bytes, rows, row, fields);
    }

    /// Writes record `index` of a row into a panel, from its fields' bytes in order.
    pub fn put_record(
        &self,
        bytes: &mut [u8],
        rows: usize,
        row: usize,
        index: usize,
        fields: &[u8],
    ) {
        let start = (self.header_bytes() + index * self.record_bytes()) * rows;
        scatter(self.record, &mut bytes[start..], rows, row, fields);
    }
}

fn scatter(widths: &[usize], to: &mut [u8], rows: usize, row: usize, mut from: &[u8]) {
    let mut base = 0;
    for &width in widths {
        let (field, rest) = from.split_at(width);
        to[base + row * width..][..width].copy_from_slice(field);
        base += width * rows;
        from = rest;
    }
}

/// The fields of one record of one row.
struct Fields<'a> {
    codec: &'a Scales,
    panel: &'a [u8],
    start: usize,
    rows: usize,
    row: usize,
}

impl Fields<'_> {
    #[inline(always)]
    fn at(&self, field: usize) -> usize {
        let before: usize = self.codec.record[..field].iter().sum();
        self.start + before * self.rows + self.row * self.codec.record[field]
    }

    #[inline(always)]
    fn byte(&self, field: usize) -> u8 {
        self.panel[self.at(field)]
    }

    #[inline(always)]
    fn f16(&self, field: usize) -> f32 {
        let at = self.at(field);
        f16(u16::from_le_bytes([self.panel[at], self.panel[at + 1]]))
    }

    #[inline(always)]
    fn header(&self, field: usize) -> u32 {
        let before: usize = self.codec.header[..field].iter().sum();
        let at = before * self.rows + self.row * 4;
        u32::from_le_bytes([
            self.panel[at],
            self.panel[at + 1],
            self.panel[at + 2],
            self.panel[at + 3],
        ])
    }
}
