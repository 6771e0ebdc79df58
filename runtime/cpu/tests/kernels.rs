//! Every kernel gives the bits of the reference, over random, extreme and adversarial blocks.
#![allow(clippy::unwrap_used)]

use inkstone_cpu::kernels::{Job, KERNELS, Kernel, Panel, Rows};
use inkstone_cpu::{ISAS, Isa};
use inkstone_quant::activation::groups;
use inkstone_quant::{ActRow, Encoding, FORMATS, Format, PANEL, reference};

/// A stream of bits that look random.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

/// How codes and activations are filled.
#[derive(Debug, Clone, Copy)]
enum Fill {
    Random,
    /// The largest sums: every code at one end, every activation at one end.
    Ends(u8, i8),
    /// Codes at either end, activations with the signs that add up.
    Aligned,
}

const FILLS: &[Fill] = &[
    Fill::Random,
    Fill::Ends(0, 127),
    Fill::Ends(0, -127),
    Fill::Ends(0xff, 127),
    Fill::Ends(0xff, -127),
    Fill::Aligned,
];

fn formats() -> impl Iterator<Item = (&'static Format, &'static inkstone_quant::Scales)> {
    FORMATS.iter().filter_map(|f| match &f.encoding {
        Encoding::Blocks(_, scales) => Some((f, *scales)),
        Encoding::Float(_) => None,
    })
}

/// A panel with random scales of moderate size, some of them zero, huge or denormal.
fn panel(format: &Format, inputs: usize, fill: Fill, noise: &mut Noise) -> Vec<u8> {
    let Encoding::Blocks(codes, scales) = &format.encoding else {
        unreachable!()
    };
    let mut panel = vec![0; format.panel_bytes(inputs as u64, 16).unwrap() as usize];
    let skip = format.scale_bytes(inputs, PANEL);
    for row in 0..PANEL {
        let header = ((noise.next() % 1000) as f32 / 900.0 - 0.5).to_le_bytes();
        scales.put_header(&mut panel, PANEL, row, &header[..scales.header_bytes()]);
        for index in 0..inputs.div_ceil(scales.span) {
            let mut record = Vec::new();
            for &width in scales.record {
                // f16 of about 2⁻⁸ to 2⁴ of either sign; rarely anything finite.
                let rare = noise.next().is_multiple_of(16);
                let f16 = if rare {
                    noise.next() as u16 & 0xbbff
                } else {
                    (noise.next() as u16 & 0x8fff) | 0x2000
                };
                if width == 2 {
                    record.extend(f16.to_le_bytes())
                } else {
                    record.push(noise.next() as u8)
                }
            }
            scales.put_record(&mut panel, PANEL, row, index, &record);
        }
    }
    for (tile, bytes) in panel[skip..]
        .chunks_exact_mut(codes.tile_bytes(PANEL))
        .enumerate()
    {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = match fill {
                Fill::Random => noise.next() as u8,
                Fill::Ends(code, _) => code,
                Fill::Aligned => {
                    if (tile + i).is_multiple_of(2) {
                        0
                    } else {
                        0xff
                    }
                }
            };
        }
    }
    panel
}

/// Numbers of each group and row.
type Groups = Vec<[f32; PANEL]>;

/// Rounded activations of `count` rows, padded with zero codes.
struct Acts {
    count: usize,
    inputs: usize,
    codes: Vec<i8>,
    scales: Vec<f32>,
    sums: Vec<i32>,
}

impl Acts {
    fn new(count: usize, inputs: usize, fill: Fill, noise: &mut Noise) -> Acts {
        let n = groups(inputs);
        let mut codes = vec![0; count * n * 32];
        for row in codes.chunks_exact_mut(n * 32) {
            for (i, code) in row[..inputs].iter_mut().enumerate() {
                *code = match fill {
                    Fill::Random => ((noise.next() % 255) as i32 - 127) as i8,
                    Fill::Ends(_, code) => code,
                    Fill::Aligned => {
                        if i % 2 == 0 {
                            -127
                        } else {
                            127
                        }
                    }
                };
            }
        }
        let scales = (0..count * n)
            .map(|_| (noise.next() % 1000) as f32 / 5000.0)
            .collect();
        let sums = codes
            .chunks_exact(16)
            .map(|c| c.iter().map(|&c| i32::from(c)).sum())
            .collect();
        Acts {
            count,
            inputs,
            codes,
            scales,
            sums,
        }
    }

    fn rows(&self) -> Rows<'_> {
        Rows::new(
            self.count,
            self.inputs,
            &self.codes,
            &self.scales,
            &self.sums,
        )
    }

    fn row(&self, t: usize) -> ActRow<'_> {
        let n = groups(self.inputs);
        ActRow {
            codes: &self.codes[t * n * 32..][..n * 32],
            scales: &self.scales[t * n..][..n],
            sums: &self.sums[t * n * 2..][..n * 2],
        }
    }
}

fn check(
    kernel: &Kernel,
    format: &Format,
    inputs: usize,
    tokens: usize,
    panels: usize,
    fill: Fill,
    noise: &mut Noise,
) {
    let Encoding::Blocks(_, codec) = &format.encoding else {
        unreachable!()
    };
    let bytes: Vec<Vec<u8>> = (0..panels)
        .map(|_| panel(format, inputs, fill, noise))
        .collect();
    let acts = Acts::new(tokens, inputs, fill, noise);
    let tiles = inputs.div_ceil(32);
    let n = inputs.div_ceil(codec.group);
    let decoded: Vec<(Groups, Groups)> = bytes
        .iter()
        .map(|panel| {
            let of = |g: usize, row: usize| {
                if g < n {
                    codec.get(panel, PANEL, row, g)
                } else {
                    (0.0, 0.0)
                }
            };
            let all = 0..tiles * 32 / codec.group;
            let scales = all
                .clone()
                .map(|g| core::array::from_fn(|row| of(g, row).0))
                .collect();
            (
                scales,
                all.map(|g| core::array::from_fn(|row| of(g, row).1))
                    .collect(),
            )
        })
        .collect();
    let skip = format.scale_bytes(inputs, PANEL);
    let panels: Vec<Panel<'_>> = bytes
        .iter()
        .zip(&decoded)
        .map(|(bytes, (scales, minima))| Panel {
            tiles: &bytes[skip..],
            scales,
            minima: codec.minimum.then_some(minima.as_slice()),
            // Any bytes, which change nothing.
            next: bytes,
        })
        .collect();
    let mut out = vec![[f32::NAN; PANEL]; tokens * panels.len()];
    kernel.multiply(
        &Job {
            panels: &panels,
            tiles,
            rows: acts.rows(),
        },
        &mut out,
    );
    for (t, out) in out.chunks_exact(panels.len()).enumerate() {
        for (row, got) in out.as_flattened().iter().enumerate() {
            let want = reference::dot(
                format,
                &bytes[row / PANEL],
                PANEL,
                row % PANEL,
                inputs,
                acts.row(t),
            );
            assert_eq!(
                got.to_bits(),
                want.to_bits(),
                "{} on {}: {got} for {want}, row {row} of {inputs} inputs, token {t} of {tokens}, {fill:?}",
                format.name,
                kernel.isa.name(),
            );
        }
    }
}

#[test]
fn every_kernel_gives_the_bits_of_the_reference() {
    let mut noise = Noise(0x1234_5678_9abc_def1);
    for (format, _) in formats() {
        for (_, isa) in ISAS.iter().filter(|(_, isa)| isa.available()) {
            let kernel = Kernel::find(format, *isa).unwrap();
            for &fill in FILLS {
                for inputs in [1, 16, 31, 32, 48, 96, 256, 300, 600, 1024] {
                    for (tokens, panels) in [
                        (1, 1),
                        (1, 2),
                        (2, 1),
                        (3, 2),
                        (6, 1),
                        (7, 2),
                        (13, 2),
                        (23, 1),
                    ] {
                        check(kernel, format, inputs, tokens, panels, fill, &mut noise);
                    }
                }
            }
        }
    }
}

#[test]
fn every_integer_format_has_a_kernel_on_every_instruction_set() {
    for (format, scales) in formats() {
        for (name, isa) in ISAS.iter().filter(|(_, isa)| isa.available()) {
            let kernel = Kernel::find(format, *isa);
            assert!(
                kernel.is_some_and(|k| k.group == scales.group && k.isa == *isa),
                "{} {name}",
                format.name
            );
        }
        assert!(Kernel::find(format, Isa::Portable).is_some());
    }
    let used = |k: &&Kernel| {
        formats().any(|(f, _)| Kernel::find(f, k.isa).is_some_and(|found| core::ptr::eq(found, *k)))
    };
    assert!(KERNELS.iter().all(|k| used(&k)));
}
