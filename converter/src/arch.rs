//! The architectures, as data: what their tensors are called and what their authors left unsaid.

/// One family of models that share names and conventions.
#[derive(Debug, Clone, Copy)]
pub struct Arch {
    /// What this table calls it.
    pub name: &'static str,
    /// The values of `model_type` in a `config.json`.
    pub hf_ids: &'static [&'static str],
    /// The values of `general.architecture` in a GGUF file.
    pub gguf_ids: &'static [&'static str],
    /// What tensors are called in a Hugging Face folder.
    pub hf: Names,
    /// What tensors are called in a GGUF file.
    pub gguf: Names,
    /// Which rows of query and key GGUF files turn together.
    pub gguf_pairing: Pairing,
    /// What is added to the gains of a Hugging Face folder.
    pub hf_gain_offset: Option<f32>,
    /// Tensors that may stand in a source and are not needed: they follow from the configuration,
    /// or belong to a part of the model that is not run. Matched anywhere in a name.
    pub ignored: &'static [&'static str],
    /// The feed-forward activation.
    pub activation: Activation,
    /// Base of the rotary frequencies where the source names none.
    pub rope_base: f32,
    /// Base of the rotary frequencies of windowed layers, if it differs from that of the others.
    pub local_rope_base: Option<f32>,
    /// Which layers see a window only, where the source names a window and no layers.
    pub windows: Windows,
    /// Whether embeddings are scaled by the root of the width.
    pub scales_embedding: bool,
    /// Layers of the one size whose scores are scaled by the width over the heads, which GGUF
    /// files do not say.
    pub wide_score_layers: Option<u64>,
    /// What a `config.json` of this family may leave out.
    pub hf_defaults: HfDefaults,
}

/// Values that `transformers` fills in where a `config.json` does not state them.
#[derive(Debug, Clone, Copy)]
pub struct HfDefaults {
    /// Heads of queries.
    pub heads: Option<u64>,
    /// Heads of keys and values, if not as many as of queries.
    pub kv_heads: Option<u64>,
    /// The longest sequence.
    pub context: u64,
    /// Width of a head, if it does not follow from the width and the heads.
    pub head_dim: Option<u64>,
    /// Whether the output shares the embedding's matrix.
    pub tied: bool,
    /// The window of windowed layers.
    pub window: Option<u64>,
    /// Score scale, as the number whose inverse root it is.
    pub query_scalar: Option<f32>,
    /// Whether the window counts only if `use_sliding_window` says so.
    pub window_wants_switch: bool,
}

/// Which elements of a head the rotary embedding turns together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pairing {
    /// Element `i` with `i + half`: what the runtime knows.
    Halves,
    /// Element `2i` with `2i + 1`.
    Neighbours,
}

/// The activation of a gated feed-forward block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`.
    Silu,
    /// The approximation of GELU by a hyperbolic tangent.
    GeluTanh,
}

/// Which layers see a window only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windows {
    /// All of them.
    All,
    /// All but every n-th.
    AllBut(u64),
}

/// What tensors are called: stems, to which `.weight` or `.bias` is added.
#[derive(Debug, Clone, Copy)]
pub struct Names {
    /// What may stand before every name; the first that fits counts.
    pub prefixes: &'static [&'static str],
    /// What stands before the names of a layer; `{}` is its number.
    pub layer: &'static str,
    /// The embedding matrix.
    pub embedding: &'static str,
    /// The gain of the last norm.
    pub output_norm: &'static str,
    /// The output matrix, where it is not the embedding; without prefix.
    pub output: &'static str,
    /// Divisors of the rotary frequencies, in full.
    pub rope_divisors: Option<&'static str>,
    /// The gain before attention.
    pub mixer_norm: &'static str,
    /// Queries, keys and values.
    pub qkv: Qkv,
    /// The output of attention.
    pub o: &'static str,
    /// The gains of queries and of keys.
    pub qk_norms: Option<[&'static str; 2]>,
    /// The gain after attention.
    pub mixer_post_norm: Option<&'static str>,
    /// The gain before the feed-forward block.
    pub ffn_norm: &'static str,
    /// The gate, the parallel and the closing matrix of the feed-forward block.
    pub ffn: [&'static str; 3],
    /// The gain after the feed-forward block.
    pub ffn_post_norm: Option<&'static str>,
}

/// How queries, keys and values are stored.
#[derive(Debug, Clone, Copy)]
pub enum Qkv {
    /// In three matrices.
    Apart([&'static str; 3]),
    /// In one: for each head of keys its queries, then the key, then the value.
    Grouped(&'static str),
}

/// Every architecture that is converted.
pub static ARCHS: &[Arch] = &[LLAMA, QWEN2, QWEN3, GEMMA3, INTERNLM2];

const LLAMA: Arch = Arch {
    name: "llama",
    hf_ids: &["llama", "mistral", "smollm"],
    gguf_ids: &["llama"],
    hf: HF,
    gguf: GGUF,
    gguf_pairing: Pairing::Neighbours,
    hf_gain_offset: None,
    ignored: &[
        "rotary_emb.inv_freq",
        ".attention.masked_bias",
        "rope.freqs",
    ],
    activation: Activation::Silu,
    rope_base: 10_000.0,
    local_rope_base: None,
    windows: Windows::All,
    scales_embedding: false,
    wide_score_layers: None,
    hf_defaults: HfDefaults {
        heads: None,
        kv_heads: None,
        context: 2048,
        head_dim: None,
        tied: false,
        window: None,
        query_scalar: None,
        window_wants_switch: false,
    },
};

const QWEN2: Arch = Arch {
    name: "qwen2",
    hf_ids: &["qwen2"],
    gguf_ids: &["qwen2"],
    gguf_pairing: Pairing::Halves,
    hf_defaults: HfDefaults {
        window_wants_switch: true,
        ..LLAMA.hf_defaults
    },
    ..LLAMA
};

const QWEN3: Arch = Arch {
    name: "qwen3",
    hf_ids: &["qwen3"],
    gguf_ids: &["qwen3"],
    hf: Names {
        qk_norms: Some(["self_attn.q_norm", "self_attn.k_norm"]),
        ..HF
    },
    gguf: Names {
        qk_norms: Some(["attn_q_norm", "attn_k_norm"]),
        ..GGUF
    },
    hf_defaults: HfDefaults {
        head_dim: Some(128),
        ..QWEN2.hf_defaults
    },
    ..QWEN2
};

const GEMMA3: Arch = Arch {
    name: "gemma3",
    hf_ids: &["gemma3_text", "gemma3"],
    gguf_ids: &["gemma3"],
    hf: Names {
        prefixes: &["model.", "language_model.model.", "model.language_model."],
        mixer_post_norm: Some("post_attention_layernorm"),
        ffn_norm: "pre_feedforward_layernorm",
        ffn_post_norm: Some("post_feedforward_layernorm"),
        ..QWEN3.hf
    },
    gguf: Names {
        mixer_post_norm: Some("post_attention_norm"),
        ffn_post_norm: Some("post_ffw_norm"),
        ..QWEN3.gguf
    },
    gguf_pairing: Pairing::Halves,
    hf_gain_offset: Some(1.0),
    ignored: &["rotary_emb", "vision_tower.", "multi_modal_projector."],
    activation: Activation::GeluTanh,
    rope_base: 1_000_000.0,
    local_rope_base: Some(10_000.0),
    windows: Windows::AllBut(6),
    scales_embedding: true,
    wide_score_layers: Some(62),
    hf_defaults: HfDefaults {
        heads: Some(8),
        kv_heads: Some(4),
        context: 131_072,
        head_dim: Some(256),
        tied: true,
        window: Some(4096),
        query_scalar: Some(256.0),
        window_wants_switch: false,
    },
};

const INTERNLM2: Arch = Arch {
    name: "internlm2",
    hf_ids: &["internlm2"],
    gguf_ids: &["internlm2"],
    hf: Names {
        embedding: "tok_embeddings",
        output: "output",
        mixer_norm: "attention_norm",
        qkv: Qkv::Grouped("attention.wqkv"),
        o: "attention.wo",
        ffn_norm: "ffn_norm",
        ffn: ["feed_forward.w1", "feed_forward.w3", "feed_forward.w2"],
        ..HF
    },
    ..LLAMA
};

const HF: Names = Names {
    prefixes: &["model.", ""],
    layer: "layers.{}.",
    embedding: "embed_tokens",
    output_norm: "norm",
    output: "lm_head",
    rope_divisors: None,
    mixer_norm: "input_layernorm",
    qkv: Qkv::Apart(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"]),
    o: "self_attn.o_proj",
    qk_norms: None,
    mixer_post_norm: None,
    ffn_norm: "post_attention_layernorm",
    ffn: ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"],
    ffn_post_norm: None,
};

const GGUF: Names = Names {
    prefixes: &[""],
    layer: "blk.{}.",
    embedding: "token_embd",
    output_norm: "output_norm",
    output: "output",
    rope_divisors: Some("rope_freqs.weight"),
    mixer_norm: "attn_norm",
    qkv: Qkv::Apart(["attn_q", "attn_k", "attn_v"]),
    o: "attn_output",
    qk_norms: None,
    mixer_post_norm: None,
    ffn_norm: "ffn_norm",
    ffn: ["ffn_gate", "ffn_up", "ffn_down"],
    ffn_post_norm: None,
};

/// The architecture whose GGUF files say `id`.
#[must_use]
pub fn by_gguf_id(id: &str) -> Option<&'static Arch> {
    ARCHS.iter().find(|arch| arch.gguf_ids.contains(&id))
}

/// The architecture whose `config.json` says `id`.
#[must_use]
pub fn by_hf_id(id: &str) -> Option<&'static Arch> {
    ARCHS.iter().find(|arch| arch.hf_ids.contains(&id))
}
