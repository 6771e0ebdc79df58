//! A model with its matrices in another format: no more than a test needs, in particular not a good quantiser.

use std::path::Path;

use inkstone_format::{Declaration, File, SectionKind, Tensor, Writer};
use inkstone_quant::{Encoding, Format, GROUP, PANEL, codes::Levels, math};

/// Writes the model of `bytes` to `path`, matrices in `format`: one of linear codes under a scale and a minimum in f16.
///
/// # Panics
/// Where that cannot be done, which is a mistake of the test.
pub fn remake(bytes: &[u8], format: &'static Format, path: &Path) {
    let file = File::parse(bytes).expect("a sound file");
    let spec = file.section(SectionKind::Spec).expect("a model");
    let is_matrix = |tensor: &Tensor| usize::from(tensor.panel_rows) == PANEL;
    let declare = |tensor: Tensor| Declaration {
        format: if is_matrix(&tensor) {
            format
        } else {
            tensor.format
        },
        ..tensor.into()
    };
    let tensors: Vec<Declaration> = file.tensors().map(declare).collect();
    let mut writer =
        Writer::create(path, &[(SectionKind::Spec, spec)], &tensors).expect("a sound declaration");
    for (index, tensor) in file.tensors().enumerate() {
        let payload = file.payload(&tensor);
        let bytes = if is_matrix(&tensor) {
            matrix(&tensor, payload, format)
        } else {
            payload.to_vec()
        };
        let mut to = writer.tensor(index).expect("each once");
        std::io::Write::write_all(&mut to, &bytes).expect("as many as declared");
    }
    writer.finish().expect("all are written");
}

fn matrix(tensor: &Tensor, from: &[u8], format: &Format) -> Vec<u8> {
    let inputs = tensor.inputs as usize;
    let bytes = |format: &Format| {
        format
            .panel_bytes(inputs as u64, PANEL as u64)
            .expect("a sound shape") as usize
    };
    let mut all = Vec::new();
    for from in from.chunks(bytes(tensor.format)) {
        let mut panel = vec![0; bytes(format)];
        for row in 0..PANEL {
            let mut numbers = vec![0.0; inputs];
            tensor.format.row(from, PANEL, row, &mut numbers);
            put_row(format, &mut panel, row, &numbers);
        }
        all.extend(panel);
    }
    all
}

/// `x ≈ scale · code + minimum`, the greatest code at the greatest number of a group.
fn put_row(format: &Format, panel: &mut [u8], row: usize, numbers: &[f32]) {
    let Encoding::Blocks(codes, scales) = &format.encoding else {
        panic!("{} has no codes", format.name);
    };
    assert!(matches!(codes.levels, Levels::Linear { offset: 0 }) && scales.record == [2, 2]);
    let tiles = format.scale_bytes(numbers.len(), PANEL);
    for (group, numbers) in numbers.chunks(GROUP).enumerate() {
        let (low, high) = numbers.iter().fold((f32::MAX, f32::MIN), |(low, high), x| {
            (low.min(*x), high.max(*x))
        });
        let top = ((1_u32 << codes.bits()) - 1) as f32;
        let fields = [(high - low) / top, low].map(math::f16_bits);
        let record = fields.map(u16::to_le_bytes).concat();
        scales.put_record(panel, PANEL, row, group, &record);
        let [scale, minimum] = fields.map(math::f16);
        let tile = &mut panel[tiles + group * codes.tile_bytes(PANEL)..];
        for (input, x) in numbers.iter().enumerate() {
            let code = if scale > 0.0 {
                (x - minimum) / scale
            } else {
                0.0
            };
            codes.put(tile, PANEL, row, input, code.round().clamp(0.0, top) as u8);
        }
    }
}
