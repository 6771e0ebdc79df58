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
for target in $targets; do
  echo "== fuzz $target, $seconds s"
  cargo $nightly fuzz run "$target" -- -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 2>&1 |
    grep -E "^(Done|stat::|SUMMARY|==|artifact|ERROR|thread)" || { echo "fuzz-smoke: $target failed" >&2; exit 1; }
done
