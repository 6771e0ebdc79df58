#!/bin/bash
# readme-check.sh [--print | --first] [FILE...]: runs the commands of the README's fenced blocks marked `sh`, in order.
# Both languages must give the same commands. --print lists the commands, one a line, and runs nothing; --first runs
# the first alone.
set -eu
cd "$(dirname "$0")/.."
print=
last='$'
case ${1:-} in
  --print) print=1 && shift ;;
  --first) last=1 && shift ;;
esac
files=${*:-README.md README.zh-CN.md}

# The lines between ```sh and ```, comments and blank lines left out.
commands() {
  awk '/^```sh$/ {inside = 1; next} /^```/ {inside = 0} inside && NF && !/^#/' "$1"
}

for file in $files; do
  if [ -n "$print" ]; then
    commands "$file"
  elif [ "$(commands "$file")" != "$(commands README.md)" ]; then
    echo "readme-check: the commands of $file are not those of README.md" >&2
    diff <(commands README.md) <(commands "$file") >&2 || true
    exit 1
  fi
done
[ -z "$print" ] || exit 0
commands README.md | sed -n "1,${last}p" | while IFS= read -r command; do
  echo "== $command"
  bash -euo pipefail -c "$command" < /dev/null
done
