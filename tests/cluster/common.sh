# shellcheck shell=bash
# Sourced by the scripts beside it: where things are, and how Debian's packages are installed.
CLUSTER_CACHE=${CLUSTER_CACHE:-/var/cache/latentwire-cluster} # what is slow to make
export CLUSTER_USER=${CLUSTER_USER:-hpc}                      # the ordinary user of the tests

say() { printf '%(%T)T %s: %s\n' -1 "${0##*/}" "$*" >&2; }
die() { say "error: $*"; exit 1; }

apt() {
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 \
        -o Dpkg::Options::=--force-unsafe-io "$@" >>"$CLUSTER_CACHE/apt.log" 2>&1
}

# install FILE_OR_PACKAGE...: what is there already costs nothing; the package lists are fetched only when they are old.
install_packages() {
    local missing=() package
    for package; do
        [ "$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] ||
            missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "apt-get install ${missing[*]}"
    apt install --no-install-recommends "${missing[@]}" ||
        { apt update && apt install --no-install-recommends "${missing[@]}"; } ||
        { tail -20 "$CLUSTER_CACHE/apt.log" >&2; die "apt-get install failed. Next: see $CLUSTER_CACHE/apt.log."; }
}

# The mirror that this machine's apt is set up with.
debian_mirror() {
    # shellcheck disable=SC2016 # apt-get fills in these variables
    apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' |
        awk '$2 == "bookworm" && $3 == "main" { sub(/\/$/, "", $1); print $1; exit }'
}

# `option = value`, a line each, of what this machine tells pip about where packages are; nothing on most machines.
pip_settings() {
    python3 -m pip config list |
        sed -nE "s/^(:env:|global)\.(cert|find-links|index-url|extra-index-url|timeout)='(.*)'$/\2 = \3/p" |
        sort -t= -k1,1 -u
}

# Folders of packages that these settings name: an image's build sees them only when they are bound.
pip_folders() {
    pip_settings | sed -nE 's/^(find-links|index-url|extra-index-url) = //p' | tr ' ' '\n' |
        sed -nE 's,^(file://)?(/.*)$,\2,p' | sed -E 's,/simple$,,' | sort -u
}
