#!/bin/bash
# qemu-aarch64.sh: an emulated 64-bit Arm computes what this machine computes, with every instruction set it has.
#
# Kernels are compared on three processors: one with all extensions, one with dot products, one with neither; small
# models of every format, and the machine code itself, on the first.
set -eu
cd "$(dirname "$0")/.."
dir=${CARGO_TARGET_DIR:-target}/cross
scripts/setup-cross.sh "$dir"
. "$dir/cross.env"
export CARGO_TARGET_DIR=$dir/target
arguments="--quiet --locked --profile emulated $CROSS_STD --target aarch64-unknown-linux-gnu"
QEMU_CPU=max cargo test $arguments --package inkstone-cpu
for cpu in cortex-a76 cortex-a53; do
  QEMU_CPU=$cpu cargo test $arguments --package inkstone-cpu --lib --test kernels
done
# What training multiplies with them.
QEMU_CPU=max cargo test $arguments --package inkstone-cpu --features train --test integers
