//! The bounds that `math` states, against f64.
#![allow(clippy::unwrap_used)]
use inkstone_quant::math;

fn sweep(low: f32, high: f32) -> impl Iterator<Item = f32> {
    (0..=2_000_000).map(move |i| low + (high - low) * (i as f32 / 2_000_000.0))
}

fn ulps(got: f32, want: f64) -> f64 {
    let w = want as f32;
    let ulp = f64::from(f32::from_bits(w.abs().to_bits() + 1)) - f64::from(w.abs());
    (f64::from(got) - want).abs() / ulp
}

#[test]
fn exp_is_within_two_ulp() {
    let worst = sweep(-87.0, 88.0)
        .map(|x| ulps(math::exp(x), f64::from(x).exp()))
        .fold(0.0, f64::max);
    assert!(worst <= 2.0, "{worst}");
}

#[test]
fn exp_has_its_stated_ends() {
    assert_eq!(math::exp(-87.001).to_bits(), 0);
    assert_eq!(math::exp(f32::NEG_INFINITY).to_bits(), 0);
    assert_eq!(math::exp(88.5), f32::INFINITY);
    assert!(math::exp(f32::NAN).is_nan());
    assert_eq!(math::exp(0.0), 1.0);
}

#[test]
fn ln_is_within_four_ulp() {
    let small = sweep(1e-30, 4.0);
    let large = sweep(4.0, 1e30);
    let worst = small
        .chain(large)
        .map(|x| ulps(math::ln(x), f64::from(x).ln()))
        .fold(0.0, f64::max);
    assert!(worst <= 4.0, "{worst}");
    assert_eq!(math::ln(0.0), f32::NEG_INFINITY);
    assert!(math::ln(-1.0).is_nan());
}

#[test]
fn tanh_is_within_a_millionth() {
    let worst = sweep(-20.0, 20.0)
        .map(|x| (f64::from(math::tanh(x)) - f64::from(x).tanh()).abs())
        .fold(0.0, f64::max);
    assert!(worst <= 1e-6, "{worst}");
}

#[test]
fn sin_and_cos_hold_to_a_million() {
    for high in [8.0_f32, 4096.0, 1_048_576.0] {
        let worst = sweep(-high, high)
            .map(|x| {
                let (s, c) = math::sin_cos(x);
                let x = f64::from(x);
                (f64::from(s) - x.sin())
                    .abs()
                    .max((f64::from(c) - x.cos()).abs())
            })
            .fold(0.0, f64::max);
        assert!(worst <= 1.2e-7, "{high}: {worst}");
    }
}

#[test]
fn round_even_breaks_ties_to_even() {
    for (x, want) in [
        (0.5, 0.0),
        (1.5, 2.0),
        (2.5, 2.0),
        (-0.5, 0.0),
        (-1.5, -2.0),
        (126.5, 126.0),
        (3.2, 3.0),
    ] {
        assert_eq!(math::round_even(x), want);
    }
}

#[test]
fn f16_saturates_and_round_trips() {
    assert_eq!(math::f16(math::f16_bits(1e9)), 65504.0);
    assert_eq!(math::f16(math::f16_bits(-1e9)), -65504.0);
    for bits in (0..=u16::MAX).filter(|b| b & 0x7c00 != 0x7c00) {
        assert_eq!(math::f16_bits(math::f16(bits)), bits);
    }
}
