//! Each architecture, once as a Hugging Face folder and once as the GGUF file that names, orders and
//! offsets its tensors as llama.cpp's converter does: both must become the same model.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use inkstone_converter::arch::Pairing;
use inkstone_converter::config::Config;
use inkstone_converter::convert::Options;
use inkstone_converter::{Source, convert};
use inkstone_format::{File, NO_LAYER, SectionKind, Tensor};
use inkstone_model::Matrix;
use inkstone_model::weights::{K, Q, ROPE_0, ROPE_1};
use support::GgufFile;

/// Role numbers, and what GGUF files call them.
const NAMES: &[(u16, &str)] = &[
    (0, "token_embd.weight"),
    (1, "output_norm.weight"),
    (2, "output.weight"),
    (16, "blk.{}.attn_norm.weight"),
    (17, "blk.{}.attn_q.weight"),
    (18, "blk.{}.attn_k.weight"),
    (19, "blk.{}.attn_v.weight"),
    (20, "blk.{}.attn_output.weight"),
    (21, "blk.{}.attn_q.bias"),
    (22, "blk.{}.attn_k.bias"),
    (23, "blk.{}.attn_v.bias"),
    (25, "blk.{}.attn_q_norm.weight"),
    (26, "blk.{}.attn_k_norm.weight"),
    (27, "blk.{}.post_attention_norm.weight"),
    (32, "blk.{}.ffn_norm.weight"),
    (33, "blk.{}.ffn_gate.weight"),
    (34, "blk.{}.ffn_up.weight"),
    (35, "blk.{}.ffn_down.weight"),
    (36, "blk.{}.post_ffw_norm.weight"),
];

#[test]
fn llama() {
    same_model("llama", |file| file);
}

#[test]
fn qwen2() {
    same_model("qwen2", |file| file);
}

#[test]
fn qwen3() {
    same_model("qwen3", |file| file);
}

#[test]
fn internlm2() {
    same_model("internlm2", |file| file);
}

#[test]
fn gemma3() {
    same_model("gemma3", |file| {
        file.count("gemma3.attention.sliding_window", 16)
            .count("gemma3.attention.sliding_window_pattern", 3)
    });
}

fn same_model(name: &str, more: impl Fn(GgufFile) -> GgufFile) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/golden/archs");
    let source = Source::open(&folder.join(name)).expect("the folder is sound");
    let first = converted(&source, &format!("{name}-folder"));
    let first = File::parse(&first).expect("it was just written");
    let path = temporary(&format!("{name}-twin.gguf"));
    let twin = more(gguf(&source.config, &first));
    fs::write(&path, twin.bytes()).expect("the folder for tests can be written");
    let source = Source::open(&path).expect("the twin is sound");
    let second = converted(&source, &format!("{name}-twin"));
    let second = File::parse(&second).expect("it was just written");
    assert_eq!(
        first.section(SectionKind::Spec),
        second.section(SectionKind::Spec)
    );
    assert_eq!(first.tensors().len(), second.tensors().len());
    for (a, b) in first.tensors().zip(second.tensors()) {
        assert_eq!((a.layer, a.role), (b.layer, b.role));
        assert_eq!(numbers(&first, &a), numbers(&second, &b), "{a:?}");
    }
    let _ = fs::remove_file(&path);
}

/// The model in `file`, as a GGUF file in F32.
fn gguf(config: &Config, file: &File<'_>) -> GgufFile {
    let arch = config.arch.gguf_ids[0];
    let key = |name: &str| format!("{arch}.{name}");
    let mut out = GgufFile::default()
        .text("general.architecture", arch)
        .count(&key("block_count"), config.layers as u32)
        .count(&key("embedding_length"), config.width as u32)
        .count(&key("feed_forward_length"), config.ffn_width as u32)
        .count(&key("context_length"), config.context as u32)
        .count(&key("attention.head_count"), config.heads as u32)
        .count(&key("attention.head_count_kv"), config.kv_heads as u32)
        .count(&key("attention.key_length"), config.head_dim as u32)
        .count(&key("attention.value_length"), config.head_dim as u32)
        .real(&key("attention.layer_norm_rms_epsilon"), config.norm_eps)
        .real(&key("attention.scale"), config.score_scale)
        .real(&key("rope.freq_base"), config.rope.base);
    for tensor in file
        .tensors()
        .filter(|t| ![ROPE_0, ROPE_1].contains(&t.role))
    {
        let name = NAMES.iter().find(|(role, _)| *role == tensor.role);
        let name = name
            .expect("the list is whole")
            .1
            .replace("{}", &tensor.layer.to_string());
        let (rows, inputs) = (u64::from(tensor.rows), u64::from(tensor.inputs));
        let turned = [Q, K].contains(&tensor.role);
        let mut values = numbers(file, &tensor);
        if turned && config.arch.gguf_pairing == Pairing::Neighbours {
            values = neighbours(&values, config.head_dim as usize);
        }
        let bytes = values
            .concat()
            .into_iter()
            .flat_map(f32::to_le_bytes)
            .collect();
        let is_vector = rows == 1 && tensor.layer != NO_LAYER || tensor.role == 1;
        let dims = if is_vector {
            vec![inputs]
        } else {
            vec![inputs, rows]
        };
        out = out.tensor(&name, &dims, 0, bytes);
    }
    out
}

/// Rows of heads in halves, reordered so that the two that turn together are neighbours.
fn neighbours(rows: &[Vec<f32>], head: usize) -> Vec<Vec<f32>> {
    let place = |row: usize| row / head * head + row % head % 2 * (head / 2) + row % head / 2;
    (0..rows.len())
        .map(|row| rows[place(row)].clone())
        .collect()
}

fn numbers(file: &File<'_>, tensor: &Tensor) -> Vec<Vec<f32>> {
    let matrix = Matrix::of(tensor).expect("a tiny tensor");
    let row = |row: usize| {
        let mut out = vec![0.0; matrix.inputs];
        matrix.row(file.bytes(), row, &mut out);
        out
    };
    (0..matrix.rows).map(row).collect()
}

fn converted(source: &Source, name: &str) -> Vec<u8> {
    let path = temporary(&format!("{name}.ink"));
    convert(source, &path, &Options::default(), &mut |_| true).expect("the source is sound");
    let bytes = fs::read(&path).expect("it was just written");
    let _ = fs::remove_file(&path);
    bytes
}

fn temporary(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}
