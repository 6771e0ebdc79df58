//! Norm and rotation of query and key heads; keys and values to the cache. Workers share out heads.
#![allow(unsafe_code)]

use inkstone_model::cache::KEY_LANES;
use inkstone_model::op::Rope;
use inkstone_model::{Cache, Kv};
use inkstone_quant::activation::{quantize_group, quantize_to};
use inkstone_quant::{hadamard, math};

use super::{Run, norm};
use crate::arena::{cut, share};
use crate::simd::{self, LANES, Simd, Task};
use crate::team::Worker;

/// Elements of a head, at most.
const MAX_WIDTH: usize = inkstone_model::spec::MAX_HEAD_WIDTH as usize;

pub(super) fn run(cx: &Run<'_>, op: &Rope, worker: &Worker<'_>) {
    let width = op.cache.width;
    let heads = share(op.heads + op.cache.heads, worker.index, worker.count);
    if heads.is_empty() {
        return;
    }
    // SAFETY: once in this operation.
    let mut scratch = unsafe { cx.scratch(worker.index) };
    let (sin, cos) = (cut(&mut scratch, width / 2), cut(&mut scratch, width / 2));
    for t in 0..cx.batch.tokens.len() {
        let place = cx.batch.place(t);
        let (cache, position) = (op.cache.of(place.sequence), place.position as usize);
        angles(norm::vector(cx.file, &op.table), position, sin, cos);
        for head in heads.clone() {
            if head < op.heads {
                // SAFETY: heads are shared out.
                let q = unsafe { cx.write(op.q, t, head * width, width) };
                let gain = op.q_norm.map(|m| norm::vector(cx.file, &m));
                simd::run(
                    cx.isa,
                    Turn {
                        x: q,
                        gain,
                        eps: op.eps,
                        sin,
                        cos,
                    },
                );
            } else {
                append(cx, op, &cache, head - op.heads, (t, position), (sin, cos));
            }
        }
    }
}

/// `sin` and `cos` of a position's angles.
fn angles(table: &[[u8; 4]], position: usize, sin: &mut [f32], cos: &mut [f32]) {
    for ((frequency, sin), cos) in table.iter().zip(sin).zip(cos) {
        (*sin, *cos) = math::sin_cos(position as f32 * f32::from_le_bytes(*frequency));
    }
}

/// Key and value of a token's head to the cache.
fn append(
    cx: &Run<'_>,
    op: &Rope,
    cache: &Cache,
    head: usize,
    (t, position): (usize, usize),
    (sin, cos): (&[f32], &[f32]),
) {
    // SAFETY: heads are shared out.
    let k = unsafe { cx.write(op.k, t, head * cache.width, cache.width) };
    let gain = op.k_norm.map(|m| norm::vector(cx.file, &m));
    simd::run(
        cx.isa,
        Turn {
            x: k,
            gain,
            eps: op.eps,
            sin,
            cos,
        },
    );
    // SAFETY: this operation does not write values.
    let v = unsafe { cx.read(op.v, t, head * cache.width, cache.width) };
    match cache.kv {
        Kv::F32 => append_as::<f32>(cx, cache, head, position, k, v),
        Kv::F16 => append_as::<u16>(cx, cache, head, position, k, v),
        Kv::Int8 | Kv::Int4 => append_codes(cx, cache, head, position, k, v),
    }
}

/// A plain stored form.
trait Stored: crate::arena::Plain + Default {
    /// Converts sixteen numbers.
    fn store<S: Simd>(simd: S, x: S::F, to: &mut [Self; LANES]);
}

impl Stored for f32 {
    #[inline(always)]
    fn store<S: Simd>(simd: S, x: S::F, to: &mut [f32; LANES]) {
        simd.store(x, to);
    }
}

impl Stored for u16 {
    #[inline(always)]
    fn store<S: Simd>(simd: S, x: S::F, to: &mut [u16; LANES]) {
        simd.store_f16(x, to);
    }
}

fn append_as<E: Stored>(
    cx: &Run<'_>,
    cache: &Cache,
    head: usize,
    position: usize,
    k: &[f32],
    v: &[f32],
) {
    // From the first dimension of the key to the last, other positions' keys between them.
    let span = (cache.width - 1) * KEY_LANES + 1;
    let at = cache.k + cache.key(head, position, 0) * size_of::<E>();
    // SAFETY: a head's keys belong to one worker, heads are shared out.
    let keys = unsafe { cx.arena.write::<E>(at, span) };
    let at = cache.v + cache.value(head, position) * size_of::<E>();
    // SAFETY: a head's values belong to one worker, heads are shared out.
    let values = unsafe { cx.arena.write::<E>(at, cache.width) };
    simd::run(cx.isa, Append { k, v, keys, values });
}

struct Append<'a, E> {
    k: &'a [f32],
    v: &'a [f32],
    /// Every sixteenth is this position's.
    keys: &'a mut [E],
    values: &'a mut [E],
}

impl<E: Stored> Task for Append<'_, E> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        for (k, keys) in self
            .k
            .chunks(LANES)
            .zip(self.keys.chunks_mut(LANES * KEY_LANES))
        {
            let converted = convert::<S, E>(simd, k);
            for (to, k) in keys.iter_mut().step_by(KEY_LANES).zip(converted) {
                *to = k;
            }
        }
        for (v, values) in self.v.chunks(LANES).zip(self.values.chunks_mut(LANES)) {
            values.copy_from_slice(&convert::<S, E>(simd, v)[..values.len()]);
        }
    }
}

/// Converts up to sixteen numbers; the others are zeros.
#[inline(always)]
fn convert<S: Simd, E: Stored>(simd: S, x: &[f32]) -> [E; LANES] {
    let mut padded = [0.0; LANES];
    padded[..x.len()].copy_from_slice(x);
    let mut to = [E::default(); LANES];
    E::store(simd, simd.load(&padded), &mut to);
    to
}

fn append_codes(cx: &Run<'_>, cache: &Cache, head: usize, position: usize, k: &[f32], v: &[f32]) {
    let lanes = cache.key_width() / 4;
    let at = cache.k + cache.key(head, position, 0);
    // SAFETY: a head's keys belong to one worker, heads are shared out.
    let keys = unsafe { cx.arena.write::<i8>(at, (lanes - 1) * KEY_LANES * 4 + 4) };
    let at = cache.v + cache.value(head, position);
    // SAFETY: a head's values belong to one worker, heads are shared out.
    let values = unsafe { cx.arena.write::<i8>(at, cache.value_width()) };
    let scale = cache.scale(head, position) * size_of::<f32>();
    // SAFETY: a head's scales belong to one worker, heads are shared out.
    let k_scale = unsafe { cx.arena.write(cache.k_scales + scale, 1) };
    // SAFETY: a head's scales belong to one worker, heads are shared out.
    let v_scale = unsafe { cx.arena.write(cache.v_scales + scale, 1) };
    let (k_scale, v_scale) = (&mut k_scale[0], &mut v_scale[0]);
    let task = AppendCodes {
        k,
        v,
        keys,
        values,
        k_scale,
        v_scale,
    };
    if cache.kv == Kv::Int4 {
        simd::run(cx.isa, AppendNibbles(task));
    } else {
        simd::run(cx.isa, task);
    }
}

struct AppendCodes<'a> {
    k: &'a [f32],
    v: &'a [f32],
    /// The first four of every sixty-four are this position's.
    keys: &'a mut [i8],
    values: &'a mut [i8],
    k_scale: &'a mut f32,
    v_scale: &'a mut f32,
}

impl Task for AppendCodes<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let mut codes = [0; MAX_WIDTH];
        let padded = self.k.len().next_multiple_of(4);
        *self.k_scale = quantize_group(self.k, &mut codes[..padded]);
        for (to, quad) in self.keys.chunks_mut(KEY_LANES * 4).zip(codes.chunks(4)) {
            to[..4].copy_from_slice(quad);
        }
        *self.v_scale = quantize_group(self.v, self.values);
    }
}

/// The same in four bits.
struct AppendNibbles<'a>(AppendCodes<'a>);

impl Task for AppendNibbles<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let AppendCodes { k, v, .. } = self.0;
        let mut codes = [0; MAX_WIDTH];
        let padded = k.len().next_multiple_of(8);
        *self.0.k_scale = nibbles_of(k, &mut codes[..padded]);
        let keys = self.0.keys.chunks_mut(KEY_LANES * 4);
        for (to, octet) in keys.zip(codes[..padded].as_chunks::<8>().0) {
            for (to, (low, high)) in to.iter_mut().zip(octet[..4].iter().zip(&octet[4..])) {
                *to = pack(*low, *high);
            }
        }
        let half = self.0.values.len();
        *self.0.v_scale = nibbles_of(v, &mut codes[..2 * half]);
        let (low, high) = codes[..2 * half].split_at(half);
        for (to, (low, high)) in self.0.values.iter_mut().zip(low.iter().zip(high)) {
            *to = pack(*low, *high);
        }
    }
}

/// Rotates and rounds a head; gives the scale.
#[inline(always)]
fn nibbles_of(x: &[f32], codes: &mut [i8]) -> f32 {
    let mut rotated = [0.0; MAX_WIDTH];
    let rotated = &mut rotated[..x.len()];
    rotated.copy_from_slice(x);
    hadamard::rotate(rotated);
    quantize_to::<7>(rotated, codes)
}

/// Two codes of four bits in a byte.
#[inline(always)]
fn pack(low: i8, high: i8) -> i8 {
    low & 15 | high << 4
}

/// Norm, then rotation, of one head.
struct Turn<'a> {
    x: &'a mut [f32],
    gain: Option<&'a [[u8; 4]]>,
    eps: f32,
    sin: &'a [f32],
    cos: &'a [f32],
}

impl Task for Turn<'_> {
    type Out = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        if let Some(gain) = self.gain {
            let factor = norm::factor(self.x, self.eps);
            for (x, gain) in self.x.iter_mut().zip(gain) {
                *x = (*x * factor) * f32::from_le_bytes(*gain);
            }
        }
        let (low, high) = self.x.split_at_mut(self.x.len() / 2);
        for ((a, b), (sin, cos)) in low.iter_mut().zip(high).zip(self.sin.iter().zip(self.cos)) {
            (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
        }
    }
}
