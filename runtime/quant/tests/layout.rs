//! Codes, scales and formats over all their values.
#![allow(clippy::unwrap_used)]
use inkstone_quant::codes::CODES;
use inkstone_quant::scales::SCALES;
use inkstone_quant::{Encoding, FORMATS, Format, activation, reference};

fn noise(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    }
}

#[test]
fn every_code_is_read_back_from_every_place() {
    for codes in CODES {
        for rows in [1, 16] {
            for shift in 0..32_usize {
                let code = |row: usize, input: usize| {
                    ((row * 7 + input * 3 + shift) & ((1 << codes.bits()) - 1)) as u8
                };
                let mut tile = vec![0; codes.tile_bytes(rows)];
                for row in 0..rows {
                    for input in 0..32 {
                        codes.put(&mut tile, rows, row, input, code(row, input));
                    }
                }
                for row in 0..rows {
                    for input in 0..32 {
                        assert_eq!(
                            codes.get(&tile, rows, row, input),
                            code(row, input),
                            "{} {rows}",
                            codes.name
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn levels_fit_a_signed_byte_and_kernels_unsigned_form_a_byte() {
    for codes in CODES {
        for code in 0..(1_u32 << codes.bits()) {
            let level = codes.level(code as u8);
            assert!(i8::try_from(level).is_ok());
            assert!(u8::try_from(level + codes.bias()).is_ok());
        }
    }
}

#[test]
fn records_are_scattered_and_decoded_per_row() {
    let mut next = noise(3);
    for scales in SCALES {
        for rows in [1_usize, 16] {
            let inputs = 512;
            let mut panel = vec![0; scales.bytes(inputs, rows)];
            let mut alone = vec![vec![0; scales.bytes(inputs, 1)]; rows];
            for (row, alone) in alone.iter_mut().enumerate() {
                let header: Vec<u8> = (0..scales.header_bytes())
                    .map(|_| next() as u8 & 0x3f)
                    .collect();
                scales.put_header(&mut panel, rows, row, &header);
                scales.put_header(alone, 1, 0, &header);
                for index in 0..inputs / scales.span {
                    let record: Vec<u8> = (0..scales.record_bytes())
                        .map(|_| next() as u8 & 0x3f)
                        .collect();
                    scales.put_record(&mut panel, rows, row, index, &record);
                    scales.put_record(alone, 1, 0, index, &record);
                }
            }
            for (row, alone) in alone.iter().enumerate() {
                for g in 0..inputs / scales.group {
                    assert_eq!(
                        scales.get(&panel, rows, row, g),
                        scales.get(alone, 1, 0, g),
                        "{}",
                        scales.name
                    );
                }
            }
        }
    }
}

#[test]
fn numbers_of_formats_are_unique_and_found() {
    for format in FORMATS {
        assert_eq!(FORMATS.iter().filter(|f| f.id == format.id).count(), 1);
        assert_eq!(Format::by_id(format.id), Some(format));
        assert_eq!(Format::by_name(&format.name.to_uppercase()), Some(format));
        assert_eq!(format.matrix_bytes(u64::MAX, u64::MAX, 16), None);
        assert_eq!(format.matrix_bytes(16, 32, 3), None);
        assert_eq!(format.panel_bytes(256, 16).map(|b| b % 64), Some(0));
    }
}

#[test]
fn rounding_an_activation_meets_its_extremes() {
    let mut x = [0.0_f32; 40];
    x[0] = 127.0;
    x[1] = -127.0;
    x[2] = 0.5;
    x[3] = 1.5;
    x[33] = 1e-42;
    let (mut codes, mut scales, mut sums) = ([1_i8; 64], [0.0; 2], [0; 4]);
    activation::quantize(&x, &mut codes, &mut scales, &mut sums);
    assert_eq!(&codes[..4], &[127, -127, 0, 2]);
    assert_eq!(scales[0], 1.0);
    assert_eq!(sums, [2, 0, 0, 0]);
    assert!(codes[32..].iter().all(|&c| c == 0));
    x[5] = f32::INFINITY;
    activation::quantize(&x, &mut codes, &mut scales, &mut sums);
    assert!(codes[..32].iter().all(|&c| c == 0) && scales[0].is_infinite());
    x[5] = f32::NAN;
    activation::quantize(&x, &mut codes, &mut scales, &mut sums);
    assert!(scales[0].is_nan());
}

#[test]
fn the_dot_product_is_near_that_of_decoded_weights() {
    let mut next = noise(11);
    let inputs = 512;
    let x: Vec<f32> = (0..inputs)
        .map(|_| (next() % 2001) as f32 / 1000.0 - 1.0)
        .collect();
    let (mut codes, mut scales, mut sums) = (vec![0; inputs], vec![0.0; 16], vec![0; 32]);
    activation::quantize(&x, &mut codes, &mut scales, &mut sums);
    let a = inkstone_quant::ActRow {
        codes: &codes,
        scales: &scales,
        sums: &sums,
    };
    let rounded: Vec<f32> = codes
        .iter()
        .enumerate()
        .map(|(i, &c)| f32::from(c) * scales[i / 32])
        .collect();
    for format in FORMATS.iter().filter(|f| f.is_integer()) {
        let Encoding::Blocks(_, codec) = &format.encoding else {
            unreachable!()
        };
        let mut panel: Vec<u8> = (0..format.panel_bytes(inputs as u64, 16).unwrap())
            .map(|_| next() as u8)
            .collect();
        // f16 fields of moderate size: 0x2c.. is about 0.06 to 0.25.
        for row in 0..16 {
            codec.put_header(
                &mut panel,
                16,
                row,
                &1.0_f32.to_le_bytes()[..codec.header_bytes()],
            );
            for i in 0..inputs / codec.span {
                let record: Vec<u8> = (0..codec.record_bytes()).map(|_| 0x2c).collect();
                codec.put_record(&mut panel, 16, row, i, &record);
            }
        }
        for row in 0..16 {
            let mut weights = vec![0.0; inputs];
            format.row(&panel, 16, row, &mut weights);
            let want: f64 = weights
                .iter()
                .zip(&rounded)
                .map(|(w, x)| f64::from(*w) * f64::from(*x))
                .sum();
            let size: f64 = weights
                .iter()
                .zip(&rounded)
                .map(|(w, x)| (f64::from(*w) * f64::from(*x)).abs())
                .sum();
            let got = reference::dot(format, &panel, 16, row, inputs, a);
            assert!(
                (f64::from(got) - want).abs() <= 1e-5 * size,
                "{} row {row}: {got} {want}",
                format.name
            );
        }
    }
}
