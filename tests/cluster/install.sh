#!/usr/bin/env bash
# Install what tests/cluster needs on Debian 12, as root: SLURM, Apptainer, the base image, an ordinary user. Run it
# again at any time: what is there stays as it is.
set -euo pipefail
unset CDPATH # in which `cd` would look for folders, and print what it finds
here=$(cd "$(dirname "$0")" && pwd)
. "$here/common.sh"
export PYTHONUNBUFFERED=1

[ "$(id -u)" = 0 ] || die "packages are installed as root. Next: sudo $here/install.sh"
command -v apt-get >/dev/null || die "this is no Debian. Next: install Apptainer and SLURM in its own way."
mkdir -p "$CLUSTER_CACHE"
exec 9>"$CLUSTER_CACHE/lock"
flock 9 # two of these at once would wait for dpkg anyway
install_packages slurmctld slurmd slurm-client munge squashfuse uidmap squashfs-tools mmdebstrap python3-pip git
"$here/base-image.sh" 9>&- &
base=$!
"$here/apptainer-install.sh" 9>&-
python3 "$here/capabilities.py"
# An ordinary user mounts images through FUSE; udev would open the device.
[ ! -c /dev/fuse ] || chmod 666 /dev/fuse
id "$CLUSTER_USER" >/dev/null 2>&1 || useradd --create-home --shell /bin/bash "$CLUSTER_USER"
grep -q "^$CLUSTER_USER:" /etc/subuid ||
    usermod --add-subuids 100000-165535 --add-subgids 100000-165535 "$CLUSTER_USER"
wait "$base"
say "$(apptainer --version), $(slurmctld -V), user $CLUSTER_USER"
