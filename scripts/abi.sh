#!/bin/bash
# abi.sh [SINCE]: whoever was compiled against the C library of the newest release can use today's.
#
# Where members stand, numbers and functions may be added to runtime/capi/abi.txt, and no line of it may go or change
# since the newest tag v*, or SINCE. Before the first release there is nothing to compare with.
set -euo pipefail
cd "$(dirname "$0")/.."
since=${1:-$(git describe --tags --abbrev=0 --match 'v*' 2> /dev/null || true)}
[ -n "$since" ] || { echo "abi: no release yet; nothing is promised"; exit 0; }
before=$(git show "$since:runtime/capi/abi.txt")
gone=$(comm -23 <(sort <<< "$before") <(sort runtime/capi/abi.txt))
[ -z "$gone" ] || { echo "abi: gone or changed since $since:" >&2; echo "$gone" >&2; exit 1; }
echo "abi: all of $since is there"
