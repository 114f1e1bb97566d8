#!/usr/bin/env bash
# image.sh OUTPUT: build the image as `make image` does, with the CPU build of torch, on the base image of the cache
# instead of docker.io's, and with the folders of packages that this machine's pip knows.
set -euo pipefail
unset CDPATH # in which `cd` would look for folders, and print what it finds
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
export PYTHONUNBUFFERED=1

[ $# = 1 ] || { echo "usage: image.sh OUTPUT" >&2; exit 2; }
[ -s "$CLUSTER_CACHE/base/manifest" ] || die "no base image in $CLUSTER_CACHE. Next: sudo $here/install.sh"
folders=$(pip_folders | paste -sd,)
# A fast compression: the image is used here and then thrown away.
options=(--no-https --build-arg "REGISTRY={registry}/library" --mksquashfs-args "-comp zstd -Xcompression-level 1")
[ -z "$folders" ] || options+=(--bind "$folders")
exec python3 "$here/registry.py" serve "$CLUSTER_CACHE/base" library/python:3.11-slim-bookworm -- \
    python3 "$here/../../tools/image.py" --torch cpu --output "$1" -- "${options[@]}"
