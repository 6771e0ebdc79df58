#!/bin/bash
# run.sh [--build] [--small] BOARD EXAMPLE [MODEL.ink]: builds an example for a board and runs it in QEMU with a model in its flash.
#
# MODEL.ink is `stories` of this repository, if not said.
# BOARD is a row of boards.txt, EXAMPLE a folder: storyteller or selftest. What the serial port sends goes to SERIAL, a
# file, else nowhere. --build stops after building and prints the sizes of flash and RAM. --small takes the profile
# `release-small`: less flash, more time.
# PROFILE names another of Cargo.toml's profiles.
# PROGRAM, a file, is run as it is instead of building one. An empty COUNT runs faster and counts no instructions.
# Targets that rustup lacks are built from source: see ../scripts/setup-cross.sh.
set -euo pipefail
build= profile=${PROFILE:-release} flags=
[ "${1:-}" != --build ] || { build=1 && shift; }
[ "${1:-}" != --small ] || { profile=release-small && shift; }
[ $# -ge 2 ] || { sed -n '2,11s/^# \?//p' "$0" >&2; exit 2; }
here=$(realpath "$(dirname "$0")")
board=$1 example=$2 model=$(realpath -- "${3:-$here/../finetune/models/stories/stories.ink}")
[ -f "$model" ] || { echo "run.sh: $model: no such file" >&2; exit 2; }
cd "$here"

# Columns of the board's row, by their order.
column() {
  awk -F '|' -v board="$board" -v column="$1" '
    { gsub(/^ +| +$/, "", $1) }
    $1 == board { gsub(/^ +| +$/, "", $column); print $column; found = 1 }
    END { exit !found }' boards.txt || { echo "run.sh: boards.txt has no board $board" >&2; exit 2; }
}

if [ -z "${PROGRAM:-}" ]; then
  target=$(column 2)
  cross=${CROSS_DIR:-${CARGO_TARGET_DIR:-$PWD/../target}/cross}
  ../scripts/setup-cross.sh "$cross" > /dev/null
  . "$cross/cross.env"
  export CARGO_TARGET_DIR=$cross/firmware BOARD=$board
  cpu=$(column 3)
  [ "$cpu" = - ] || flags="-Ctarget-cpu=$cpu"
  # What only a nightly compiler can leave out: names of files in messages, `Debug`, and `core`'s longer ways.
  if [ "$profile${RUSTC_BOOTSTRAP:-}" = release-small1 ]; then
    flags+=" -Zlocation-detail=none -Zfmt-debug=none"
    CROSS_CORE+=" -Zbuild-std-features=optimize_for_size"
  fi
  export RUSTFLAGS="${RUSTFLAGS:-} $flags"
  cargo build --quiet --locked --profile "$profile" $CROSS_CORE --target "$target" --package "$example"
  # A board's program is not another's, though they may share a target.
  PROGRAM=$cross/firmware/$board-$example
  cp "$cross/firmware/$target/${profile/#dev/debug}/$example" "$PROGRAM"
  if [ -n "$build" ]; then
    size -A -d "$PROGRAM" | awk -v name="$board $example" '
      $1 !~ /^\.(debug|comment|ARM|riscv)/ && NF == 3 && $2 > 0 && $1 ~ /^\./ {
        if ($1 !~ /bss|uninit|stack|heap/) flash += $2
        if ($1 ~ /data$|bss|uninit/ && $1 != ".rodata") ram += $2
        parts = parts " " $1 " " $2
      }
      END { printf "%s: flash %d bytes, RAM %d bytes (%s)\n", name, flash, ram, substr(parts, 2) }'
    exit
  fi
fi
read -r system machine <<< "$(column 4)"
# An instruction takes a nanosecond, so that the counter tells instructions.
exec "qemu-system-$system" $machine ${COUNT--icount shift=0} -display none -monitor none \
  -serial "${SERIAL:+file:}${SERIAL:-null}" -semihosting-config enable=on,target=native \
  -device "loader,file=$model,addr=$(column 8 | cut -d, -f1),force-raw=on" -kernel "$PROGRAM"
