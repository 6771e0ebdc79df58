#!/bin/bash
# qemu-aarch64.sh: the hashes of logits, computed by an emulated 64-bit Arm, are those this machine computes.
# Leaves the example `hash` built for that target.
set -eu
cd "$(dirname "$0")/.."
dir=${CARGO_TARGET_DIR:-target}/cross
scripts/setup-cross.sh "$dir"
. "$dir/cross.env"
export CARGO_TARGET_DIR=$dir/target
arguments="--quiet --release $CROSS_STD --target aarch64-unknown-linux-gnu"
cargo build $arguments --package inkstone-engine --example hash
INKSTONE_EMULATED=1 cargo test $arguments --package inkstone-tests --test hashes
