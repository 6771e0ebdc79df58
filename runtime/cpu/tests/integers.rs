//! Training's products with frozen integers: forwards the bits that the runtime computes, backwards nearly what numbers
//! give.
#![cfg(feature = "train")]
#![allow(
    clippy::unwrap_used,
    reason = "a test ends where something is not as it must be"
)]

use inkstone_cpu::train::{Form, Integers, Left, Precision, Right, To, View, multiply};
use inkstone_model::Matrix;
use inkstone_quant::activation::{groups, quantize};
use inkstone_quant::{ActRow, Encoding, FORMATS, Format, GROUP, PANEL, reference};

const FORM: Form = Form::new(Precision::F32, true);

/// Numbers about zero that look random.
fn numbers(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(next).collect()
}

/// A matrix of any codes and of scales that are finite, at the beginning of a file.
fn matrix(format: &'static Format, rows: usize, inputs: usize) -> (Matrix, Vec<u8>) {
    let Encoding::Blocks(_, codec) = &format.encoding else {
        unreachable!()
    };
    let panel_bytes = format.panel_bytes(inputs as u64, 16).unwrap() as usize;
    let skip = format.scale_bytes(inputs, PANEL);
    let noise = numbers(rows.div_ceil(PANEL) * panel_bytes, 7);
    let mut file: Vec<u8> = noise.iter().map(|x| (x * 127.0) as i8 as u8).collect();
    for (p, panel) in file.chunks_exact_mut(panel_bytes).enumerate() {
        panel[..skip].fill(0);
        for row in 0..PANEL {
            let header = (0.01 * (row + p + 1) as f32).to_le_bytes();
            codec.put_header(panel, PANEL, row, &header[..codec.header_bytes()]);
            for index in 0..inputs.div_ceil(codec.span) {
                let mut record = Vec::new();
                for (at, &width) in codec.record.iter().enumerate() {
                    // Between an eighth and a quarter as f16, else a small integer.
                    let byte = (7 * (row + index + at)) as u8;
                    match width {
                        2 => record.extend([byte, 0x30]),
                        _ => record.push(byte & 63),
                    }
                }
                codec.put_record(panel, PANEL, row, index, &record);
            }
        }
    }
    let matrix = Matrix {
        format,
        panel_rows: PANEL,
        rows,
        inputs,
        offset: 0,
        panel_bytes,
    };
    (matrix, file)
}

#[test]
fn what_ships_is_multiplied_with_the_bits_of_the_runtime() {
    let formats = FORMATS.iter().filter(|format| format.is_integer());
    let tokens = 133;
    for (format, (rows, inputs)) in formats.flat_map(|f| [(f, (40, 70)), (f, (32, 600))]) {
        let (matrix, file) = matrix(format, rows, inputs);
        let x = numbers(tokens * inputs, 3);
        let left = Left::new(FORM, View::new(&x, tokens, inputs));
        // All but the first panel, then the first one in its place among whole rows.
        let mut y = vec![1.0; tokens * rows];
        for (columns, add) in [(PANEL..rows, false), (0..PANEL, true)] {
            let factor = Integers::shipped(&matrix, &file, &columns).unwrap();
            let mut to = To::rows(&mut y[columns.start..], rows);
            to.add = add;
            multiply(&[(&left, Right::Int8(factor.whole()))], to);
        }
        let n = groups(inputs);
        for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact(rows)) {
            let (mut codes, mut scales, mut sums) =
                (vec![0; n * GROUP], vec![0.0; n], vec![0; 2 * n]);
            quantize(x, &mut codes, &mut scales, &mut sums);
            let x = ActRow {
                codes: &codes,
                scales: &scales,
                sums: &sums,
            };
            for (row, y) in y.iter().enumerate() {
                let panel = matrix.panel(&file[..], row / PANEL);
                let seen = reference::dot(format, panel, PANEL, row % PANEL, inputs, x);
                let seen = if row < PANEL { 1.0 + seen } else { seen };
                assert_eq!(
                    y.to_bits(),
                    seen.to_bits(),
                    "{}, row {row}: {y} for {seen}",
                    format.name
                );
            }
        }
    }
}

#[test]
fn integers_of_eight_bits_are_near_the_numbers_they_were_made_of() {
    let (tokens, inputs, columns) = (9, 70, 45);
    let (x, mut w) = (numbers(tokens * inputs, 1), numbers(inputs * columns, 2));
    // A column of zeros, and one of tiny numbers.
    w.chunks_exact_mut(columns).for_each(|row| {
        row[3] = 0.0;
        row[4] *= 1e-41;
    });
    let mut factor = Integers::zeros(inputs, columns);
    for group in factor.groups() {
        let rows = group.inputs(inputs);
        group.fill(View::new(&w, inputs, columns).part(rows));
    }
    let left = Left::new(FORM, View::new(&x, tokens, inputs));
    let mut y = vec![0.0; tokens * columns];
    for part in [0..32, 32..columns] {
        let right = Right::Int8(factor.whole()).part(0..inputs, part.clone());
        multiply(&[(&left, right)], To::rows(&mut y[part.start..], columns));
    }
    let (mut off, mut all) = (0.0, 0.0);
    for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact(columns)) {
        for (column, y) in y.iter().enumerate() {
            let of_column = w.iter().skip(column).step_by(columns);
            let exact: f32 = x.iter().zip(of_column).map(|(x, w)| x * w).sum();
            off += (y - exact).powi(2);
            all += exact.powi(2);
        }
        assert!(y[3] == 0.0 && y[4].abs() < 1e-30, "{} {}", y[3], y[4]);
    }
    assert!(off < 1e-4 * all, "{off:.1e} of {all:.1e}");
}

#[test]
fn plain_numbers_do_not_ship_as_integers() {
    let plain = Matrix::plain(32, 64, 0);
    assert!(!Integers::ships(&plain));
    assert!(Integers::shipped(&plain, &[0; 32 * 64 * 4], &(0..32)).is_none());
}
