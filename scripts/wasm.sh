#!/bin/bash
# wasm.sh: WebAssembly with a system computes what this machine computes: tests of the crates of the inference path, in
# Node.
#
# Kernels and small models on every instruction set of a module with simd128, the reader of files and the reference.
# What needs threads, or a folder for what passes, is left out by the tests themselves.
set -eu
cd "$(dirname "$0")/.."
dir=${CARGO_TARGET_DIR:-target}/cross
scripts/setup-cross.sh "$dir"
. "$dir/cross.env"
export CARGO_TARGET_DIR=$dir/target
# A program begins otherwise than a library.
export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS=${CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS/crt1-reactor/crt1-command}
export CARGO_TARGET_WASM32_WASIP1_RUNNER="node --no-warnings $PWD/scripts/wasi.mjs"
cargo test --quiet --locked --profile emulated ${CROSS_WASI:+$CROSS_WASI,test} --target wasm32-wasip1 \
  --package inkstone-quant --package inkstone-format --package inkstone-model --package inkstone-cpu "$@"
