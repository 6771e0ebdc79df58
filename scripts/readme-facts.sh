#!/bin/bash
# readme-facts.sh [--write]: what the README claims, seen now: an answer, and hashes of logits on several targets.
#
# Every number is exact, so the README must hold these very lines; without --write they are compared with it.
# Needs the release binary (INKSTONE), which pulls the model, and what scripts/everywhere.sh has seen.
set -eu
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
inkstone=${INKSTONE:-$target/release/inkstone}
seen=$target/cross/everywhere/seen.txt
prompt="Write one sentence about tea."
[ -s "$seen" ] || { echo "readme-facts: $seen is absent; run scripts/everywhere.sh" >&2; exit 1; }

# hash MODEL TARGET...: the one hash that all instruction sets of the targets gave.
hash() {
  local model=$1
  shift
  awk -F '\t' -v model="$model" -v targets=" $* " '
    $1 == model { split($2, who, " "); if (index(targets, " " who[1] " ")) { hash[$3]; seen[who[1]] } }
    END {
      wanted = split(targets, unused, " ")
      if (length(hash) == 0 && length(seen) == 0) { print "–"; exit }
      if (length(hash) != 1 || length(seen) != wanted) { print "not one hash"; exit 1 }
      for (h in hash) printf "`%s…`\n", substr(h, 1, 19)
    }' "$seen"
}

# row NAME TARGET...
row() {
  local name=$1
  shift
  printf '| %s | %s | %s |\n' "$name" "$(hash "smollm2-135m q4 f16" "$@")" "$(hash "stories f16" "$@")"
}

facts() {
  printf '```\n'
  "$inkstone" -q run smollm2-135m "$prompt"
  printf '```\n\n*An unselected answer. 135M parameters: expect mistakes.*\n\n'
  printf '| BLAKE3 of the logits of 128 tokens | SmolLM2-135M | stories |\n|---|---|---|\n'
  row "x86-64" x86_64
  row "aarch64, emulated, all extensions" aarch64-max
  row "Cortex-A76, Cortex-A53, emulated" aarch64-a76 aarch64-a53
  row "WebAssembly, simd128" wasm-simd128
  row "WebAssembly" wasm
  row "Cortex-M4, M7, M33, M55, emulated" cortex-m4 cortex-m7 cortex-m33 cortex-m55
  row "RISC-V rv32imc, rv32imac, emulated" riscv32imc riscv32imac
}

# Replaces what stands between the marks of a file by the text on stdin.
between() { awk -v new="$(cat)" '/^<!-- facts/ {print; print new; skip = 1} /^<!-- \/facts/ {skip = 0} !skip' "$1"; }

facts=$(facts)
printf '%s\n' "$facts"
for file in README.md README.zh-CN.md; do
  if [ "${1:-}" = --write ]; then
    printf '%s\n' "$facts" | between "$file" > "$file.new"
    mv "$file.new" "$file"
  else
    printf '%s\n' "$facts" | between "$file" | diff - "$file"
  fi
done
