//! How far a share may be off by chance: percentile bootstrap (Efron 1979).

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
    fn what_never_differs_has_no_width() {
        assert_eq!(interval(&[1.0; 10]), (1.0, 1.0));
        assert_eq!(interval(&[]), (0.0, 0.0));
    }
}
