//! Elementary functions with the same bits on every target: only `+ - * /`, exact roots and bit operations, no fma.
//!
//! Bounds hold over the whole finite range and are checked by `tests/math.rs` against f64.

/// Lanes of every f32 reduction that is not a dot product of a weight row.
pub const LANES: usize = 16;

const LOG2_E: f32 = core::f32::consts::LOG2_E;
// ln 2 in two parts; the first has 9 trailing zero bits, so its product with an exponent is exact (Cody and Waite 1980).
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Adding and subtracting 1.5 · 2²³ rounds to the nearest even integer for |x| < 2²².
const ROUND: f32 = 12_582_912.0;

/// `x` rounded to the nearest integer, ties to even, for |x| < 2²².
#[inline(always)]
pub fn round_even(x: f32) -> f32 {
    (x + ROUND) - ROUND
}

/// `x` with 13 significant bits, ties to even, so that its product with an f16 or a byte is exact: whether a sum of such
/// products is fused or not, it has the same bits. Beyond ±2¹⁰⁰ it is ±2¹⁰⁰, within ±2⁻¹⁰⁰ a zero; NaN stays NaN.
#[inline(always)]
pub fn short(x: f32) -> f32 {
    const LARGEST: f32 = f32::from_bits(227 << 23);
    const LEAST: f32 = f32::from_bits(27 << 23);
    const DROPPED: u32 = 24 - 13;
    let bits = x.to_bits();
    let half = (1 << (DROPPED - 1)) - 1 + (bits >> DROPPED & 1);
    let y = f32::from_bits(bits.wrapping_add(half) & !((1 << DROPPED) - 1));
    let size = f32::from_bits(bits & 0x7fff_ffff);
    let y = if size > LARGEST {
        f32::from_bits(LARGEST.to_bits() | bits & 0x8000_0000)
    } else {
        y
    };
    if size >= LEAST { y } else { x * 0.0 }
}

/// The IEEE-exact square root.
#[inline(always)]
pub fn sqrt(x: f32) -> f32 {
    libm::sqrtf(x)
}

/// eˣ within 2 ulp; `+0` below −87, `+inf` above 88, NaN stays NaN.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let clamped = x.clamp(-87.0, 88.0);
    let n = round_even(clamped * LOG2_E);
    let r = (clamped - n * LN2_HIGH) - n * LN2_LOW;
    // Taylor's coefficients suffice at |r| ≤ ln 2 / 2 with a seventh-degree term.
    let p = 1.0 / 5_040.0;
    let p = p * r + 1.0 / 720.0;
    let p = p * r + 1.0 / 120.0;
    let p = p * r + 1.0 / 24.0;
    let p = p * r + 1.0 / 6.0;
    let p = p * r + 0.5;
    let p = (p * r) * r + r;
    let y = (p + 1.0) * power_of_two(n);
    if x > 88.0 {
        f32::INFINITY
    } else if x < -87.0 {
        0.0
    } else {
        y
    }
}

/// 2ⁿ for an integral `n` in −126 ..= 127.
#[inline(always)]
fn power_of_two(n: f32) -> f32 {
    // The sum's low mantissa bits hold the integer; a NaN yields some finite power, and NaN · finite is NaN.
    let bits = (n + ROUND).to_bits();
    f32::from_bits(bits.wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23)
}

/// The natural logarithm within 4 ulp for positive normal numbers; −inf at 0, NaN below, `+inf` at `+inf`.
pub fn ln(x: f32) -> f32 {
    if x == 0.0 {
        return f32::NEG_INFINITY;
    }
    if x.is_nan() || x < 0.0 {
        return f32::NAN;
    }
    if x == f32::INFINITY {
        return x;
    }
    let (x, shift) = if x < f32::MIN_POSITIVE {
        (x * 16_777_216.0, -24.0)
    } else {
        (x, 0.0)
    };
    let bits = x.to_bits();
    // m in [√½, √2): the offset moves the exponent's border to √½.
    let exponent = (bits.wrapping_sub(0x3f35_04f3) as i32) >> 23;
    let m = f32::from_bits(bits.wrapping_sub((exponent as u32) << 23));
    let e = exponent as f32 + shift;
    // ln m = 2 artanh s with s = (m − 1)/(m + 1).
    let s = (m - 1.0) / (m + 1.0);
    let z = s * s;
    let p = 2.0 / 11.0;
    let p = p * z + 2.0 / 9.0;
    let p = p * z + 2.0 / 7.0;
    let p = p * z + 2.0 / 5.0;
    let p = p * z + 2.0 / 3.0;
    let tail = (p * z) * s;
    e * LN2_HIGH + (e * LN2_LOW + (tail + 2.0 * s))
}

/// tanh within 1e-6 absolute.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // Beyond ±9.1 the result rounds to ±1.
    let clamped = x.clamp(-10.0, 10.0);
    1.0 - 2.0 / (exp(2.0 * clamped) + 1.0)
}

/// `x · σ(x)` (Elfwing et al. 2017, arXiv:1702.03118).
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// GELU in its tanh form (Hendrycks and Gimpel 2016, arXiv:1606.08415).
#[inline(always)]
pub fn gelu_tanh(x: f32) -> f32 {
    const SQRT_2_OVER_PI: f32 = 0.797_884_6;
    let inner = SQRT_2_OVER_PI * (x + 0.044_715 * ((x * x) * x));
    (0.5 * x) * (1.0 + tanh(inner))
}

/// `(sin, cos)` within 1 ulp of 1.0 for |x| ≤ 2²⁰; the argument is reduced in f64, where every step is IEEE-exact.
pub fn sin_cos(x: f32) -> (f32, f32) {
    const TWO_OVER_PI: f64 = core::f64::consts::FRAC_2_PI;
    const PI_2_HIGH: f64 = 1.570_796_310_901_641_8;
    const PI_2_LOW: f64 = 1.589_325_477_352_819_6e-8;
    const ROUND_64: f64 = 6_755_399_441_055_744.0;
    let x = f64::from(x);
    let shifted = x * TWO_OVER_PI + ROUND_64;
    let n = shifted - ROUND_64;
    let r = ((x - n * PI_2_HIGH) - n * PI_2_LOW) as f32;
    let z = r * r;
    // Taylor to the ninth and eighth power; |r| ≤ π/4.
    let s = 1.0 / 362_880.0;
    let s = s * z - 1.0 / 5_040.0;
    let s = s * z + 1.0 / 120.0;
    let s = s * z - 1.0 / 6.0;
    let sin = (s * z) * r + r;
    let c = 1.0 / 40_320.0;
    let c = c * z - 1.0 / 720.0;
    let c = c * z + 1.0 / 24.0;
    let c = c * z - 0.5;
    let cos = c * z + 1.0;
    match shifted.to_bits() & 3 {
        0 => (sin, cos),
        1 => (cos, -sin),
        2 => (-sin, -cos),
        _ => (-cos, sin),
    }
}

/// The fixed tree over 16 partial sums: halves are added until one is left.
#[inline(always)]
pub fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// `Σ f(x)`: element `i` goes to partial sum `i % 16`, the partial sums to [`fold`].
#[inline(always)]
pub fn sum(x: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane += f(v);
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane += f(v);
    }
    fold(lanes)
}

/// The largest element; `−inf` when empty. NaN elements are skipped. Which of two zeros it is depends on where they stand.
#[inline(always)]
pub fn max(x: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = x.as_chunks::<LANES>();
    for chunk in whole {
        for (lane, &v) in lanes.iter_mut().zip(chunk) {
            *lane = if v > *lane { v } else { *lane };
        }
    }
    for (lane, &v) in lanes.iter_mut().zip(rest) {
        *lane = if v > *lane { v } else { *lane };
    }
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            let (a, b) = (lanes[i], lanes[i + half]);
            lanes[i] = if b > a { b } else { a };
        }
        half /= 2;
    }
    lanes[0]
}

/// f32 to f16 bits, ties to even, finite values saturating at ±65504.
#[inline(always)]
pub fn f16_bits(x: f32) -> u16 {
    let saturated = x.clamp(-65504.0, 65504.0);
    half::f16::from_f32(saturated).to_bits()
}

/// f16 bits to f32, exact.
#[inline(always)]
pub fn f16(bits: u16) -> f32 {
    half::f16::from_bits(bits).to_f32()
}
