#!/bin/bash
# examples.sh: what the READMEs of the examples say, done: C and C++ on this machine, WebAssembly in Node and a page, the
# storyteller on a board.
#
# The C example is compiled by gcc and clang, runs under valgrind and with AddressSanitizer, and answers. The story that
# a Cortex-M4 tells is the host's, and its program keeps within its flash. Needs INKSTONE.
set -euo pipefail
cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-$PWD/target}
inkstone=${INKSTONE:-$target/release/inkstone}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
story=$PWD/finetune/models/stories/stories.ink

# As one set, so that both have the same features and what the wheel is built from is compiled once.
cargo build --quiet --locked --release --package inkstone-capi --package inkstone-bindings
export LD_LIBRARY_PATH=$target/release
answer() { "$@" "$story" "Once upon a time" > "$work/answer" && [ -s "$work/answer" ]; }
for compilers in "gcc g++" "clang clang++"; do
  read -r c cpp <<< "$compilers"
  command -v "$c" > /dev/null || { echo "examples: no $c here; left out"; continue; }
  make --quiet -C examples/c clean
  make --quiet -C examples/c TARGET="$target/release" CC="$c" CXX="$cpp"
  answer examples/c/answer
  answer examples/c/answer-cpp
  echo "examples: C and C++ by $c: $(head -c 60 "$work/answer" | tr '\n' ' ')"
done
answer valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=all examples/c/answer
make --quiet -C examples/c clean
make --quiet -C examples/c TARGET="$target/release" CC="gcc -fsanitize=address -g" answer
answer examples/c/answer
make --quiet -C examples/c clean
echo "examples: no error and no leak, by valgrind and AddressSanitizer"

make --quiet -C runtime/capi install PREFIX="$work/prefix" TARGET="$target/release"
cmake -S examples/c -B "$work/cmake" -DCMAKE_PREFIX_PATH="$work/prefix" > "$work/cmake.log" || { cat "$work/cmake.log" >&2; exit 1; }
cmake --build "$work/cmake" > "$work/cmake.log" || { cat "$work/cmake.log" >&2; exit 1; }
answer "$work/cmake/answer"
answer "$work/cmake/answer-cpp"
gcc -std=c99 -o "$work/by-pc" examples/c/answer.c \
  $(sed -n "s|\${prefix}|$work/prefix|g; s/^Cflags: //p; s/^Libs: //p" "$work/prefix/lib/pkgconfig/inkstone.pc")
answer "$work/by-pc"
echo "examples: found by CMake and by pkg-config"

export CROSS_DIR=$target/cross
text="Once upon a time"
"$inkstone" -q run "$story" "$text" --temp 0 -n 64 > "$work/host"

PROFILE=emulated examples/web/build.sh
node examples/web/node.mjs "$story" "$text" 64 | cmp - "$work/host"
if command -v chromium > /dev/null && (cd "${PLAYWRIGHT:-.}" && node -e 'require("playwright-core")' 2> /dev/null); then
  check=$PWD/examples/web/check.mjs
  (cd "${PLAYWRIGHT:-.}" && node "$check" "$story")
else
  echo "examples: no chromium or no playwright-core here (PLAYWRIGHT: its folder); the page is left out"
fi

scripts/small.sh "$story" > "$work/small"
head -n 1 "$work/small"

PROFILE=dev firmware-examples/run.sh cortex-m4 storyteller "$story" > "$work/board"
# The board prints the beginning too.
sed -n '2,$p' "$work/board" | head -c $((${#text} + 120)) > "$work/told"
printf '%s%s' "$text" "$(cat "$work/host")" | head -c $((${#text} + 120)) | cmp - "$work/told"
echo "examples: a Cortex-M4 tells the story that this machine tells"
flash=$(firmware-examples/run.sh --build --small cortex-m4 storyteller)
echo "$flash"
bytes=$(sed 's/.*flash \([0-9]*\) bytes.*/\1/' <<< "$flash")
[ "$bytes" -le $((96 * 1024)) ] || { echo "examples: the storyteller takes over 96 KiB" >&2; exit 1; }
