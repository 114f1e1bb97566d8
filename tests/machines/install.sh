#!/usr/bin/env bash
# Put qemu-x86_64 10 into .cache/qemu: Debian 12's own (7.2) computes gather instructions wrongly, so that numpy's argsort
# returns no permutation. From Debian's backports, signed by Debian, unpacked beside the checkout; the system stays as it
# is. Needs apt-get, no root.
set -euo pipefail
unset CDPATH # in which `cd` would look for folders, and print what it finds
cd "$(dirname "$0")/../.."
target=$PWD/.cache/qemu
[ ! -x "$target/usr/bin/qemu-x86_64" ] || exit 0
mkdir -p "$target/lists/partial" "$target/cache/archives/partial"
keys=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$keys] http://deb.debian.org/debian bookworm-backports main" >"$target/sources.list"
options=(-o "Dir::Etc::sourcelist=$target/sources.list" -o Dir::Etc::sourceparts=/dev/null
    -o "Dir::State::lists=$target/lists" -o "Dir::Cache=$target/cache" -o APT::Sandbox::User=)
apt-get "${options[@]}" -qq update
cd "$target"
apt-get "${options[@]}" -qq download qemu-user
dpkg-deb -x qemu-user_*.deb .
rm -rf qemu-user_*.deb lists cache sources.list
usr/bin/qemu-x86_64 --version | head -n 1
