#!/bin/bash
# android.sh: the C library and the bindings compile for 64-bit Android, and what is linked fits pages of 16 KiB.
#
# With ANDROID_NDK_HOME the NDK links. Without, this machine's linker does, against empty libraries in place of
# Android's: code, segments and imports are those of the target, but what comes out is to be looked at, not to be run.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${CARGO_TARGET_DIR:-target}/cross
scripts/setup-cross.sh "$dir" > /dev/null
. "$dir/cross.env"
export CARGO_TARGET_DIR=$dir/target
triple=aarch64-linux-android
if [ -n "${ANDROID_NDK_HOME:-}" ]; then
  export CARGO_TARGET_AARCH64_LINUX_ANDROID_LINKER
  CARGO_TARGET_AARCH64_LINUX_ANDROID_LINKER=$(ls "$ANDROID_NDK_HOME"/toolchains/llvm/prebuilt/*/bin/${triple}24-clang)
  linked="the NDK"
else
  stubs=$dir/android-stubs
  mkdir -p "$stubs"
  for name in c m dl log gcc unwind; do
    [ -e "$stubs/lib$name.a" ] || ar rcs "$stubs/lib$name.a"
  done
  export CARGO_TARGET_AARCH64_LINUX_ANDROID_LINKER=aarch64-linux-gnu-gcc
  export CARGO_TARGET_AARCH64_LINUX_ANDROID_RUSTFLAGS="-Clink-arg=-nostdlib -Clink-arg=-L$(cd "$stubs" && pwd)"
  linked="empty libraries, no NDK here: not run"
fi
# Unoptimised, for it is not to be run.
cargo build --quiet --locked $CROSS_STD --target $triple --no-default-features --features inkstone-capi/small,inkstone-bindings/small \
  --config profile.dev.opt-level=0 --config profile.dev.debug=false --package inkstone-capi --package inkstone-bindings
for name in inkstone_c inkstone_bindings; do
  library=$CARGO_TARGET_DIR/$triple/debug/lib$name.so
  aligned=$(readelf --program-headers --wide "$library" | awk '$1 == "LOAD" {print $NF}' | sort -u)
  [ "$aligned" = 0x4000 ] || { echo "android: segments of $library begin at multiples of" $aligned >&2; exit 1; }
  readelf --file-header "$library" | grep -q AArch64
  echo "android: lib$name.so: segments at multiples of 16 KiB (linked with $linked)"
done
