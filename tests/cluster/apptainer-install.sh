#!/usr/bin/env bash
# Install Apptainer on Debian 12, which has it in sid only, linked with a newer glibc: two symbols are relinked and the
# package is built again. Does nothing where `apptainer` answers.
set -euo pipefail
unset CDPATH # in which `cd` would look for folders, and print what it finds
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
export PYTHONUNBUFFERED=1

! apptainer --version >/dev/null 2>&1 || exit 0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,archives}/partial "$work/tree"
echo "deb $(debian_mirror) sid main" >"$work/sources.list"
# Every folder is private: sid must never reach the machine's own apt.
sid=(-o "Dir::Etc::sourcelist=$work/sources.list" -o Dir::Etc::sourceparts=/dev/null -o "Dir::State::Lists=$work/lists"
    -o "Dir::Cache=$work" -o Acquire::Languages=none -o Acquire::PDiffs=false -o Acquire::Check-Valid-Until=false
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false
    -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false -o APT::Update::Post-Invoke-Success::= -o APT::Sandbox::User=root)
say "the package list of sid"
apt "${sid[@]}" update || die "sid has no package list. Next: see $CLUSTER_CACHE/apt.log."
(cd "$work" && apt "${sid[@]}" download apptainer) || die "sid has no apptainer. Next: see $CLUSTER_CACHE/apt.log."

dpkg-deb --raw-extract "$work"/apptainer_*.deb "$work/tree"
libraries=$work/tree/usr/lib/x86_64-linux-gnu/apptainer
python3 "$here/relink_glibc.py" "$work/tree/usr/bin/apptainer" "$libraries/bin/starter" "$libraries/lib/offsetpreload.so" >&2
sed -i -E 's/^Version: (.*)$/Version: \1~relinked1/; s/libc6 \(>= [0-9.]+\)/libc6/; /^(Static-)?Built-Using:/d' \
    "$work/tree/DEBIAN/control"
rm -f "$work/tree/DEBIAN/md5sums"
dpkg-deb --root-owner-group -Zgzip -z1 --build "$work/tree" "$work/relinked.deb" >/dev/null
say "apt-get install apptainer"
apt install --no-install-recommends "$work/relinked.deb" ||
    { tail -20 "$CLUSTER_CACHE/apt.log" >&2; die "the package could not be installed."; }
