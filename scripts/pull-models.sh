#!/bin/bash
# pull-models.sh [DIR]: puts the models that tests need into DIR, as links into the cache of `inkstone pull`.
#
# DIR is INKSTONE_MODELS, or models/ of the workspace, where none is given. INKSTONE names a binary, else one is
# built. INKSTONE_ACCEPT_LICENSE=gemma consents to that licence; without it, pull asks. Needs jq.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${1:-${INKSTONE_MODELS:-models}}
mkdir -p "$dir"
inkstone() {
  if [ -n "${INKSTONE:-}" ]; then "$INKSTONE" "$@"; else cargo run -q --release -p inkstone-cli -- "$@"; fi
}
for model in smollm2-135m gemma3-270m; do
  [ ! -s "$dir/$model.gguf" ] || continue
  path=$(inkstone --json pull "$model" | jq -r .path)
  ln -sf "$path" "$dir/$model.gguf"
done
ls -lL "$dir"
