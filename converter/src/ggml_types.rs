//! The tensor types of GGUF: how large their blocks are and which numbers the blocks stand for.

use half::{bf16, f16};

/// Turns the bytes of one block into its numbers.
pub type Decode = fn(&[u8], &mut [f32]);

/// One way of storing the elements of a tensor.
#[derive(Debug)]
pub struct GgmlType {
    /// The number that stands in the file.
    pub id: u32,
    /// The name used by everyone, as `Q4_K`.
    pub name: &'static str,
    /// Elements in one block.
    pub block: usize,
    /// Bytes of one block.
    pub bytes: usize,
    /// Decodes one block of `bytes` bytes into `block` numbers; `None` where the type is only sized.
    pub decode: Option<Decode>,
}

impl PartialEq for GgmlType {
    fn eq(&self, other: &Self) -> bool {
        self.id == other.id
    }
}

impl Eq for GgmlType {}

/// Every type a file may name; the removed numbers (4, 5, 31 to 33, 36 to 38) are absent.
pub static TYPES: &[GgmlType] = &[
    F32,
    F16,
    Q4_0,
    Q4_1,
    Q5_0,
    Q5_1,
    Q8_0,
    sized(9, "Q8_1", 32, 36),
    Q2_K,
    Q3_K,
    Q4_K,
    Q5_K,
    Q6_K,
    sized(15, "Q8_K", 256, 292),
    sized(16, "IQ2_XXS", 256, 66),
    sized(17, "IQ2_XS", 256, 74),
    sized(18, "IQ3_XXS", 256, 98),
    sized(19, "IQ1_S", 256, 50),
    IQ4_NL,
    sized(21, "IQ3_S", 256, 110),
    sized(22, "IQ2_S", 256, 82),
    IQ4_XS,
    sized(24, "I8", 1, 1),
    sized(25, "I16", 1, 2),
    sized(26, "I32", 1, 4),
    sized(27, "I64", 1, 8),
    sized(28, "F64", 1, 8),
    sized(29, "IQ1_M", 256, 56),
    BF16,
    sized(34, "TQ1_0", 256, 54),
    sized(35, "TQ2_0", 256, 66),
    MXFP4,
    sized(40, "NVFP4", 64, 36),
];

/// IEEE single precision.
pub const F32: GgmlType = typed(0, "F32", 1, 4, decode_f32);
/// IEEE half precision.
pub const F16: GgmlType = typed(1, "F16", 1, 2, decode_f16);
/// The upper half of a single.
pub const BF16: GgmlType = typed(30, "BF16", 1, 2, decode_bf16);
/// 4-bit codes less 8, times one f16.
pub const Q4_0: GgmlType = typed(2, "Q4_0", 32, 18, decode_q4_0);
/// 4-bit codes times one f16, plus another.
pub const Q4_1: GgmlType = typed(3, "Q4_1", 32, 20, decode_q4_1);
/// 5-bit codes less 16, times one f16.
pub const Q5_0: GgmlType = typed(6, "Q5_0", 32, 22, decode_q5_0);
/// 5-bit codes times one f16, plus another.
pub const Q5_1: GgmlType = typed(7, "Q5_1", 32, 24, decode_q5_1);
/// Signed bytes times one f16.
pub const Q8_0: GgmlType = typed(8, "Q8_0", 32, 34, decode_q8_0);
/// 2-bit codes, 4-bit scales and minima per 16 under two f16.
pub const Q2_K: GgmlType = typed(10, "Q2_K", 256, 84, decode_q2_k);
/// 3-bit codes less 4, 6-bit scales less 32 per 16 under one f16.
pub const Q3_K: GgmlType = typed(11, "Q3_K", 256, 110, decode_q3_k);
/// 4-bit codes, 6-bit scales and minima per 32 under two f16.
pub const Q4_K: GgmlType = typed(12, "Q4_K", 256, 144, decode_q4_k);
/// 5-bit codes, 6-bit scales and minima per 32 under two f16.
pub const Q5_K: GgmlType = typed(13, "Q5_K", 256, 176, decode_q5_k);
/// 6-bit codes less 32, signed byte scales per 16 under one f16.
pub const Q6_K: GgmlType = typed(14, "Q6_K", 256, 210, decode_q6_k);
/// 4-bit codes into [`NON_LINEAR`], times one f16.
pub const IQ4_NL: GgmlType = typed(20, "IQ4_NL", 32, 18, decode_iq4_nl);
/// 4-bit codes into [`NON_LINEAR`], 6-bit scales less 32 per 32 under one f16.
pub const IQ4_XS: GgmlType = typed(23, "IQ4_XS", 256, 136, decode_iq4_xs);
/// E2M1 codes under one power of two (OCP Microscaling formats, v1.0).
pub const MXFP4: GgmlType = typed(39, "MXFP4", 32, 17, decode_mxfp4);

/// The 16 levels of `IQ4_NL` and `IQ4_XS`.
pub static NON_LINEAR: [i8; 16] = [
    -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113,
];

/// The values of E2M1, doubled to be whole.
static E2M1_DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The type with the number `id`.
#[must_use]
pub fn by_id(id: u32) -> Option<&'static GgmlType> {
    TYPES.iter().find(|t| t.id == id)
}

/// The type called `name`.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static GgmlType> {
    TYPES.iter().find(|t| t.name == name)
}

impl GgmlType {
    /// Bytes of `elements` elements; `None` if they fill no whole number of blocks or overflow.
    #[must_use]
    pub fn bytes_of(&self, elements: u64) -> Option<u64> {
        let block = self.block as u64;
        if !elements.is_multiple_of(block) {
            return None;
        }
        (elements / block).checked_mul(self.bytes as u64)
    }

    /// Appends the numbers that whole blocks stand for; false where the type cannot be decoded or
    /// `blocks` ends within a block.
    #[must_use]
    pub fn decode_into(&self, blocks: &[u8], numbers: &mut Vec<f32>) -> bool {
        let Some(decode) = self.decode else {
            return false;
        };
        if !blocks.len().is_multiple_of(self.bytes) {
            return false;
        }
        let start = numbers.len();
        numbers.resize(start + blocks.len() / self.bytes * self.block, 0.0);
        for (block, out) in blocks
            .chunks_exact(self.bytes)
            .zip(numbers[start..].chunks_exact_mut(self.block))
        {
            decode(block, out);
        }
        true
    }
}

const fn typed(
    id: u32,
    name: &'static str,
    block: usize,
    bytes: usize,
    decode: Decode,
) -> GgmlType {
    GgmlType {
        id,
        name,
        block,
        bytes,
        decode: Some(decode),
    }
}

const fn sized(id: u32, name: &'static str, block: usize, bytes: usize) -> GgmlType {
    GgmlType {
        id,
        name,
        block,
        bytes,
        decode: None,
    }
}

fn half_at(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

fn word_at(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

fn decode_f32(block: &[u8], out: &mut [f32]) {
    out[0] = f32::from_bits(word_at(block, 0));
}

fn decode_f16(block: &[u8], out: &mut [f32]) {
    out[0] = half_at(block, 0);
}

fn decode_bf16(block: &[u8], out: &mut [f32]) {
    out[0] = bf16::from_le_bytes([block[0], block[1]]).to_f32();
}

/// Low nibbles are the first half of a block of 32, high nibbles the second.
fn nibbles_of_32(bytes: &[u8], mut put: impl FnMut(usize, u8)) {
    for (i, &byte) in bytes[..16].iter().enumerate() {
        put(i, byte & 15);
        put(i + 16, byte >> 4);
    }
}

fn decode_q4_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    nibbles_of_32(&block[2..], |i, c| {
        out[i] = scale * f32::from(c as i8 - 8);
    });
}

fn decode_q4_1(block: &[u8], out: &mut [f32]) {
    let (scale, min) = (half_at(block, 0), half_at(block, 2));
    nibbles_of_32(&block[4..], |i, c| out[i] = scale * f32::from(c) + min);
}

fn decode_q5_0(block: &[u8], out: &mut [f32]) {
    let (scale, fifth) = (half_at(block, 0), word_at(block, 2));
    nibbles_of_32(&block[6..], |i, c| {
        let code = c | ((fifth >> i & 1) as u8) << 4;
        out[i] = scale * f32::from(code as i8 - 16);
    });
}

fn decode_q5_1(block: &[u8], out: &mut [f32]) {
    let (scale, min, fifth) = (half_at(block, 0), half_at(block, 2), word_at(block, 4));
    nibbles_of_32(&block[8..], |i, c| {
        let code = c | ((fifth >> i & 1) as u8) << 4;
        out[i] = scale * f32::from(code) + min;
    });
}

fn decode_q8_0(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    for (o, &byte) in out.iter_mut().zip(&block[2..34]) {
        *o = scale * f32::from(byte as i8);
    }
}

/// 16 bytes of scale (low nibble) and minimum (high), 64 of codes, the two f16.
fn decode_q2_k(block: &[u8], out: &mut [f32]) {
    let (scale, min) = (half_at(block, 80), half_at(block, 82));
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let (s, m) = (block[group] & 15, block[group] >> 4);
        let (s, m) = (scale * f32::from(s), min * f32::from(m));
        let (codes, shift) = crumbs(group);
        for (o, &byte) in out.iter_mut().zip(&block[16 + codes..]) {
            *o = s * f32::from(byte >> shift & 3) - m;
        }
    }
}

/// Where the 2-bit codes of group `group` of 16 start, and the shift to them: 32 bytes serve 128
/// elements, two bits of every byte at a time.
fn crumbs(group: usize) -> (usize, usize) {
    (group / 8 * 32 + group % 2 * 16, group % 8 / 2 * 2)
}

/// 32 bytes of third bits, 64 of low bits, 12 of packed 6-bit scales, one f16.
fn decode_q3_k(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 108);
    let packed = &block[96..108];
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let low = packed[group % 8] >> (group / 8 * 4) & 15;
        let high = packed[8 + group % 4] >> (group / 4 * 2) & 3;
        let s = scale * f32::from((low | high << 4) as i8 - 32);
        let (codes, shift) = crumbs(group);
        for (i, o) in out.iter_mut().enumerate() {
            let low = block[32 + codes + i] >> shift & 3;
            let high = block[group % 2 * 16 + i] >> (group / 2) & 1;
            *o = s * f32::from((low | high << 2) as i8 - 4);
        }
    }
}

/// The 6-bit scale and minimum of group `group` of 32, from the 12 bytes of `Q4_K` and `Q5_K`.
fn six_bits(packed: &[u8], group: usize) -> (f32, f32) {
    let (scale, min) = match group {
        0..4 => (packed[group] & 63, packed[group + 4] & 63),
        _ => (
            packed[group + 4] & 15 | packed[group - 4] >> 6 << 4,
            packed[group + 4] >> 4 | packed[group] >> 6 << 4,
        ),
    };
    (f32::from(scale), f32::from(min))
}

/// Two f16, 12 bytes of packed 6-bit scales and minima, 128 of codes.
fn decode_q4_k(block: &[u8], out: &mut [f32]) {
    let (scale, min) = (half_at(block, 0), half_at(block, 2));
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (s, m) = six_bits(&block[4..16], group);
        let (s, m) = (scale * s, min * m);
        let codes = &block[16 + group / 2 * 32..];
        for (o, &byte) in out.iter_mut().zip(codes) {
            *o = s * f32::from(byte >> (group % 2 * 4) & 15) - m;
        }
    }
}

/// As `Q4_K`, with 32 bytes of fifth bits before the codes.
fn decode_q5_k(block: &[u8], out: &mut [f32]) {
    let (scale, min) = (half_at(block, 0), half_at(block, 2));
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let (s, m) = six_bits(&block[4..16], group);
        let (s, m) = (scale * s, min * m);
        for (i, o) in out.iter_mut().enumerate() {
            let low = block[48 + group / 2 * 32 + i] >> (group % 2 * 4) & 15;
            let high = block[16 + i] >> group & 1;
            *o = s * f32::from(low | high << 4) - m;
        }
    }
}

/// 128 bytes of low nibbles, 64 of upper bit pairs, 16 signed scales, one f16.
fn decode_q6_k(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 208);
    for (group, out) in out.chunks_exact_mut(16).enumerate() {
        let s = scale * f32::from(block[192 + group] as i8);
        let (half, row, side) = (group / 8, group % 8 / 2, group % 2);
        for (i, o) in out.iter_mut().enumerate() {
            let column = side * 16 + i;
            let low = block[half * 64 + row % 2 * 32 + column] >> (row / 2 * 4) & 15;
            let high = block[128 + half * 32 + column] >> (row * 2) & 3;
            *o = s * f32::from((low | high << 4) as i8 - 32);
        }
    }
}

fn decode_iq4_nl(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    nibbles_of_32(&block[2..], |i, c| {
        out[i] = scale * f32::from(NON_LINEAR[usize::from(c)]);
    });
}

/// One f16, the upper scale bits (16), the lower (4 bytes), 128 bytes of codes.
fn decode_iq4_xs(block: &[u8], out: &mut [f32]) {
    let scale = half_at(block, 0);
    let upper = u16::from_le_bytes([block[2], block[3]]);
    for (group, out) in out.chunks_exact_mut(32).enumerate() {
        let low = block[4 + group / 2] >> (group % 2 * 4) & 15;
        let high = (upper >> (group * 2) & 3) as u8;
        let s = scale * f32::from((low | high << 4) as i8 - 32);
        nibbles_of_32(&block[8 + group * 16..], |i, c| {
            out[i] = s * f32::from(NON_LINEAR[usize::from(c)]);
        });
    }
}

/// One E8M0 exponent, 16 bytes of E2M1 codes.
fn decode_mxfp4(block: &[u8], out: &mut [f32]) {
    let scale = half_of_e8m0(block[0]);
    nibbles_of_32(&block[1..], |i, c| {
        out[i] = scale * f32::from(E2M1_DOUBLED[usize::from(c)]);
    });
}

/// `2^(e - 128)`: half the E8M0 value, because the codes are doubled.
fn half_of_e8m0(e: u8) -> f32 {
    match e {
        0 | 1 => f32::from_bits(0x0020_0000 << e),
        _ => f32::from_bits((u32::from(e) - 1) << 23),
    }
}
