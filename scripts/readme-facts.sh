#!/bin/bash
# readme-facts.sh [--write]: what the README claims, seen now: an answer, and hashes of logits on several targets.
#
# Every number is exact, so the README must hold these very lines; without --write they are compared with it.
# Needs the release binary (INKSTONE), which pulls the model, and what scripts/qemu-aarch64.sh has built.
set -eu
cd "$(dirname "$0")/.."
inkstone=${INKSTONE:-${CARGO_TARGET_DIR:-target}/release/inkstone}
aarch64=${CARGO_TARGET_DIR:-target}/cross/target/aarch64-unknown-linux-gnu/release/examples/hash
prompt="Write one sentence about tea."
text="Convert once, and the same bits run anywhere."

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
file=$folder/model.ink
"$inkstone" -q convert smollm2-135m -o "$file" > /dev/null

hash() { "$inkstone" -q logits "$file" --text "$text" --all --hash "$@"; }
row() { printf '| %s | `%s` |\n' "$1" "$2"; }

facts() {
  printf '```\n'
  "$inkstone" -q run smollm2-135m "$prompt"
  printf '```\n\n*An unselected answer. 135M parameters: expect mistakes.*\n\n'
  printf '| logits of SmolLM2-135M after “%s” | BLAKE3 |\n|---|---|\n' "$text"
  for isa in avx512 avx2 portable; do
    row "x86-64, $isa" "$(INKSTONE_ISA=$isa hash)"
  done
  row "x86-64, portable, 1 thread, chunks of 7" "$(INKSTONE_ISA=portable hash --threads 1 --batch 7)"
  for cpu in max cortex-a53; do
    row "aarch64, $cpu, emulated" "$(qemu-aarch64-static -L /usr/aarch64-linux-gnu -cpu "$cpu" "$aarch64" "$file" "$text")"
  done
}

# Replaces what stands between the marks of a file by the text on stdin.
between() { awk -v new="$(cat)" '/^<!-- facts/ {print; print new; skip = 1} /^<!-- \/facts/ {skip = 0} !skip' "$1"; }

seen=$(facts)
printf '%s\n' "$seen"
for file in README.md README.zh-CN.md; do
  if [ "${1:-}" = --write ]; then
    printf '%s\n' "$seen" | between "$file" > "$file.new"
    mv "$file.new" "$file"
  else
    printf '%s\n' "$seen" | between "$file" | diff - "$file"
  fi
done
