#!/bin/bash
# everywhere.sh [--build]: every target that can be emulated here computes what this machine computes.
#
# Builds `inkstone-proof` for 64-bit Arm, WebAssembly and the boards of firmware-examples/boards.txt, then runs the test
# `everywhere` with them. --build stops before that. Needs qemu-user, qemu-system-arm, qemu-system-riscv32 and node.
set -eu
cd "$(dirname "$0")/.."
dir=${CARGO_TARGET_DIR:-target}/cross
scripts/setup-cross.sh "$dir"
dir=$(cd "$dir" && pwd)
targets=$dir/everywhere
mkdir -p "$targets"
(
  . "$dir/cross.env"
  export CARGO_TARGET_DIR=$dir/target
  build="cargo build --quiet --locked --profile emulated"
  $build $CROSS_STD --target aarch64-unknown-linux-gnu \
    --package inkstone-proof --example proof
  cp "$dir/target/aarch64-unknown-linux-gnu/emulated/examples/proof" "$targets/aarch64"
  for kind in plain simd128; do
    [ $kind = plain ] || export RUSTFLAGS="-Ctarget-feature=+simd128"
    $build $CROSS_CORE --target wasm32-unknown-unknown --package inkstone-proof --no-default-features --example wasm
    cp "$dir/target/wasm32-unknown-unknown/emulated/examples/wasm.wasm" "$targets/$kind.wasm"
  done
)
export CROSS_DIR=$dir PROFILE=dev
for board in $(awk '/^[a-z]/ {print $1}' firmware-examples/boards.txt); do
  firmware-examples/run.sh --build "$board" selftest
  cp "$dir/firmware/$board-selftest" "$targets/"
done
[ "${1:-}" != --build ] || exit 0
export INKSTONE_TARGETS=$targets INKSTONE_REQUIRE=${INKSTONE_REQUIRE:+$INKSTONE_REQUIRE,}targets
# As one of the set that is built as a whole: alone, its package has other features, and much is compiled again.
cargo test --quiet --locked --release --test everywhere
