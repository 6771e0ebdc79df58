//! The rotation that spreads what is large in one place over all: before rounding to few bits, and back after it.

use crate::math::sqrt;

/// Multiplies `x`, in blocks as long as the largest power of two that divides its length, by the orthonormal Walsh-Hadamard
/// matrix (Sylvester's construction), which is its own inverse. Sums and differences pair neighbours first.
#[inline(always)]
pub fn rotate(x: &mut [f32]) {
    if x.is_empty() {
        return;
    }
    let block = 1 << x.len().trailing_zeros();
    let factor = 1.0 / sqrt(block as f32);
    for x in x.chunks_exact_mut(block) {
        let mut half = 1;
        while half < block {
            for pair in x.chunks_exact_mut(2 * half) {
                let (low, high) = pair.split_at_mut(half);
                for (a, b) in low.iter_mut().zip(high) {
                    (*a, *b) = (*a + *b, *a - *b);
                }
            }
            half *= 2;
        }
        x.iter_mut().for_each(|x| *x *= factor);
    }
}

#[cfg(test)]
mod tests {
    use super::rotate;

    #[test]
    fn it_is_its_own_inverse_and_spreads_what_is_large() {
        for width in [1, 2, 48, 64, 80, 128, 256] {
            let mut x = [0.0; 256];
            let x = &mut x[..width];
            x[0] = 8.0;
            rotate(x);
            let block = 1 << width.trailing_zeros();
            let share = 8.0 / (block as f32).sqrt();
            assert!(x[..block].iter().all(|x| (x - share).abs() < 1e-6));
            assert!(x[block..].iter().all(|x| *x == 0.0));
            rotate(x);
            assert!((x[0] - 8.0).abs() < 1e-5);
            assert!(x[1..].iter().all(|x| x.abs() < 1e-5));
        }
    }
}
