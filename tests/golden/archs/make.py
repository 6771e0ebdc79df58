#!/usr/bin/env python3
"""Makes the tiny seeded models of this folder and their logits, by transformers in float32.

    pip install torch transformers safetensors numpy
    python3 make.py

One folder for each architecture: config.json, model.safetensors (BF16), tokenizer.json, golden.safetensors with
`tokens` and `logits` (one row per token). Norms and biases are drawn away from neutral. InternLM2's code is not in
transformers: its model is the llama one with queries, keys and values grouped as InternLM2's `wqkv` has them (for each
key head its query heads, then the key, then the value; from the published modeling_internlm2.py), so that the llama
golden is its golden too.
"""
import json, pathlib, shutil
import numpy, torch, transformers
from safetensors.torch import load_file, save_file

here = pathlib.Path(__file__).parent
VOCABULARY, WIDTH, FFN, HEADS, KV_HEADS = 264, 32, 48, 4, 2
common = dict(vocab_size=VOCABULARY, hidden_size=WIDTH, intermediate_size=FFN, num_attention_heads=HEADS,
              num_key_value_heads=KV_HEADS, num_hidden_layers=3, max_position_embeddings=128, bos_token_id=256,
              eos_token_id=257, pad_token_id=None, attention_dropout=0.0)
llama3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
MODELS = {
    "llama": transformers.LlamaConfig(**common, rope_theta=10000.0, tie_word_embeddings=False),
    "llama3": transformers.LlamaConfig(**common, rope_theta=500000.0, rope_scaling=llama3, tie_word_embeddings=True),
    "mistral": transformers.MistralConfig(**common, sliding_window=16, head_dim=8, tie_word_embeddings=False),
    "qwen2": transformers.Qwen2Config(**common, rope_theta=1000000.0, tie_word_embeddings=True),
    "qwen3": transformers.Qwen3Config(**common, head_dim=16, tie_word_embeddings=True),
    "gemma3": transformers.Gemma3TextConfig(**{**common, "num_hidden_layers": 6}, head_dim=16, sliding_window=16,
        query_pre_attn_scalar=24, rope_theta=1000000.0, rope_local_base_freq=10000.0, sliding_window_pattern=3,
        hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=True),
}


def byte_tokenizer(to):
    """256 byte tokens in GPT-2's alphabet, no merges, and a few specials."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {b: chr(b) for b in plain}
    for n, b in enumerate(b for b in range(256) if b not in letters):
        letters[b] = chr(256 + n)
    specials = ["<s>", "</s>"] + [f"<extra_{i}>" for i in range(VOCABULARY - 258)]
    added = [dict(id=256 + i, content=t, single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
             for i, t in enumerate(specials)]
    level = dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True)
    tokenizer = dict(version="1.0", truncation=None, padding=None, added_tokens=added, normalizer=None,
                     pre_tokenizer=level, post_processor=None, decoder=level,
                     model=dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None,
                                end_of_word_suffix=None, fuse_unk=False, byte_fallback=False, ignore_merges=False,
                                vocab={**{letters[b]: b for b in range(256)},
                                       **{t: 256 + i for i, t in enumerate(specials)}}, merges=[]))
    (to / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False))
    (to / "tokenizer_config.json").write_text(json.dumps(dict(bos_token="<s>", eos_token="</s>", add_bos_token=False)))


def weights(model, seed):
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.named_parameters():
        noise = torch.randn(tensor.shape, generator=generator)
        gain = "norm" in name
        scale = 0.2 if gain else 0.3 if name.endswith("bias") else 1.2 / WIDTH**0.5
        tensor.data = (noise * scale + (1.0 if gain and "gemma" not in model.config.model_type else 0.0)).bfloat16().float()


def main():
    tokens = torch.tensor([[256] + [(i * 37 + i * i * 11) % 256 for i in range(1, 40)]])
    for seed, (name, config) in enumerate(MODELS.items()):
        to = here / name
        shutil.rmtree(to, ignore_errors=True)
        to.mkdir()
        config._attn_implementation = "eager"
        # Made in float32, so that Gemma's embedding scale is not rounded to BF16 on the way, as llama.cpp has it too.
        model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
        config.dtype = torch.bfloat16
        weights(model, seed)
        with torch.no_grad():
            logits = model(tokens).logits[0].contiguous()
        state = {k: v.bfloat16().contiguous() for k, v in model.state_dict().items()}
        if config.tie_word_embeddings:
            state.pop("lm_head.weight", None)
        save_file(state, to / "model.safetensors", metadata=dict(format="pt"))
        save_file(dict(tokens=tokens[0].int(), logits=logits), to / "golden.safetensors")
        (to / "config.json").write_text(config.to_json_string(use_diff=False))
        byte_tokenizer(to)
        print(name, logits.abs().max().item())
    internlm2()


def internlm2():
    source, to = here / "llama", here / "internlm2"
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir()
    old = load_file(source / "model.safetensors")
    group, d = HEADS // KV_HEADS, WIDTH // HEADS
    new = {"model.tok_embeddings.weight": old["model.embed_tokens.weight"], "model.norm.weight": old["model.norm.weight"],
           "output.weight": old["lm_head.weight"]}
    names = {"self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1", "mlp.down_proj": "feed_forward.w2",
             "mlp.up_proj": "feed_forward.w3", "input_layernorm": "attention_norm", "post_attention_layernorm": "ffn_norm"}
    for layer in range(3):
        at = f"model.layers.{layer}."
        q, k, v = (old[f"{at}self_attn.{n}_proj.weight"] for n in "qkv")
        parts = [q.reshape(KV_HEADS, group, d, WIDTH), k.reshape(KV_HEADS, 1, d, WIDTH), v.reshape(KV_HEADS, 1, d, WIDTH)]
        new[at + "attention.wqkv.weight"] = torch.cat(parts, 1).reshape(-1, WIDTH).contiguous()
        for theirs, ours in names.items():
            new[f"{at}{ours}.weight"] = old[f"{at}{theirs}.weight"]
    save_file(new, to / "model.safetensors", metadata=dict(format="pt"))
    config = dict(architectures=["InternLM2ForCausalLM"], model_type="internlm2", vocab_size=VOCABULARY,
                  hidden_size=WIDTH, intermediate_size=FFN, num_hidden_layers=3, num_attention_heads=HEADS,
                  num_key_value_heads=KV_HEADS, rms_norm_eps=1e-6, max_position_embeddings=128, rope_theta=10000,
                  rope_scaling=None, bias=False, hidden_act="silu", tie_word_embeddings=False, bos_token_id=256,
                  eos_token_id=257)
    (to / "config.json").write_text(json.dumps(config, indent=2))
    for name in ["tokenizer.json", "tokenizer_config.json", "golden.safetensors"]:
        shutil.copy(source / name, to / name)


main()
