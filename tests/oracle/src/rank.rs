//! What a row of logits says: its best tokens, and its log-probabilities.

/// The best token of a row; the lowest id where several are best.
pub fn best(row: &[f32]) -> usize {
    let mut best = 0;
    for (index, &logit) in row.iter().enumerate() {
        if logit > row[best] {
            best = index;
        }
    }
    best
}

/// The `count` best tokens of a row with their logits, best first.
pub fn top(row: &[f32], count: usize) -> Vec<(u32, f32)> {
    let mut all: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).collect();
    let count = count.min(all.len());
    let order = |a: &(u32, f32), b: &(u32, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
    if count < all.len() {
        all.select_nth_unstable_by(count, order);
        all.truncate(count);
    }
    all.sort_by(order);
    all
}

/// How far the best logit of a row lies above the second best.
pub fn margin(row: &[f32]) -> f32 {
    match top(row, 2)[..] {
        [(_, first), (_, second)] => first - second,
        _ => f32::INFINITY,
    }
}

/// The logarithm of the sum of the exponentials of a row, in f64.
pub fn log_sum_exp(row: &[f32]) -> f64 {
    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let largest = f64::from(largest);
    let sum: f64 = row
        .iter()
        .map(|&logit| (f64::from(logit) - largest).exp())
        .sum();
    largest + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_go_to_the_lowest_id() {
        let row = [1.0, 3.0, 3.0, 2.0];
        assert_eq!(best(&row), 1);
        assert_eq!(top(&row, 3), [(1, 3.0), (2, 3.0), (3, 2.0)]);
        assert_eq!(margin(&row), 0.0);
    }

    #[test]
    fn equal_logits_share_the_probability() {
        assert!((log_sum_exp(&[5.0; 4]) - (5.0 + 4f64.ln())).abs() < 1e-12);
    }
}
