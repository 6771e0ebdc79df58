//! Configurations as their authors write them.

use serde_json::json;

use super::*;
use crate::error::ErrorKind;

fn llama() -> serde_json::Value {
    json!({"model_type": "llama", "hidden_size": 64, "intermediate_size": 172,
        "num_hidden_layers": 2, "num_attention_heads": 8, "num_key_value_heads": 4,
        "vocab_size": 512, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
        "hidden_act": "silu"})
}

fn with(changes: serde_json::Value) -> serde_json::Value {
    let mut json = llama();
    let object = json.as_object_mut().unwrap();
    object.extend(changes.as_object().unwrap().clone());
    json
}

fn refused(changes: serde_json::Value, kind: ErrorKind) {
    let error = Config::from_hf(&with(changes)).unwrap_err();
    assert_eq!(error.kind(), kind, "{error}");
}

#[test]
fn llama_needs_little() {
    let config = Config::from_hf(&llama()).unwrap();
    assert_eq!(
        (config.head_dim, config.kv_heads, config.rope.base),
        (8, 4, 10_000.0)
    );
    assert_eq!((config.tied, config.window), (Some(false), None));
    assert_eq!(config.score_scale, 1.0 / 8_f32.sqrt());
}

#[test]
fn llama_3_scales_its_rope() {
    let scaling = json!({"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 8192});
    let config = Config::from_hf(&with(json!({"rope_scaling": scaling}))).unwrap();
    let Scaling::Llama3 {
        factor, original, ..
    } = config.rope.scaling
    else {
        panic!()
    };
    assert_eq!((factor, original), (32.0, 8192.0));
    refused(
        json!({"rope_scaling": {"type": "yarn", "factor": 2.0}}),
        ErrorKind::Unsupported,
    );
    refused(
        json!({"rope_scaling": {"type": "linear"}}),
        ErrorKind::Missing,
    );
    refused(
        json!({"rope_scaling": {"type": "linear", "factor": 0.0}}),
        ErrorKind::Malformed,
    );
}

#[test]
fn windows_follow_each_family() {
    let windows = |changes| {
        let config = Config::from_hf(&with(changes)).unwrap();
        (config.window, config.windowed)
    };
    let mistral = json!({"model_type": "mistral", "sliding_window": 32});
    assert_eq!(windows(mistral), (Some(32), vec![true, true]));
    let qwen = json!({"model_type": "qwen2", "sliding_window": 32, "use_sliding_window": false});
    assert_eq!(windows(qwen), (None, vec![false, false]));
    let qwen = json!({"model_type": "qwen2", "sliding_window": 32, "use_sliding_window": true,
        "max_window_layers": 1});
    assert_eq!(windows(qwen), (Some(32), vec![false, true]));
    let gemma = |layers: u64| {
        json!({"model_type": "gemma3_text", "num_hidden_layers": layers,
        "sliding_window": 512, "hidden_act": null, "hidden_activation": "gelu_pytorch_tanh"})
    };
    let (window, windowed) = windows(gemma(7));
    assert_eq!(window, Some(512));
    assert_eq!(windowed, [true, true, true, true, true, false, true]);
    let mut listed = gemma(2);
    listed["layer_types"] = json!(["full_attention", "sliding_attention"]);
    assert_eq!(windows(listed.clone()), (Some(512), vec![false, true]));
    listed["layer_types"] = json!(["full_attention"]);
    refused(listed, ErrorKind::Malformed);
}

#[test]
fn gemma_has_two_ropes_and_scales_what_goes_in() {
    let text = with(
        json!({"model_type": "gemma3_text", "head_dim": 16, "hidden_act": null,
        "hidden_activation": "gelu_pytorch_tanh", "query_pre_attn_scalar": 4,
        "rope_theta": 1e6, "rope_local_base_freq": 1e4,
        "rope_scaling": {"rope_type": "linear", "factor": 8.0}}),
    );
    let whole = json!({"model_type": "gemma3", "text_config": text});
    let config = Config::from_hf(&whole).unwrap();
    assert_eq!((config.rope.base, config.rope.local_base), (1e6, 1e4));
    assert!(!config.rope.scales_local);
    assert_eq!(
        (config.score_scale, config.embedding_scale),
        (0.5, Some(8.0))
    );
    assert_eq!((config.tied, config.gain_offset), (Some(true), Some(1.0)));
    let later = with(json!({"model_type": "gemma3_text", "hidden_act": null,
        "rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 2e6},
            "sliding_attention": {"rope_type": "default", "rope_theta": 3e4}}}));
    let rope = Config::from_hf(&later).unwrap().rope;
    assert_eq!((rope.base, rope.local_base), (2e6, 3e4));
}

#[test]
fn what_a_family_leaves_out_is_known() {
    let text = json!({"model_type": "gemma3_text", "hidden_size": 2560, "intermediate_size": 10240,
        "num_hidden_layers": 34, "sliding_window": 1024,
        "rope_scaling": {"factor": 8.0, "rope_type": "linear"}});
    let config = Config::from_hf(&json!({"model_type": "gemma3", "text_config": text})).unwrap();
    assert_eq!(
        (config.heads, config.kv_heads, config.head_dim),
        (8, 4, 256)
    );
    assert_eq!(
        (config.context, config.norm_eps, config.window),
        (131_072, 1e-6, Some(1024))
    );
}

#[test]
fn absurd_numbers_are_refused() {
    refused(json!({"num_hidden_layers": 0}), ErrorKind::Limit);
    refused(json!({"num_hidden_layers": 1_u64 << 60}), ErrorKind::Limit);
    refused(json!({"num_attention_heads": 0}), ErrorKind::Limit);
    refused(json!({"num_key_value_heads": 3}), ErrorKind::Malformed);
    refused(json!({"num_key_value_heads": 0}), ErrorKind::Limit);
    refused(json!({"hidden_size": -64}), ErrorKind::Malformed);
    refused(json!({"hidden_size": "64"}), ErrorKind::Malformed);
    refused(json!({"hidden_size": null}), ErrorKind::Missing);
    refused(json!({"rms_norm_eps": 0}), ErrorKind::Malformed);
    refused(json!({"rms_norm_eps": 1e300}), ErrorKind::Malformed);
    refused(json!({"head_dim": 7}), ErrorKind::Malformed);
    refused(json!({"hidden_act": "relu"}), ErrorKind::Unsupported);
    refused(
        json!({"partial_rotary_factor": 0.5}),
        ErrorKind::Unsupported,
    );
    refused(json!({"model_type": "mamba"}), ErrorKind::Unsupported);
}
