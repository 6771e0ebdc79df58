#!/bin/bash
# build.sh: the C library as WebAssembly, beside this file as inkstone.wasm. PROFILE names a profile of Cargo.toml.
set -eu
cd "$(dirname "$0")/../.."
profile=${PROFILE:-release}
dir=${CROSS_DIR:-${CARGO_TARGET_DIR:-target}/cross}
scripts/setup-cross.sh "$dir" > /dev/null
. "$dir/cross.env"
export CARGO_TARGET_DIR=$dir/target
cargo build --quiet --locked --profile "$profile" $CROSS_WASI --target wasm32-wasip1 --package inkstone-capi
cp "$dir/target/wasm32-wasip1/$profile/inkstone_c.wasm" examples/web/inkstone.wasm
echo "examples/web/inkstone.wasm: $(wc -c < examples/web/inkstone.wasm) bytes"
