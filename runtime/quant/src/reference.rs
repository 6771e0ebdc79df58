//! The dot products that every kernel must equal bit for bit.

use crate::format::{Encoding, Format};
use crate::{ActRow, GROUP};

/// One row of `panel` times a rounded activation row: groups ascending, integer sums inside, no fma.
///
/// The row must be of an integer format ([`Format::is_integer`]); a plain one gives zero.
pub fn dot(
    format: &Format,
    panel: &[u8],
    panel_rows: usize,
    row: usize,
    inputs: usize,
    a: ActRow<'_>,
) -> f32 {
    let Encoding::Blocks(codes, scales) = &format.encoding else {
        return 0.0;
    };
    let tiles = &panel[format.scale_bytes(inputs, panel_rows)..];
    let mut acc = 0.0_f32;
    for g in 0..inputs.div_ceil(scales.group) {
        let (scale, minimum) = scales.get(panel, panel_rows, row, g);
        let first = g * scales.group;
        let tile = &tiles[first / GROUP * codes.tile_bytes(panel_rows)..];
        let mut product = 0_i32;
        let mut sum = 0_i32;
        for input in first..(first + scales.group).min(inputs) {
            let code = i32::from(a.codes[input]);
            product += codes.level(codes.get(tile, panel_rows, row, input % GROUP)) * code;
            sum += code;
        }
        let s_a = a.scales[first / GROUP];
        acc += product as f32 * (scale * s_a);
        if scales.minimum {
            acc -= minimum * (s_a * sum as f32);
        }
    }
    acc
}

/// One row of weights, decoded by [`Format::row`], times plain activations: inputs ascending, multiply then add.
pub fn dot_f32(weights: &[f32], x: &[f32]) -> f32 {
    weights.iter().zip(x).fold(0.0, |acc, (w, x)| acc + w * x)
}
