#!/usr/bin/env bash
# Make the image that stands in for docker.io's python:3.11-slim-bookworm where only a Debian mirror is reached: Debian
# 12 with Python 3.11, in the cache, once. What this machine needs to reach its package index (certificates, pip's
# settings) is in this image, so that it need not be in Apptainer.def.
set -euo pipefail
unset CDPATH # in which `cd` would look for folders, and print what it finds
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
export PYTHONUNBUFFERED=1

image=$CLUSTER_CACHE/base
[ ! -s "$image/manifest" ] || exit 0
say "mmdebstrap"
work=$(mktemp -d -p "${CLUSTER_TMP:-/dev/shm}") # deleting ten thousand files from a disk takes longer than making them
trap 'rm -rf "$work"' EXIT
{
    echo "[global]"
    echo "disable-pip-version-check = 1"
    pip_settings
} >"$work/pip.conf"
folders=()
for folder in $(pip_folders); do # a place to bind to must be in the image already when it is built
    folders+=("--customize-hook=mkdir -p \"\$1$folder\"")
done
TMPDIR=$work mmdebstrap --quiet --mode=root --variant=minbase --format=tar \
    --include=python3,python3-venv,ca-certificates \
    --aptopt='Acquire::Languages "none"' --aptopt='APT::Install-Recommends "false"' \
    --dpkgopt=force-unsafe-io --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' \
    --customize-hook="copy-in $work/pip.conf /etc" \
    --customize-hook='copy-in /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs' \
    "${folders[@]}" \
    --skip=output/dev \
    bookworm - "$(debian_mirror)" 2>"$CLUSTER_CACHE/mmdebstrap.log" |
    python3 "$here/registry.py" pack "$work/image" ||
    { tail -20 "$CLUSTER_CACHE/mmdebstrap.log" >&2; die "mmdebstrap failed."; }
rm -rf "$image"
cp -r "$work/image" "$image"
chmod -R a+rX "$image"
say "$image: $(du -sh "$image" | cut -f1)"
