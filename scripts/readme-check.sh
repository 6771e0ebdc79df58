#!/bin/bash
# readme-check.sh [--print] [FILE...]: runs the commands of the README's fenced blocks marked `sh`, in order.
# Both languages must give the same commands. --print lists the commands, one a line, and runs nothing.
set -eu
cd "$(dirname "$0")/.."
print=
if [ "${1:-}" = --print ]; then
  print=1
  shift
fi
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
commands README.md | while IFS= read -r command; do
  echo "== $command"
  bash -euo pipefail -c "$command" < /dev/null
done
