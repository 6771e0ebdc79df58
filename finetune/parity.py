"""One step, a curve and a race against PyTorch + PEFT on the same weights: parity.py GGUF MODEL.ink PARITY [FOLDER].

GGUF is a Llama model, MODEL.ink the same converted with `keep`, PARITY the example of this crate, built. Needs torch,
transformers, peft and gguf. Prints what `It is done when` of the trainer asks for.
"""
import json, os, subprocess, sys, time

import torch
from gguf import GGUFReader, dequantize
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

gguf, ink, parity = sys.argv[1:4]
folder = sys.argv[4] if len(sys.argv) > 4 else "parity"
os.makedirs(folder, exist_ok=True)
torch.set_num_threads(2)
torch.manual_seed(1)
reader = GGUFReader(gguf)
field = lambda name: reader.fields["llama." + name].contents()
heads, kv_heads = field("attention.head_count"), field("attention.head_count_kv")
layers, width = field("block_count"), field("embedding_length")
tensors = {t.name: torch.from_numpy(dequantize(t.data, t.tensor_type).copy()).float() for t in reader.tensors}

NAMES = {"attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj",
         "attn_output": "self_attn.o_proj", "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj",
         "ffn_down": "mlp.down_proj", "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm"}
OURS = {"self_attn.q_proj": "q", "self_attn.k_proj": "k", "self_attn.v_proj": "v", "self_attn.o_proj": "o",
        "mlp.gate_proj": "gate", "mlp.up_proj": "up", "mlp.down_proj": "down",
        "input_layernorm": "mixer_norm", "post_attention_layernorm": "ffn_norm"}


def halves(w, n):
    """GGUF turns neighbours, transformers halves."""
    return w.reshape(n, w.shape[0] // n // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


state = {"model.embed_tokens.weight": tensors["token_embd.weight"], "model.norm.weight": tensors["output_norm.weight"]}
for name, tensor in tensors.items():
    if name.startswith("blk."):
        _, layer, kind, _ = name.split(".")
        tensor = halves(tensor, heads) if kind == "attn_q" else halves(tensor, kv_heads) if kind == "attn_k" else tensor
        state[f"model.layers.{layer}.{NAMES[kind]}.weight"] = tensor


def build(dtype=torch.float32, attention="sdpa"):
    config = LlamaConfig(vocab_size=state["model.embed_tokens.weight"].shape[0], hidden_size=width,
                         intermediate_size=field("feed_forward_length"), num_hidden_layers=layers,
                         num_attention_heads=heads, num_key_value_heads=kv_heads, tie_word_embeddings=True,
                         rms_norm_eps=field("attention.layer_norm_rms_epsilon"),
                         rope_parameters={"rope_type": "default", "rope_theta": field("rope.freq_base")},
                         max_position_embeddings=field("context_length"), attn_implementation=attention)
    model = LlamaForCausalLM(config)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and missing in ([], ["lm_head.weight"]), (missing, unexpected)
    model.tie_weights()
    return model.to(dtype)


def with_lora(model, init=None):
    targets = [module.split(".")[1] for module in OURS if "proj" in module]
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=targets, task_type="CAUSAL_LM"))
    if init is None:
        generator = torch.Generator().manual_seed(2)
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.data = torch.randn(parameter.shape, generator=generator) * 0.01
        model.save_pretrained(f"{folder}/adapter")
    return model


def ours(name):
    """What we call a parameter of transformers."""
    name = name.replace("base_model.model.", "").replace(".default", "")
    if "lora_" in name:
        name = name.replace(".lora_A.weight", ".lora_a").replace(".lora_B.weight", ".lora_b")
    name = name.removesuffix(".weight").removeprefix("model.")
    if name == "embed_tokens":
        return "embed"
    if name == "norm":
        return "final_norm"
    for theirs, mine in OURS.items():
        name = name.replace(theirs, mine)
    return name


text = open(os.environ["INKSTONE_MATERIALS"] + "/corpora/tinystories_sample.txt", "rb").read()
length = int(os.environ.get("LENGTH", 512))
sequences = [[(b * 7 + i * 13) % 40000 + 100 for i, b in enumerate(text[s * length:(s + 1) * length])] for s in range(8)]
sequences = [s[: length] for s in sequences]
json.dump(sequences, open(f"{folder}/tokens.json", "w"))


def train(model, steps, dtype=torch.float32):
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0)
    losses, seconds, gradients = [], [], None
    for step in range(steps):
        start = time.time()
        tokens = torch.tensor([sequences[step % len(sequences)]])
        loss = model(input_ids=tokens, labels=tokens).loss
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            gradients = {ours(n): p.grad.float().clone() for n, p in model.named_parameters() if p.grad is not None}
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(loss.item())
        seconds.append(time.time() - start)
    return losses, seconds, gradients


def run_ours(method, steps, **env):
    out = subprocess.run([parity, ink, method, folder, str(steps)], check=True, capture_output=True, text=True,
                         env={**os.environ, **env}).stdout
    losses, seconds = zip(*json.load(open(f"{folder}/losses.json")))
    return losses, seconds, int(out.split()[1]) / 1024


def compare(method, steps):
    model = build() if method == "full" else with_lora(build())
    their_losses, their_seconds, theirs = train(model, steps)
    losses, seconds, _ = run_ours(method, steps)
    mine = load_file(f"{folder}/gradients.safetensors")
    worst = max(((mine[n].reshape(g.shape) - g).norm() / g.norm()).item() for n, g in theirs.items())
    assert set(mine) == set(theirs), set(mine) ^ set(theirs)
    curve = max(abs(a - b) / b for a, b in zip(losses, their_losses))
    print(json.dumps({"method": method, "tensors": len(mine), "worst_gradient": worst, "steps": steps,
                      "worst_loss": curve, "first": [losses[0], their_losses[0]], "last": [losses[-1], their_losses[-1]]}))
    if method != "full" and "INKSTONE" in os.environ:
        adapted(PeftModel.from_pretrained(build(), f"{folder}/trained"))


def adapted(model):
    """The adapter that we wrote, in PEFT over F32 weights and in our runtime with f32 activations and keys."""
    inkstone, taught, tokens = os.environ["INKSTONE"], f"{folder}/taught.ink", sequences[0][:256]
    subprocess.run([inkstone, "adapter", "attach", ink, f"{folder}/trained", "-o", taught, "-q"], check=True)
    out = subprocess.run([inkstone, "logits", taught, "--tokens", ",".join(map(str, tokens)), "--all", "--json",
                          "--activations", "f32", "--kv", "f32"], check=True, capture_output=True, text=True).stdout
    mine = torch.tensor(json.loads(out)["logits"])
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor([tokens])).logits[0]
    print(json.dumps({"logits": list(mine.shape), "worst_logit": (mine - theirs).abs().max().item(),
                      "largest_logit": theirs.abs().max().item()}))


def peer(dtype, mode):
    """Median seconds of a step and the most memory, in a process of its own: this one, told so by its environment."""
    steps = int(os.environ.get("STEPS", 5))
    model = with_lora(build(getattr(torch, dtype)))
    if mode == "compile":
        model = torch.compile(model)
    _, seconds, _ = train(model, steps + 2)
    most = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    print(json.dumps([sorted(seconds[2:])[steps // 2], int(most.split()[1]) / 1024]))


def race(rounds, steps):
    """Ours and theirs in turn, each in a process of its own; tokens a second and MB."""
    with_lora(build())  # writes the adapter that all begin with
    # A processor without bf16 multiplies it so slowly that nobody would train in it.
    bf16 = "avx512_bf16" in open("/proc/cpuinfo").read()
    precisions = ["f32"] + ["bf16"] * bf16 + ["int8"]
    entries = [(f"ours {method} {precision}", None) for precision in precisions for method in ("lora", "qlora")]
    entries += [(f"torch {dtype} {mode}", f"{dtype} {mode}") for dtype in ["float32"] + ["bfloat16"] * bf16
                for mode in os.environ.get("MODES", "eager compile").split()]
    seen = {name: [] for name, _ in entries}
    for _ in range(rounds):
        for name, peer in entries:
            if peer is None:
                _, method, precision = name.split()
                _, seconds, most = run_ours(method, steps + 2, PRECISION=precision)
                seen[name].append((sorted(seconds[2:])[steps // 2], most))
                print(name, seen[name][-1], file=sys.stderr, flush=True)
                continue
            out = subprocess.run([sys.executable, "-W", "ignore", *sys.argv], capture_output=True, text=True,
                                 env={**os.environ, "PEER": peer, "STEPS": str(steps)})
            if out.returncode == 0:
                seen[name].append(tuple(json.loads(out.stdout.splitlines()[-1])))
            print(name, seen[name][-1:], out.stderr[-200:] if out.returncode else "", file=sys.stderr, flush=True)
    for name, runs in seen.items():
        rates = [length / seconds for seconds, _ in runs]
        print(json.dumps({"who": name, "tokens_per_second": [round(r) for r in rates],
                          "most_mb": [round(most) for _, most in runs]}))


if __name__ == "__main__":
    if "PEER" in os.environ:
        peer(*os.environ["PEER"].split())
    elif "RACE" in os.environ:
        race(int(os.environ["RACE"]), int(os.environ.get("STEPS", 5)))
    else:
        compare("lora", int(os.environ.get("STEPS", 50)))
        compare("full", 3)
