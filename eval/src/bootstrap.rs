//! How far a share may be off by chance: percentile bootstrap (Efron 1979), Wilson's interval (1927), McNemar's test (1947).

/// Resamplings of an interval.
const DRAWS: usize = 10_000;
/// Parts of a thousand outside of the interval, on each side.
const TAIL: usize = 25;

/// Between which values the mean of `values` lies in 95 of 100 resamplings. The same in every run.
#[must_use]
pub fn interval(values: &[f64]) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let mut random = 0_u64;
    let mut means: Vec<f64> = (0..DRAWS)
        .map(|_| {
            let drawn = (0..values.len()).map(|_| values[below(&mut random, values.len())]);
            drawn.sum::<f64>() / values.len() as f64
        })
        .collect();
    means.sort_by(f64::total_cmp);
    let cut = DRAWS * TAIL / 1000;
    (means[cut], means[DRAWS - 1 - cut])
}

/// As [`interval`], of answers that are right (1) or wrong (0). Where all are alike no resampling tells more: the interval is
/// Wilson's.
#[must_use]
pub fn of_share(values: &[f64]) -> (f64, f64) {
    const Z: f64 = 1.959_964;
    let n = values.len() as f64;
    match values {
        [] => (0.0, 0.0),
        [first, rest @ ..] if rest.iter().all(|value| value == first) => {
            let (low, high) = (first * n / (n + Z * Z), (first * n + Z * Z) / (n + Z * Z));
            (low, high.min(1.0))
        }
        _ => interval(values),
    }
}

/// How likely a difference as great as that between `won` and `lost` is where chance alone decides each of them: McNemar's
/// test, two-sided and exact.
#[must_use]
pub fn mcnemar(won: usize, lost: usize) -> f64 {
    let (n, least) = ((won + lost) as f64, won.min(lost));
    let mut log = -n * core::f64::consts::LN_2;
    let mut sum = log.exp();
    for k in 1..=least {
        log += ((n + 1.0 - k as f64) / k as f64).ln();
        sum += log.exp();
    }
    (2.0 * sum).min(1.0)
}

/// One of `0 .. end` by SplitMix64 (Steele et al. 2014).
fn below(state: &mut u64, end: usize) -> usize {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    ((u128::from(z) * end as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_about_two_standard_errors_wide_on_each_side() {
        let values: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i % 4 == 0))).collect();
        let (low, high) = interval(&values);
        let error = (0.25_f64 * 0.75 / 400.0).sqrt();
        assert!((low - (0.25 - 1.96 * error)).abs() < 0.006, "{low}");
        assert!((high - (0.25 + 1.96 * error)).abs() < 0.006, "{high}");
    }

    #[test]
    fn shares_of_all_or_none_have_a_width() {
        let (low, high) = of_share(&[1.0; 10]);
        assert!((low - 0.7225).abs() < 1e-4 && high == 1.0, "{low} {high}");
        let (low, high) = of_share(&[0.0; 10]);
        assert!(low == 0.0 && (high - 0.2775).abs() < 1e-4, "{low} {high}");
        assert_eq!(of_share(&[0.0, 1.0, 1.0]), interval(&[0.0, 1.0, 1.0]));
    }

    #[test]
    fn chance_is_told_by_the_binomial_distribution() {
        // 2 · (1 + 10 + 45) / 2¹⁰, and 2 / 2⁴.
        for (won, lost, p) in [
            (8, 2, 112.0 / 1024.0),
            (4, 0, 0.125),
            (0, 0, 1.0),
            (5, 5, 1.0),
        ] {
            assert!((mcnemar(won, lost) - p).abs() < 1e-12, "{won} {lost}");
        }
        let many = mcnemar(5_100, 4_900);
        // The normal distribution's, with a correction for steps: z = 199 / 100.
        assert!((many - 0.0466).abs() < 5e-4, "{many}");
    }

    #[test]
    fn what_never_differs_has_no_width() {
        assert_eq!(interval(&[1.0; 10]), (1.0, 1.0));
        assert_eq!(interval(&[]), (0.0, 0.0));
    }
}
