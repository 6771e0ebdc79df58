#!/bin/bash
# bare-root.sh [DIR]: the README's two commands in a fresh clone, on a Debian root with nothing but a C linker,
# Python's pip and certificates. Run as root; DIR keeps the root for another time.
# Prints what was downloaded, how long it took and how much disk it used.
set -eu
cd "$(dirname "$0")/.."
root=${1:-$(mktemp -d)}
suite=${BARE_SUITE:-bookworm}
packages=ca-certificates,gcc,libc6-dev,python3-pip

[ -e "$root/usr/bin/gcc" ] || debootstrap --variant=minbase --include="$packages" "$suite" "$root" > "$root.log" 2>&1 || {
  tail "$root.log" >&2
  exit 1
}
for tool in cmake clang protoc pkg-config g++ rustc; do
  ! chroot "$root" sh -c "command -v $tool" > /dev/null || { echo "bare-root: $tool is there" >&2; exit 1; }
done

# The compiler as rustup laid it out, the clone, and what this machine knows of names and certificates.
rm -rf "$root/rust" "$root/inkstone" "$root/cargo" "$root/user"
mkdir -p "$root/rust" "$root/cargo" "$root/user" "$root/proc"
cp -a "$(rustc --print sysroot)/." "$root/rust/"
rm -rf "$root/rust/share"
git clone -q . "$root/inkstone"
cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
[ ! -e /etc/ssl/certs/ca-certificates.crt ] || cp -L /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
[ ! -e /etc/pip.conf ] || cp -L /etc/pip.conf "$root/etc/"

carried=()
while IFS='=' read -r name _; do
  case $name in
    PIP_CERT | SSL_CERT_FILE | REQUESTS_CA_BUNDLE | CARGO_HTTP_CAINFO)
      cp -L "${!name}" "$root/etc/ssl/certs/carried.pem"
      carried+=("$name=/etc/ssl/certs/carried.pem") ;;
    PIP_INDEX_URL | PIP_FIND_LINKS | PIP_DEFAULT_TIMEOUT | [Hh][Tt][Tt][Pp]*_[Pp][Rr][Oo][Xx][Yy] | [Nn][Oo]_[Pp][Rr][Oo][Xx][Yy])
      carried+=("$name=${!name}") ;;
  esac
done < <(env)

inside() { # [unshare -n] inside COMMAND: runs it in the clone, with a bare environment
  chroot "$root" /usr/bin/env -i PATH=/rust/bin:/usr/bin:/bin HOME=/user TERM=dumb CARGO_HOME=/cargo \
    ${carried[@]+"${carried[@]}"} "${extra[@]}" sh -c "cd /inkstone && $1"
}
extra=(LANG=C.UTF-8)
blocks=$(scripts/readme-check.sh --print README.md)
first=$(sed -n 1p <<< "$blocks")
second=$(sed -n 2p <<< "$blocks")

mount -t proc proc "$root/proc"
trap 'umount "$root/proc"' EXIT
echo "== $first"
SECONDS=0
inside "cargo fetch -q"
echo "== crates: $(du -sm "$root/cargo/registry/cache" | cut -f1) MB downloaded in $SECONDS s"
SECONDS=0
inside "$first" | tee "$root/answer.txt"
[ -s "$root/answer.txt" ] || { echo "bare-root: no answer" >&2; exit 1; }
echo "== answered after $SECONDS s; target $(du -sm "$root/inkstone/target" | cut -f1) MB, cache $(du -sm "$root/user/.cache" 2> /dev/null | cut -f1) MB"

echo "== $second (offline)"
SECONDS=0
extra+=(CARGO_NET_OFFLINE=true)
export -f inside
# Tests serve themselves on the loopback, which a new network has not yet raised (SIOCSIFFLAGS: IFF_UP).
raise='import fcntl,socket,struct; s=socket.socket(); fcntl.ioctl(s, 0x8914, struct.pack("16sh14x", b"lo", 1))'
unshare -n bash -c "$(declare -p root carried extra raise); python3 -c \"\$raise\"; inside \"\$1\"" - "$second"
echo "== tested in $SECONDS s; target $(du -sm "$root/inkstone/target" | cut -f1) MB"
