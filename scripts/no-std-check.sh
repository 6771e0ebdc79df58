#!/bin/bash
# no-std-check.sh [TARGET...]: the crates of the inference path compile where there is no standard library.
set -eu
cd "$(dirname "$0")/.."
targets=${*:-thumbv7em-none-eabihf riscv32imc-unknown-none-elf wasm32-unknown-unknown}
dir=${CARGO_TARGET_DIR:-target}/cross
scripts/setup-cross.sh "$dir"
. "$dir/cross.env"
export CARGO_TARGET_DIR=$dir/target
for target in $targets; do
  for crate in quant format model text cpu; do
    cargo check --quiet $CROSS_CORE --target "$target" --package "inkstone-$crate" --no-default-features
  done
  cargo check --quiet $CROSS_CORE --target "$target" --package inkstone-text --no-default-features --features unicode
  echo "no_std: $target"
done
