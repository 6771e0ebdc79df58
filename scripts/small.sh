#!/bin/bash
# small.sh MODEL.ink: the C example with the library in it, as small as it gets here; prints its size and lets it answer.
#
# Profile `release-small`, no grammars, no chat templates, one piece of code for all shapes. Where scripts/setup-cross.sh
# builds the standard library from source, that is small too and has no backtraces.
set -eu
cd "$(dirname "$0")/.."
model=${1:?usage: small.sh MODEL.ink}
dir=${CARGO_TARGET_DIR:-target}/cross
scripts/setup-cross.sh "$dir" > /dev/null
. "$dir/cross.env"
host=$(rustc -vV | sed -n 's/^host: //p')
build= flags=
if [ -n "$CROSS_STD" ]; then
  build="-Zbuild-std=std,panic_unwind -Zbuild-std-features=optimize_for_size"
  flags="-Zlocation-detail=none -Zfmt-debug=none"
fi
RUSTFLAGS=$flags CARGO_TARGET_DIR=$dir/small cargo build --quiet --locked --profile release-small $build \
  --target "$host" --package inkstone-capi --no-default-features --features small
program=$dir/small/answer
gcc -Os -std=c99 -Iruntime/capi/include -o "$program" examples/c/answer.c \
  "$dir/small/$host/release-small/libinkstone_c.a" -lpthread -ldl -lm -no-pie -s -Wl,--gc-sections,-z,noseparate-code
bytes=$(wc -c < "$program")
echo "$program: $bytes bytes"
# Where the standard library is as rustup brings it, nobody promises anything.
[ -z "$CROSS_STD" ] || [ "$bytes" -le 1200000 ] || { echo "small: over 1.2 MB" >&2; exit 1; }
"$program" "$model" "Once upon a time" | head -c 200
echo
