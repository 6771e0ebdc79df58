//! Sources whose header holds and whose contents lie: each is a typed error, never a panic, and
//! never a file.

mod support;

use std::fs;
use std::path::PathBuf;

use inkstone_converter::convert::Options;
use inkstone_converter::{Error, ErrorKind, Source, convert};
use support::GgufFile;

/// A GGUF file of a llama of one layer, whose parts can be changed one by one.
struct Tiny(GgufFile);

impl Tiny {
    fn new() -> Self {
        let mut tiny = Self(GgufFile::default().text("general.architecture", "llama"));
        tiny.0 = tiny.0.real("llama.attention.layer_norm_rms_epsilon", 1e-5);
        let counts = [
            ("llama.block_count", 1),
            ("llama.embedding_length", 32),
            ("llama.feed_forward_length", 64),
            ("llama.attention.head_count", 2),
            ("llama.attention.head_count_kv", 1),
            ("llama.context_length", 64),
        ];
        let tensors: [(&str, &[u64]); 11] = [
            ("token_embd.weight", &[32, 10]),
            ("output_norm.weight", &[32]),
            ("blk.0.attn_norm.weight", &[32]),
            ("blk.0.attn_q.weight", &[32, 32]),
            ("blk.0.attn_k.weight", &[32, 16]),
            ("blk.0.attn_v.weight", &[32, 16]),
            ("blk.0.attn_output.weight", &[32, 32]),
            ("blk.0.ffn_norm.weight", &[32]),
            ("blk.0.ffn_gate.weight", &[32, 64]),
            ("blk.0.ffn_up.weight", &[32, 64]),
            ("blk.0.ffn_down.weight", &[64, 32]),
        ];
        for (key, value) in counts {
            tiny = tiny.count(key, value);
        }
        for (name, dims) in tensors {
            tiny = tiny.tensor(name, dims, 0);
        }
        tiny
    }

    fn count(self, key: &str, value: u32) -> Self {
        Self(self.0.count(key, value))
    }

    fn tensor(self, name: &str, dims: &[u64], kind: u32) -> Self {
        let bytes = 4 * dims.iter().product::<u64>() as usize;
        Self(self.0.tensor(name, dims, kind, vec![0; bytes]))
    }

    fn without(self, name: &str) -> Self {
        Self(self.0.without(name))
    }

    fn convert(&self, name: &str) -> Result<(), Error> {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let from = folder.join(format!("{name}.gguf"));
        let to = folder.join(format!("{name}.ink"));
        fs::write(&from, self.0.bytes()).expect("the folder for tests can be written");
        let source = Source::open(&from);
        let done = source.and_then(|s| convert(&s, &to, &Options::default(), &mut |_| true));
        assert_eq!(done.is_ok(), to.exists(), "{name}");
        let _ = fs::remove_file(&to);
        let _ = fs::remove_file(&from);
        done.map(drop)
    }

    fn refused(&self, name: &str, kind: ErrorKind) {
        let error = self.convert(name).expect_err(name);
        assert_eq!(error.kind(), kind, "{name}: {error}");
    }
}

#[test]
fn the_tiny_model_itself_converts() {
    Tiny::new().convert("sound").unwrap();
}

#[test]
fn shapes_that_contradict_the_hyperparameters_are_refused() {
    let tiny = Tiny::new;
    let malformed = ErrorKind::Malformed;
    tiny()
        .tensor("blk.0.attn_q.weight", &[32, 16], 0)
        .refused("q_rows", malformed);
    tiny()
        .tensor("blk.0.attn_q.weight", &[1024], 0)
        .refused("q_rank", malformed);
    tiny()
        .tensor("blk.0.ffn_down.weight", &[32, 64], 0)
        .refused("down", malformed);
    tiny()
        .tensor("blk.0.attn_norm.weight", &[31], 0)
        .refused("norm", malformed);
    tiny()
        .tensor("token_embd.weight", &[64, 5], 0)
        .refused("embedding", malformed);
    tiny()
        .tensor("blk.0.attn_q.bias", &[16], 0)
        .refused("bias", malformed);
    tiny()
        .count("llama.vocab_size", 11)
        .refused("vocab", malformed);
    tiny()
        .count("llama.attention.head_count", 3)
        .refused("heads", malformed);
    tiny()
        .count("llama.feed_forward_length", 63)
        .refused("ffn", malformed);
}

#[test]
fn absurd_counts_are_refused_before_they_are_used() {
    let tiny = Tiny::new;
    let limit = ErrorKind::Limit;
    tiny()
        .count("llama.block_count", u32::MAX)
        .refused("layers", limit);
    tiny()
        .count("llama.block_count", 0)
        .refused("no_layers", limit);
    tiny()
        .count("llama.attention.head_count", 0)
        .refused("no_heads", limit);
    tiny()
        .count("llama.attention.head_count_kv", 0)
        .refused("no_kv", limit);
    tiny()
        .count("llama.embedding_length", u32::MAX)
        .refused("width", limit);
    tiny()
        .count("llama.context_length", 0)
        .refused("context", limit);
    tiny()
        .count("llama.attention.key_length", 1 << 20)
        .refused("head", limit);
    tiny()
        .count("llama.rope.dimension_count", 17)
        .refused("rope", ErrorKind::Malformed);
    tiny()
        .count("llama.rope.dimension_count", 8)
        .refused("part", ErrorKind::Unsupported);
}

#[test]
fn tensors_must_be_there_be_known_and_be_weights() {
    let tiny = Tiny::new;
    tiny()
        .without("blk.0.attn_k.weight")
        .refused("no_k", ErrorKind::Missing);
    tiny()
        .without("token_embd.weight")
        .refused("no_embedding", ErrorKind::Missing);
    tiny()
        .count("llama.block_count", 2)
        .refused("layer_1", ErrorKind::Missing);
    let extra = tiny().tensor("blk.0.attn_q_norm.weight", &[16], 0);
    extra.refused("extra", ErrorKind::Unsupported);
    let whole = tiny().tensor("blk.0.ffn_up.weight", &[32, 64], 26);
    whole.refused("integers", ErrorKind::Unsupported);
    let divisors = tiny().tensor("rope_freqs.weight", &[8], 0);
    divisors.refused("zero_divisors", ErrorKind::Unsupported);
}

#[test]
fn class_j_pickles_are_never_opened() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    for (name, bytes) in [
        ("a.bin", &b"PK\x03\x04rest"[..]),
        ("b.pt", b"\x80\x02}q"),
        ("c", b""),
    ] {
        let path = folder.join(format!("pickle-{name}"));
        fs::write(&path, bytes).unwrap();
        let error = Source::open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Magic, "{error}");
        fs::remove_file(&path).unwrap();
    }
    let checkpoint = folder.join("pickle-folder");
    fs::create_dir_all(&checkpoint).unwrap();
    let config = r#"{"model_type": "llama", "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": 1, "num_attention_heads": 2}"#;
    fs::write(checkpoint.join("config.json"), config).unwrap();
    fs::write(checkpoint.join("pytorch_model.bin"), b"PK\x03\x04").unwrap();
    let error = Source::open(&checkpoint).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Missing, "{error}");
    fs::remove_dir_all(&checkpoint).unwrap();
}

#[test]
fn an_index_cannot_name_files_elsewhere() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("index-folder");
    fs::create_dir_all(&folder).unwrap();
    for name in [
        "../x.safetensors",
        "/etc/x.safetensors",
        "x.bin",
        "a\\x.safetensors",
    ] {
        let index = serde_json::json!({"weight_map": {"w": name}}).to_string();
        fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
        let error = inkstone_converter::safetensors::shards(&folder).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Malformed, "{error}");
    }
    fs::remove_dir_all(&folder).unwrap();
}
