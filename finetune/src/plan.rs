//! The memory of a run, before it begins.

use inkstone_cpu::train::{Integers, Precision};
use inkstone_model::weights::EMBED;
use inkstone_model::{Matrix, Model};
use serde::Serialize;

use crate::compute::tile;
use crate::head::LOGITS;
use crate::net::{Method, Options, is_adapted};

/// Bytes by purpose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The model's file, shared with whoever else maps it.
    pub file: u64,
    /// Frozen weights that are unpacked ahead.
    pub frozen: u64,
    /// What is learnt, its gradients, their means and squares, and the best so far.
    pub learnt: u64,
    /// What the way forwards leaves for the way back.
    pub kept: u64,
    /// What one operation needs.
    pub scratch: u64,
    /// All of it.
    pub total: u64,
}

/// Threads that a pack of `length` tokens has work for, attention apart: each takes a tile.
#[must_use]
pub fn threads(length: usize) -> usize {
    length.div_ceil(tile(length))
}

/// As many tokens of a step, `length` times `batch`, in fewer packs where those would leave processors idle.
#[must_use]
pub fn occupying(processors: usize, (mut length, mut batch): (usize, usize)) -> (usize, usize) {
    while batch > 1 && threads(length) < processors {
        (length, batch) = (2 * length, batch / 2);
    }
    (length, batch)
}

/// Numbers that are learnt.
#[must_use]
pub fn learnt(model: &Model<'_>, options: &Options) -> u64 {
    matrices(model)
        .map(|(role, m)| match options.method {
            Method::Full => m.rows * m.inputs,
            Method::Lora { rank, .. } if is_adapted(role) => rank * (m.rows + m.inputs),
            Method::Lora { .. } => 0,
        } as u64)
        .sum()
}

/// Bytes of a frozen matrix that is unpacked ahead.
fn frozen(m: &Matrix, options: &Options) -> u64 {
    let of = |outputs: usize, inputs: usize| {
        (m.rows.next_multiple_of(outputs) * m.inputs.next_multiple_of(inputs)) as u64
    };
    if options.form.integers && Integers::ships(m) {
        // A byte, and a scale for 32 outputs.
        return of(32, 16) * 9 / 8;
    }
    match options.form.precision {
        Precision::F32 => 4 * of(1, 1),
        Precision::Bf16 => 2 * 2 * of(16, 16),
    }
}

/// The memory of a run over packs of `length` tokens, of which a share `learnt_share` is learnt.
#[must_use]
pub fn memory(
    model: &Model<'_>,
    file: u64,
    options: &Options,
    length: usize,
    learnt_share: f64,
) -> Memory {
    let (spec, tokens) = (model.spec(), length as u64);
    let numbers = 4;
    let looked_up = |role: u16| {
        let made = options.form.precision == Precision::Bf16 || options.form.integers;
        role == EMBED && made && model.weights().head.is_some()
    };
    let frozen: u64 = match options.method {
        Method::Full | Method::Lora { packed: true, .. } => 0,
        Method::Lora { .. } => matrices(model)
            .filter(|(role, _)| !looked_up(*role))
            .map(|(_, m)| frozen(&m, options))
            .sum(),
    };
    let (mut all, mut most, mut scratch) = (0, 0, 0);
    for index in 0..spec.layers {
        let l = model.layer_spec(index);
        let (q, kv) = (
            u64::from(l.heads * l.head_width),
            u64::from(l.kv_heads * l.head_width),
        );
        let (width, ffn) = (u64::from(spec.width), u64::from(l.ffn_width));
        let post = u64::from(model.layer(index).mixer_post_norm.is_some()) * 2 * width;
        let gated = match options.form.precision {
            Precision::F32 => numbers * 2 * ffn,
            Precision::Bf16 => 2 * 2 * ffn,
        };
        let rows = numbers * (2 * width + 2 * q + 2 * kv + u64::from(l.heads) + post);
        let layer = tokens * (rows + gated);
        all += layer;
        most = layer.max(most);
        // On the way back: gradients of what was attended, of the residual and of every head; in each tile those of the
        // gated vector.
        let heads = numbers * tokens * q * 3;
        let tiles = numbers * tokens * (2 * ffn + 3 * width);
        scratch = scratch.max(tiles + heads + unpacked(options, q * width, width * ffn));
    }
    let inputs = numbers * tokens * u64::from(spec.width) * u64::from(spec.layers);
    let kept = if options.checkpointing {
        inputs + most
    } else {
        all
    };
    let labels = ((tokens as f64 * learnt_share) as u64).max(16);
    let vocabulary = u64::from(spec.vocabulary);
    let logits = (LOGITS as u64).min(labels * vocabulary * numbers);
    let strip = 4096.min(vocabulary) * u64::from(spec.width) * numbers * 2;
    let memory = Memory {
        file,
        frozen,
        learnt: learnt(model, options) * 20,
        kept,
        scratch: scratch.max(logits + strip) + (24 << 20),
        total: 0,
    };
    Memory {
        total: memory.file + memory.frozen + memory.learnt + memory.kept + memory.scratch,
        ..memory
    }
}

/// What a layer's matrices after attention take while they are unpacked: that of its output, and three of the
/// feed-forward.
fn unpacked(options: &Options, output: u64, feed_forward: u64) -> u64 {
    let (all, one) = (output + 3 * feed_forward, 4 * feed_forward);
    match (options.method, options.form.precision) {
        (Method::Full | Method::Lora { packed: false, .. }, _) => 0,
        _ if options.form.integers => all * 9 / 8,
        // One at a time in f32, before it is rounded.
        (_, Precision::Bf16) => 2 * all + one,
        (_, Precision::F32) => 4 * all,
    }
}

/// Role and place of every matrix and vector.
fn matrices(model: &Model<'_>) -> impl Iterator<Item = (u16, Matrix)> {
    let mut found = Vec::new();
    let _ = model.weights().map(|role, m| found.push((role, m)));
    for index in 0..model.spec().layers {
        let _ = model.layer(index).map(|role, m| found.push((role, m)));
    }
    found.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packs_grow_with_the_processors_and_the_step_does_not() {
        let all = [
            (1, 512),
            (4, 512),
            (5, 1024),
            (8, 1024),
            (9, 2048),
            (64, 2048),
        ];
        for (processors, length) in all {
            let (found, batch) = occupying(processors, (512, 4));
            assert_eq!((found, found * batch), (length, 2048), "{processors}");
        }
    }
}
