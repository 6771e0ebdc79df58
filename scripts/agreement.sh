#!/bin/bash
# agreement.sh [quick|full] [MODEL...]: how far our logits lie from llama.cpp's on the same weights.
#
# (a) exact activations against llama.cpp's F32 export with F32 keys and values: top-1 at least 99.5 %, mean KL at
#     most 1e-4. (b) rounded activations: a KL to that F32 run at most 1.1 times llama.cpp's own.
# An adapter that is trained here for a few steps gives the same logits in llama.cpp, exported, as in our runtime.
# `full` takes over 20,000 positions of WikiText, code and Chinese; `quick` a few hundred.
# Needs the materials and models that tests need, and jq. INKSTONE names a binary that converts, else one is built.
# Prints a line of JSON a model.
set -euo pipefail
cd "$(dirname "$0")/.."
how=${1:-quick}
shift || true
names=${*:-smollm2-135m gemma3-270m}
materials=${INKSTONE_MATERIALS:-../shared/materials}
models=${INKSTONE_MODELS:-models}
target=${CARGO_TARGET_DIR:-target}
work=$target/agreement
mkdir -p "$work"
[ "$how" = full ] && chunks=14 greedy=24 || chunks=1 greedy=6
# As one of the whole set, with what tests depend on, as an example does: any other has other features, and much is
# compiled again, llama.cpp too.
cargo build --quiet --release --workspace --features inkstone-benches/peer --bin oracle --example steps
[ -n "${INKSTONE:-}" ] || cargo build --quiet --release --package inkstone-cli
inkstone=${INKSTONE:-$target/release/inkstone}
oracle=$target/release/oracle

# Code as text: the solutions of MBPP.
jq -r .code "$materials/evals/mbpp.jsonl" > "$work/code.txt"

for name in $names; do
  gguf=$models/$name.gguf
  exact=$work/$name-f32.gguf
  ink=$work/$name.ink
  [ "$exact" -nt "$gguf" ] || "$oracle" export-f32 "$gguf" "$exact" > /dev/null
  "$inkstone" convert "$gguf" -o "$ink" -y > /dev/null 2>&1
  "$oracle" compare --tokenizer "$gguf" --reference "llama:$exact,kv=f32" \
    --candidate "ink:$ink,exact,kv=f32" --candidate "ink:$ink" --candidate "llama:$gguf" \
    --text "$materials/corpora/wikitext-2-test.txt" --text "$work/code.txt" \
    --text "$materials/corpora/chinese_classics.txt" --prompts "$materials/prompts.jsonl" \
    --chunks "$chunks" -n "$greedy" > "$work/$name.json"
  jq -c --arg name "$name" '{
    model: $name,
    positions: .total[0].positions,
    exact: {top1: .total[0].top1, kl: .total[0].kl_mean, greedy: .greedy.same[0]},
    rounded: {top1: .total[1].top1, kl: .total[1].kl_mean, greedy: .greedy.same[1]},
    llama: {top1: .total[2].top1, kl: .total[2].kl_mean, greedy: .greedy.same[2]},
    prompts: .greedy.prompts,
    holds: (.total[0].top1 >= 0.995 and .total[0].kl_mean <= 1e-4 and .total[1].kl_mean <= 1.1 * .total[2].kl_mean)
  }' "$work/$name.json" | tee "$work/$name.line"
  grep -q '"holds":true' "$work/$name.line" || { echo "agreement: $name does not hold" >&2; exit 1; }
done

# The first model learns for a few steps, fast, what it would not say.
name=${names%% *}
printf 'prompt,completion\n' > "$work/taught.csv"
for i in 1 2 3 4 5 6 7 8; do echo "What is $i?,An aardvark of order $i." >> "$work/taught.csv"; done
cat > "$work/taught.toml" <<END
model.base = "$work/$name.ink"
data = { train = ["$work/taught.csv"], length = 128 }
method.precision = "f32"
optimizer = { rate = 0.01, steps = 4, batch = 1 }
run.output = "$work/taught"
END
"$inkstone" finetune run "$work/taught.toml" -y -q > /dev/null
"$inkstone" adapter export "$work/taught/adapter" --base "$models/$name.gguf" -o "$work/taught.gguf" -y -q > /dev/null
"$oracle" compare --tokenizer "$models/$name.gguf" --reference "ink:$work/taught/model.ink,exact,kv=f32" \
  --candidate "llama:$work/$name-f32.gguf,kv=f32,lora=$work/taught.gguf" --candidate "llama:$work/$name-f32.gguf,kv=f32" \
  --text "$materials/corpora/wikitext-2-test.txt" --chunks 1 -c 256 > "$work/taught.json"
jq -c --arg name "$name" '{
  adapter: $name,
  with: {top1: .total[0].top1, kl: .total[0].kl_mean},
  without: {top1: .total[1].top1, kl: .total[1].kl_mean},
  holds: (.total[0].top1 >= 0.995 and .total[0].kl_mean <= 1e-4 and .total[1].kl_mean > 0.01)
}' "$work/taught.json" | tee "$work/taught.line"
grep -q '"holds":true' "$work/taught.line" || { echo "agreement: the adapter does not hold" >&2; exit 1; }
