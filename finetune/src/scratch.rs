//! A model to begin with where there is none: random weights, and a tokenizer learnt from the texts it is to read. It is
//! written as a Hugging Face folder, which is converted and trained like any other.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use safetensors::tensor::{Dtype, TensorView, serialize};
use serde_json::{Value, json};
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::PostProcessorWrapper;
use tokenizers::{AddedToken, TokenizerBuilder};

use crate::random::Random;

/// Sizes of a small Llama whose output matrix is its embedding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// What it is called: its weights, about.
    pub name: &'static str,
    /// Tokens of the vocabulary.
    pub vocabulary: usize,
    /// Elements of a token's vector.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Elements inside the feed-forward.
    pub ffn: usize,
    /// Positions.
    pub context: usize,
}

/// The shapes to choose from; the first is llama2.c's `stories260K`, rounded to blocks of 32.
pub static SHAPES: &[Shape] = &[
    Shape {
        name: "280k",
        vocabulary: 512,
        width: 64,
        layers: 5,
        heads: 4,
        kv_heads: 2,
        ffn: 192,
        context: 512,
    },
    Shape {
        name: "1m",
        vocabulary: 1024,
        width: 96,
        layers: 8,
        heads: 6,
        kv_heads: 3,
        ffn: 288,
        context: 512,
    },
    Shape {
        name: "2m",
        vocabulary: 2048,
        width: 128,
        layers: 8,
        heads: 8,
        kv_heads: 4,
        ffn: 384,
        context: 512,
    },
];

/// What ends a text or a turn, and begins a text; then what begins turns.
const SPECIAL: [&str; 4] = ["<|end|>", "<|user|>", "<|assistant|>", "<|system|>"];
/// A token a turn.
const TEMPLATE: &str = "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}";
/// Deviation of random weights (Radford et al. 2019).
const DEVIATION: f32 = 0.02;

impl Shape {
    /// The shape of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn find(name: &str) -> Result<Shape> {
        let found = SHAPES.iter().find(|shape| shape.name == name);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = SHAPES.iter().map(|shape| shape.name).collect();
            anyhow!("`{name}` is no shape; shapes are {}", names.join(", "))
        })
    }

    /// Name, rows and columns of each; norms have one row.
    fn tensors(&self) -> Vec<(String, usize, usize)> {
        let Shape {
            vocabulary,
            width,
            ffn,
            ..
        } = *self;
        let kv = width / self.heads * self.kv_heads;
        let mut tensors = vec![
            ("model.embed_tokens.weight".to_owned(), vocabulary, width),
            ("model.norm.weight".to_owned(), 1, width),
        ];
        for layer in 0..self.layers {
            let matrices = [
                ("self_attn.q_proj", width, width),
                ("self_attn.k_proj", kv, width),
                ("self_attn.v_proj", kv, width),
                ("self_attn.o_proj", width, width),
                ("mlp.gate_proj", ffn, width),
                ("mlp.up_proj", ffn, width),
                ("mlp.down_proj", width, ffn),
                ("input_layernorm", 1, width),
                ("post_attention_layernorm", 1, width),
            ];
            tensors.extend(matrices.map(|(name, rows, columns)| {
                (format!("model.layers.{layer}.{name}.weight"), rows, columns)
            }));
        }
        tensors
    }

    fn config(&self) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "vocab_size": self.vocabulary,
            "hidden_size": self.width,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "intermediate_size": self.ffn,
            "max_position_embeddings": self.context,
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": true,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "torch_dtype": "float32",
        })
    }
}

/// Writes a model of `shape` whose tokenizer is learnt from `texts`; the weights follow from `seed`. Its card names the
/// licence, an SPDX expression, if there is one; it has a chat template if it is to learn `chats`.
///
/// # Errors
/// The texts are too few for the vocabulary, or a file cannot be written.
pub fn write(
    shape: &Shape,
    texts: &[String],
    chats: bool,
    seed: u64,
    licence: Option<&str>,
    folder: &Path,
) -> Result<()> {
    let (tokenizer, weights) = (tokenizer(shape.vocabulary, texts)?, weights(shape, seed)?);
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let save = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).with_context(|| path.display().to_string())
    };
    save("tokenizer.json", &tokenizer)?;
    save("model.safetensors", &weights)?;
    save(
        "config.json",
        serde_json::to_string_pretty(&shape.config())?.as_bytes(),
    )?;
    if let Some(licence) = licence {
        save(
            "README.md",
            format!("---\nlicense: {licence}\n---\n").as_bytes(),
        )?;
    }
    let tokens = json!({
        "bos_token": SPECIAL[0],
        "eos_token": SPECIAL[0],
        "add_bos_token": true,
        "chat_template": chats.then_some(TEMPLATE),
    });
    save(
        "tokenizer_config.json",
        serde_json::to_string_pretty(&tokens)?.as_bytes(),
    )
}

/// A byte-level BPE of exactly `vocabulary` tokens, as `tokenizer.json`.
///
/// Merges are learnt within words, so that none crosses from a word to the next, and text need not be split into words
/// before it is merged: a microcontroller reads it without Unicode's tables.
fn tokenizer(vocabulary: usize, texts: &[String]) -> Result<Vec<u8>> {
    let special = SPECIAL.map(|name| AddedToken::from(name.to_owned(), true));
    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(vocabulary)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(special.to_vec())
        .build();
    let failed = |e: tokenizers::Error| anyhow!("tokenizer: {e}");
    let [words, bytes] = [true, false].map(|split| ByteLevel::new(false, true, split));
    let mut tokenizer = TokenizerBuilder::<
        BPE,
        NormalizerWrapper,
        ByteLevel,
        PostProcessorWrapper,
        DecoderWrapper,
    >::new()
    .with_model(BPE::default())
    .with_normalizer(None)
    .with_pre_tokenizer(Some(words))
    .with_post_processor(None)
    .with_decoder(Some(bytes.into()))
    .build()
    .map_err(failed)?;
    tokenizer
        .train(&mut trainer, texts.iter())
        .map_err(failed)?;
    tokenizer.with_pre_tokenizer(Some(bytes));
    let found = tokenizer.get_vocab_size(true);
    if found != vocabulary {
        bail!(
            "the texts give a vocabulary of {found} tokens, the shape has {vocabulary}: give more text, or a smaller shape where there is one"
        );
    }
    Ok(tokenizer.to_string(false).map_err(failed)?.into_bytes())
}

/// Normal weights; those that add to the residual stream are smaller by the root of how often that happens.
fn weights(shape: &Shape, seed: u64) -> Result<Vec<u8>> {
    let mut data = BTreeMap::new();
    for (name, rows, columns) in shape.tensors() {
        let residual = name.contains("o_proj") || name.contains("down_proj");
        let deviation = if residual {
            DEVIATION / (2.0 * shape.layers as f32).sqrt()
        } else {
            DEVIATION
        };
        let mut random = Random::new(seed, &name);
        let bytes: Vec<u8> = (0..rows * columns)
            .flat_map(|_| {
                if rows == 1 {
                    1.0_f32
                } else {
                    random.normal(deviation)
                }
                .to_le_bytes()
            })
            .collect();
        let sizes = if rows == 1 {
            vec![columns]
        } else {
            vec![rows, columns]
        };
        data.insert(name, (sizes, bytes));
    }
    let views: Vec<(&String, TensorView<'_>)> = data
        .iter()
        .map(|(name, (sizes, bytes))| {
            Ok((name, TensorView::new(Dtype::F32, sizes.clone(), bytes)?))
        })
        .collect::<Result<_>>()?;
    Ok(serialize(views, None)?)
}
