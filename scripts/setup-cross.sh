#!/bin/bash
# setup-cross.sh [DIR]: makes other targets available; writes DIR/cross.env, to be sourced before cargo.
#
# Targets that rustup has installed are used as they are. Where they are absent, and rustup has no
# `rust-src` either, Debian's `rust-src` package of the compiler's own version is unpacked into DIR
# (nothing is installed) and cargo builds the standard library from it.
# After sourcing: `cargo build $CROSS_CORE --target T` (no_std) or `cargo test $CROSS_STD --target T`; WebAssembly with a
# system, `cargo build $CROSS_WASI --target wasm32-wasip1`, links a library of C from Debian where rustup has none.
set -eu
cd "$(dirname "$0")/.."
dir=${1:-${CARGO_TARGET_DIR:-target}/cross}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
env=$dir/cross.env.$$
targets="thumbv7em-none-eabihf thumbv8m.main-none-eabihf riscv32imc-unknown-none-elf riscv32imac-unknown-none-elf wasm32-unknown-unknown wasm32-wasip1 aarch64-unknown-linux-gnu aarch64-linux-android"
version=$(rustc --version | cut -d' ' -f2)

installed() {
  local sysroot target
  sysroot=$(rustc --print sysroot)
  for target in $targets; do
    [ -d "$sysroot/lib/rustlib/$target/lib" ] || return 1
  done
}

# The machine's own Debian mirror, another suite, apt state of its own: the system's lists stay as they are.
unpack_debian_source() {
  local apt=$dir/apt package options
  mkdir -p "$apt"/etc/{sources.list.d,preferences.d} "$apt"/state/lists/partial "$apt"/cache/archives/partial
  : > "$apt/status"
  mirror > "$apt/etc/sources.list.d/backports.list"
  options="-o Dir::Etc=$apt/etc -o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts=$apt/etc/sources.list.d
    -o Dir::Etc::preferencesparts=$apt/etc/preferences.d -o Dir::Etc::trustedparts=/etc/apt/trusted.gpg.d
    -o Dir::State=$apt/state -o Dir::State::status=$apt/status -o Dir::Cache=$apt/cache
    -o APT::Sandbox::User=root"
  apt-get $options update -qq
  package=$(apt-cache $options madison rust-src | awk -v v="$version" '{split($3, a, "+"); if (a[1] == v) {print $3; exit}}')
  [ -n "$package" ] || { echo "setup-cross: Debian has no rust-src $version; try: rustup target add $targets" >&2; exit 3; }
  (cd "$dir" && apt-get $options download -qq "rust-src=$package" && dpkg-deb -x rust-src_*.deb source && rm rust-src_*.deb)
  (cd "$dir" && apt-get $options download -qq wasi-libc && dpkg-deb -x wasi-libc_*.deb source && rm wasi-libc_*.deb)
}

# One line of sources.list: where this machine takes Debian from, and the suites with newer compilers.
mirror() {
  local uri suite
  if [ -e /etc/apt/sources.list.d/debian.sources ]; then
    uri=$(awk '/^URIs:/ {print $2; exit}' /etc/apt/sources.list.d/debian.sources)
  else
    uri=$(awk '$1 == "deb" {for (i = 2; i <= NF; i++) if ($i ~ /:\/\//) {print $i; exit}}' /etc/apt/sources.list)
  fi
  [ -n "$uri" ] || { echo "setup-cross: no Debian mirror is configured; try: rustup target add $targets" >&2; exit 3; }
  for suite in trixie trixie-backports sid; do
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $uri $suite main"
  done
}

{
  echo 'export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc'
  echo 'export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64-static -L /usr/aarch64-linux-gnu -cpu ${QEMU_CPU:-max}"'
} > "$env"

if installed; then
  echo 'export CROSS_CORE= CROSS_STD= CROSS_WASI= CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS=-Ctarget-feature=+simd128' >> "$env"
  mv "$env" "$dir/cross.env"
  echo "cross: rustup's own targets"
  exit 0
fi
library=$(rustc --print sysroot)/lib/rustlib/src/rust/library
if [ ! -e "$library/Cargo.lock" ]; then
  library=$dir/source/usr/src/rustc-$version/library
  # Scripts that run side by side ask for it at the same time.
  exec 9> "$dir/lock"
  flock 9
  [ -e "$library/Cargo.lock" ] && [ -e "$dir/source/usr/lib/wasm32-wasi/libc.a" ] || unpack_debian_source
  exec 9>&-
fi
{
  echo "export RUSTC_BOOTSTRAP=1 __CARGO_TESTS_ONLY_SRC_ROOT=$library"
  echo 'export CROSS_CORE="-Zbuild-std=core,alloc" CROSS_STD="-Zbuild-std" CROSS_WASI="-Zbuild-std=std,panic_abort"'
  wasi=$dir/source/usr/lib/wasm32-wasi
  echo "export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS='-Ctarget-feature=+simd128 -Clink-self-contained=no -Clink-arg=-L$wasi" \
    "-Clink-arg=$wasi/crt1-reactor.o -Clink-arg=-lc'"
} >> "$env"
mv "$env" "$dir/cross.env"
echo "cross: the standard library of $version from source"
