#!/bin/bash
# fuzz-smoke.sh [SECONDS] [TARGET...]: every fuzz target for a while, beginning with the committed seeds.
# Needs cargo-fuzz, a C++ compiler and a nightly toolchain; without one, this toolchain's nightly features.
set -euo pipefail
cd "$(dirname "$0")/../tests/fuzz"
seconds=${1:-30}
shift || true
if ! rustup run nightly rustc --version > /dev/null 2>&1; then
  export RUSTC_BOOTSTRAP=1
  nightly=
else
  nightly=+nightly
fi
cargo run --quiet --bin seeds
targets=${*:-$(cargo $nightly fuzz list | grep -vx seeds)}
cargo $nightly fuzz build

# One target; its last words, and all of them where it fails.
smoke() {
  local log=${TMPDIR:-/tmp}/fuzz-$1-$$.log
  cargo $nightly fuzz run "$1" -- -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 > "$log" 2>&1 || {
    tail -n 60 "$log" >&2
    echo "fuzz-smoke: $1 failed" >&2
    return 1
  }
  echo "fuzz $1: $(grep '^Done' "$log")"
  rm -f "$log"
}
export -f smoke
export nightly seconds
printf '%s\n' $targets | xargs -P "$(nproc)" -I{} bash -c 'smoke {}'
