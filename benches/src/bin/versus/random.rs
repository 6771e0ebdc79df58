//! Models of random weights: Llama's shape, F16, the head tied to the embedding, written as GGUF tensor by tensor.

use anyhow::Result;
use inkstone_quant::math::f16_bits;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

/// The sizes of a model.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) layers: u32,
    pub(crate) width: u32,
    pub(crate) hidden: u32,
    pub(crate) heads: u32,
    pub(crate) kv_heads: u32,
    pub(crate) vocabulary: u32,
}

const ALIGNMENT: u64 = 32;

/// GGUF's numbers for types of values.
const U32: u32 = 4;
const I32: u32 = 5;
const F32: u32 = 6;
const STRING: u32 = 8;
const ARRAY: u32 = 9;

/// A tensor of a model; one of a single row is F32, others F16.
struct Tensor {
    name: String,
    rows: u32,
    inputs: u32,
}

impl Tensor {
    fn bytes(&self) -> u64 {
        let number = if self.rows == 1 { 4 } else { 2 };
        u64::from(self.rows) * u64::from(self.inputs) * number
    }
}

/// Writes a model of this shape.
pub(crate) fn write(shape: &Shape, path: &Path) -> Result<()> {
    let tensors = tensors(shape);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut header = header(shape, &tensors);
    header.resize(header.len().next_multiple_of(ALIGNMENT as usize), 0);
    out.write_all(&header)?;
    let mut noise = Noise(0x9e37_79b9_7f4a_7c15);
    for tensor in &tensors {
        for _ in 0..tensor.rows {
            out.write_all(&row(tensor, &mut noise))?;
        }
        let padding = tensor.bytes().next_multiple_of(ALIGNMENT) - tensor.bytes();
        out.write_all(&vec![0; padding as usize])?;
    }
    Ok(out.flush()?)
}

fn tensors(shape: &Shape) -> Vec<Tensor> {
    let tensor = |name: String, rows, inputs| Tensor { name, rows, inputs };
    let (width, hidden) = (shape.width, shape.hidden);
    let kv = width / shape.heads * shape.kv_heads;
    let mut all = vec![
        tensor("token_embd.weight".into(), shape.vocabulary, width),
        tensor("output_norm.weight".into(), 1, width),
    ];
    for layer in 0..shape.layers {
        let parts = [
            ("attn_norm", 1, width),
            ("attn_q", width, width),
            ("attn_k", kv, width),
            ("attn_v", kv, width),
            ("attn_output", width, width),
            ("ffn_norm", 1, width),
            ("ffn_gate", hidden, width),
            ("ffn_up", hidden, width),
            ("ffn_down", width, hidden),
        ];
        let named =
            |(name, rows, inputs)| tensor(format!("blk.{layer}.{name}.weight"), rows, inputs);
        all.extend(parts.map(named));
    }
    all
}

/// A row of weights: gains near 1, others such that what goes through keeps its size.
fn row(tensor: &Tensor, noise: &mut Noise) -> Vec<u8> {
    let spread = 1.7 / (tensor.inputs as f32).sqrt();
    let inputs = 0..tensor.inputs;
    if tensor.rows == 1 {
        let gain = inputs.map(|_| (1.0 + 0.1 * noise.unit()).to_le_bytes());
        return gain.flatten().collect();
    }
    let weight = inputs.map(|_| f16_bits(spread * noise.unit()).to_le_bytes());
    weight.flatten().collect()
}

fn header(shape: &Shape, tensors: &[Tensor]) -> Vec<u8> {
    let (values, count) = values(shape);
    let mut out = b"GGUF".to_vec();
    out.extend(3u32.to_le_bytes());
    out.extend((tensors.len() as u64).to_le_bytes());
    out.extend(count.to_le_bytes());
    out.extend(values);
    let mut offset = 0u64;
    for tensor in tensors {
        put_string(&mut out, &tensor.name);
        let sizes = [u64::from(tensor.inputs), u64::from(tensor.rows)];
        let sizes = &sizes[..if tensor.rows == 1 { 1 } else { 2 }];
        out.extend((sizes.len() as u32).to_le_bytes());
        out.extend(sizes.iter().flat_map(|size| size.to_le_bytes()));
        out.extend(u32::from(tensor.rows > 1).to_le_bytes());
        out.extend(offset.to_le_bytes());
        offset += tensor.bytes().next_multiple_of(ALIGNMENT);
    }
    out
}

/// The metadata, and how many values it has.
fn values(shape: &Shape) -> (Vec<u8>, u64) {
    let numbers = [
        ("general.file_type", 1),
        ("llama.block_count", shape.layers),
        ("llama.context_length", 32_768),
        ("llama.embedding_length", shape.width),
        ("llama.feed_forward_length", shape.hidden),
        ("llama.attention.head_count", shape.heads),
        ("llama.attention.head_count_kv", shape.kv_heads),
        ("llama.rope.dimension_count", shape.width / shape.heads),
        ("llama.vocab_size", shape.vocabulary),
        ("tokenizer.ggml.unknown_token_id", 0),
        ("tokenizer.ggml.bos_token_id", 1),
        ("tokenizer.ggml.eos_token_id", 2),
    ];
    let floats = [
        ("llama.attention.layer_norm_rms_epsilon", 1e-5f32),
        ("llama.rope.freq_base", 500_000.0),
    ];
    let strings = [
        ("general.architecture", "llama"),
        ("general.name", "random weights"),
        ("tokenizer.ggml.model", "llama"),
    ];
    let mut out = Vec::new();
    for (key, text) in strings {
        put_key(&mut out, key, STRING);
        put_string(&mut out, text);
    }
    for (key, number) in numbers {
        put_key(&mut out, key, U32);
        out.extend(number.to_le_bytes());
    }
    for (key, number) in floats {
        put_key(&mut out, key, F32);
        out.extend(number.to_le_bytes());
    }
    let words: Vec<Word> = (0..shape.vocabulary).map(word).collect();
    put_array(&mut out, "tokenizer.ggml.tokens", STRING, words.len());
    words
        .iter()
        .for_each(|word| put_string(&mut out, &word.text));
    put_array(&mut out, "tokenizer.ggml.scores", F32, words.len());
    let scores = (0..words.len()).flat_map(|id| (-(id as f32)).to_le_bytes());
    out.extend(scores);
    put_array(&mut out, "tokenizer.ggml.token_type", I32, words.len());
    out.extend(words.iter().flat_map(|word| word.kind.to_le_bytes()));
    let count = strings.len() + numbers.len() + floats.len() + 3;
    (out, count as u64)
}

/// A token: its text and GGUF's number for its kind.
struct Word {
    text: String,
    kind: i32,
}

/// The first tokens are those of SentencePiece, the others words.
fn word(id: u32) -> Word {
    let (text, kind) = match id {
        0 => ("<unk>".into(), 2),
        1 => ("<s>".into(), 3),
        2 => ("</s>".into(), 3),
        3..259 => (format!("<0x{:02X}>", id - 3), 6),
        _ => (format!("\u{2581}w{id}"), 1),
    };
    Word { text, kind }
}

fn put_key(out: &mut Vec<u8>, key: &str, kind: u32) {
    put_string(out, key);
    out.extend(kind.to_le_bytes());
}

fn put_array(out: &mut Vec<u8>, key: &str, kind: u32, count: usize) {
    put_key(out, key, ARRAY);
    out.extend(kind.to_le_bytes());
    out.extend((count as u64).to_le_bytes());
}

fn put_string(out: &mut Vec<u8>, text: &str) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text.as_bytes());
}

/// xorshift64 (Marsaglia 2003).
struct Noise(u64);

impl Noise {
    /// Uniform in −1 .. 1.
    fn unit(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 40) as f32 / (1 << 23) as f32 - 1.0
    }
}
