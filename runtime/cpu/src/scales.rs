//! The scales and minima of a panel as plain numbers: decoded once, used by every token.

use inkstone_quant::{Encoding, Format, PANEL, Scales};

use crate::isa::Ready;
use crate::simd::{self, Simd, Task};

/// Numbers of a panel's rows, one row of sixteen for each group.
pub(crate) type Groups = [[f32; PANEL]];

/// How a codec's scales are decoded.
#[derive(Clone, Copy)]
pub(crate) struct Decoder {
    codec: &'static Scales,
    way: Way,
}

/// Codecs that have a way of their own, by their names.
static WAYS: &[(&str, Way)] = &[
    ("f16", Way::F16),
    ("f16+min", Way::F16Min),
    ("s8*row", Way::S8Row),
    ("k6+min", Way::KMin),
    ("k8", Way::K8),
];

#[derive(Clone, Copy)]
enum Way {
    F16,
    F16Min,
    S8Row,
    KMin,
    K8,
    Any,
}

impl Decoder {
    /// That of a format, where weights have scales.
    pub(crate) fn of(format: &Format) -> Option<Decoder> {
        match &format.encoding {
            Encoding::Float(_) => None,
            Encoding::Blocks(_, codec) => Some(Decoder::new(codec)),
        }
    }

    fn new(codec: &'static Scales) -> Decoder {
        let way = WAYS.iter().find(|(name, _)| *name == codec.name);
        Decoder {
            codec,
            way: way.map_or(Way::Any, |(_, way)| *way),
        }
    }

    /// Whether there are minima.
    pub(crate) fn minimum(&self) -> bool {
        self.codec.minimum
    }

    /// Decodes the scales at the start of a panel of sixteen rows. Groups beyond `inputs` get zeros.
    ///
    /// `minima` is as long as `scales` where the codec has minima, else it is left alone.
    pub(crate) fn decode(
        &self,
        isa: Ready,
        panel: &[u8],
        inputs: usize,
        scales: &mut Groups,
        minima: &mut Groups,
    ) {
        let (used, padding) = scales.split_at_mut(inputs.div_ceil(self.codec.group));
        if self.codec.minimum {
            minima[used.len()..].fill([0.0; PANEL]);
        }
        padding.fill([0.0; PANEL]);
        let task = Decode {
            decoder: *self,
            panel,
            scales: used,
            minima,
        };
        simd::run(isa, task);
    }
}

struct Decode<'a> {
    decoder: Decoder,
    panel: &'a [u8],
    scales: &'a mut Groups,
    minima: &'a mut Groups,
}

impl Task for Decode<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let Decode {
            decoder: Decoder { codec, way },
            panel,
            scales,
            minima,
        } = self;
        let (headers, records) = panel.split_at(codec.header_bytes() * PANEL);
        match way {
            Way::F16 => {
                let (records, _) = records.as_chunks::<{ 2 * PANEL }>();
                for (scales, record) in scales.iter_mut().zip(records) {
                    f16(simd, record, scales);
                }
            }
            Way::F16Min => {
                let (records, _) = records.as_chunks::<{ 4 * PANEL }>();
                for ((scales, minimum), record) in scales.iter_mut().zip(minima).zip(records) {
                    let (scale, min) = record.split_at(2 * PANEL);
                    f16(simd, scale, scales);
                    f16(simd, min, minimum);
                    minimum.iter_mut().for_each(|m| *m = -*m);
                }
            }
            Way::S8Row => {
                let row = floats(headers);
                let (records, _) = records.as_chunks::<PANEL>();
                for (scales, record) in scales.iter_mut().zip(records) {
                    *scales = times(&row, record);
                }
            }
            Way::KMin => {
                let records = records.chunks_exact(codec.record_bytes() * PANEL);
                let steps = scales.chunks_mut(8).zip(minima.chunks_mut(8));
                for ((scales, minima), record) in steps.zip(records) {
                    k_min(simd, record, scales, minima);
                }
            }
            Way::K8 => {
                let records = records.chunks_exact(codec.record_bytes() * PANEL);
                for (scales, record) in scales.chunks_mut(16).zip(records) {
                    let mut d = [0.0; PANEL];
                    f16(simd, &record[16 * PANEL..], &mut d);
                    for (scale, bytes) in scales.iter_mut().zip(record.as_chunks::<PANEL>().0) {
                        *scale = times(&d, bytes);
                    }
                }
            }
            Way::Any => any(codec, panel, scales, minima),
        }
    }
}

/// Sixteen f16 to f32.
#[inline(always)]
fn f16<S: Simd>(simd: S, bytes: &[u8], to: &mut [f32; PANEL]) {
    if let Some(half) = bytes.as_chunks().0.first_chunk() {
        simd.store(simd.load_f16_bytes(half), to);
    }
}

#[inline(always)]
fn floats(bytes: &[u8]) -> [f32; PANEL] {
    let mut to = [0.0; PANEL];
    for (to, bytes) in to.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *to = f32::from_le_bytes(*bytes);
    }
    to
}

/// Signed bytes under a factor for each row.
#[inline(always)]
fn times(factor: &[f32; PANEL], bytes: &[u8; PANEL]) -> [f32; PANEL] {
    let mut to = [0.0; PANEL];
    for ((to, factor), byte) in to.iter_mut().zip(factor).zip(bytes) {
        *to = factor * f32::from(*byte as i8);
    }
    to
}

/// Eight groups of six-bit scales and minima: see `K_MIN` of [`inkstone_quant::scales`].
#[inline(always)]
fn k_min<S: Simd>(simd: S, record: &[u8], scales: &mut Groups, minima: &mut Groups) {
    let (mut d, mut d_min) = ([0.0; PANEL], [0.0; PANEL]);
    f16(simd, record, &mut d);
    f16(simd, &record[2 * PANEL..], &mut d_min);
    let (bytes, _) = record[4 * PANEL..].as_chunks::<PANEL>();
    for (g, (scales, minima)) in scales.iter_mut().zip(minima).enumerate() {
        for row in 0..PANEL {
            let (scale, minimum) = if g < 4 {
                (bytes[g][row] & 63, bytes[g + 4][row] & 63)
            } else {
                let low = bytes[g + 4][row];
                let (scale_high, minimum_high) = (bytes[g - 4][row] >> 6, bytes[g][row] >> 6);
                (low & 15 | scale_high << 4, low >> 4 | minimum_high << 4)
            };
            scales[row] = d[row] * f32::from(scale);
            minima[row] = d_min[row] * f32::from(minimum);
        }
    }
}

/// Codecs that have no faster way.
#[inline(always)]
fn any(codec: &Scales, panel: &[u8], scales: &mut Groups, minima: &mut Groups) {
    for (g, to) in scales.iter_mut().enumerate() {
        for (row, to) in to.iter_mut().enumerate() {
            let (scale, minimum) = codec.get(panel, PANEL, row, g);
            *to = scale;
            if codec.minimum {
                minima[g][row] = minimum;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::vec;

    use inkstone_quant::scales::SCALES;

    use super::*;
    use crate::isa::ISAS;

    #[test]
    fn decoding_equals_the_codecs_own_reading() {
        let mut state = 1_u64;
        let mut next = || {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 33) as u8
        };
        let bits = |x: f32| {
            if x.is_nan() {
                f32::NAN.to_bits()
            } else {
                x.to_bits()
            }
        };
        for codec in SCALES {
            for inputs in [1, 16, 33, 48, 256, 300, 1024] {
                let mut panel = vec![0; codec.bytes(inputs, PANEL)];
                panel.iter_mut().for_each(|b| *b = next());
                let groups = inputs.div_ceil(32) * 32 / codec.group;
                for isa in ISAS.iter().filter_map(|(_, isa)| Ready::new(*isa).ok()) {
                    let mut scales = vec![[9.0; PANEL]; groups];
                    let mut minima = vec![[9.0; PANEL]; groups];
                    Decoder::new(codec).decode(isa, &panel, inputs, &mut scales, &mut minima);
                    for (g, row) in (0..groups).flat_map(|g| (0..PANEL).map(move |row| (g, row))) {
                        let want = if g < inputs.div_ceil(codec.group) {
                            codec.get(&panel, PANEL, row, g)
                        } else {
                            (0.0, 0.0)
                        };
                        assert_eq!(
                            bits(scales[g][row]),
                            bits(want.0),
                            "{} {isa:?} {g}",
                            codec.name
                        );
                        if codec.minimum {
                            assert_eq!(
                                bits(minima[g][row]),
                                bits(want.1),
                                "{} {isa:?} {g}",
                                codec.name
                            );
                        }
                    }
                }
            }
        }
    }
}
