#!/bin/bash
# pull-models.sh [DIR]: puts the models that tests need into DIR (models/ of the workspace where none is given).
# Needs an `inkstone`: INKSTONE names one, else it is built. INKSTONE_ACCEPT is passed on as consent to licences.
set -eu
cd "$(dirname "$0")/.."
dir=${1:-${INKSTONE_MODELS:-models}}
mkdir -p "$dir"
inkstone() {
  if [ -n "${INKSTONE:-}" ]; then "$INKSTONE" "$@"; else cargo run -q --release -p inkstone-cli -- "$@"; fi
}
for model in smollm2-135m gemma3-270m; do
  [ -s "$dir/$model.gguf" ] || inkstone pull "$model" -o "$dir/$model.gguf" ${INKSTONE_ACCEPT:+--accept-license "$INKSTONE_ACCEPT"}
done
ls -l "$dir"
