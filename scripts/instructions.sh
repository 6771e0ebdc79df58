#!/bin/bash
# instructions.sh [--write]: instructions that a token of SmolLM2-135M takes on one thread, counted by callgrind.
#
# Compared, to 2 %, with benches/record/instructions.txt; --write renews that file. Two lengths of each run are
# counted: their difference is free of starting and opening. valgrind has no AVX-512, so the kernels are AVX2's.
# Needs valgrind, the model in INKSTONE_MODELS, and the release binary (INKSTONE), else one is built.
set -euo pipefail
cd "$(dirname "$0")/.."
record=benches/record/instructions.txt
target=${CARGO_TARGET_DIR:-target}
cargo build --quiet --release --package inkstone-engine --example steps
[ -n "${INKSTONE:-}" ] || cargo build --quiet --release --package inkstone-cli
inkstone=${INKSTONE:-$target/release/inkstone}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$inkstone" -q convert "${INKSTONE_MODELS:-models}/smollm2-135m.gguf" --weights q4 -o "$work/model.ink" > /dev/null

# counted PREFILL DECODE: instructions of the whole process.
counted() {
  local log=$work/$1-$2.log
  valgrind --tool=callgrind --callgrind-out-file=/dev/null "$target/release/examples/steps" "$work/model.ink" "$1" "$2" \
    > "$log" 2>&1 || { cat "$log" >&2; return 1; }
  awk '/Collected *:/ {print $NF}' "$log"
}

# The four runs in turn, two at a time.
counted 16 2 > "$work/short" & counted 16 8 > "$work/long" & wait -n && wait -n
counted 48 2 > "$work/first" & counted 112 2 > "$work/more" & wait -n && wait -n
seen=$(
  echo "decode $((($(< "$work/long") - $(< "$work/short")) / 6))"
  echo "prefill $((($(< "$work/more") - $(< "$work/first")) / 64))"
)
printf '%s\n' "$seen"
if [ "${1:-}" = --write ]; then
  printf '%s\n' "$seen" > "$record"
  exit
fi
join "$record" <(printf '%s\n' "$seen") | awk '
  { change = 100 * ($3 / $2 - 1); printf "%s: %+.2f %%\n", $1, change }
  change > 2 || change < -2 { wrong = 1 }
  END {
    if (NR != 2) { print "instructions: the record lacks a row"; exit 1 }
    if (wrong) { print "instructions: changed by over 2 %; if that is meant, run scripts/instructions.sh --write"; exit 1 }
  }'
