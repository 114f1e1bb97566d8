#!/usr/bin/env bash
# cluster-down.sh FOLDER: cancel all jobs of the cluster that cluster-up.sh started there, and end its daemons.
set -euo pipefail
folder=${1:?usage: cluster-down.sh FOLDER}
export SLURM_CONF=$folder/slurm.conf PYTHONUNBUFFERED=1

alive() { [ -e "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null; }

# stop PID_FILE NAME: the process whose id is in the file, if it has that name.
stop() {
    local pid
    pid=$(cat "$1" 2>/dev/null) || return 0
    [ "$(cat "/proc/$pid/comm" 2>/dev/null || true)" = "$2" ] || return 0
    kill "$pid"
    for ((k = 0; k < 100; k++)); do
        alive "$pid" || return 0
        sleep 0.1
    done
    kill -KILL "$pid"
}

cancel_jobs() {
    mapfile -t jobs < <(squeue --noheader --format=%A | sort -u)
    [ ${#jobs[@]} -gt 0 ] || return 0
    scancel "${jobs[@]}"
    scancel --signal=KILL --full "${jobs[@]}" 2>/dev/null || true
    for ((k = 0; k < 200; k++)); do
        [ -n "$(squeue --noheader)" ] || return 0
        sleep 0.1
    done
}

if timeout 5 squeue --noheader >/dev/null 2>&1; then cancel_jobs; fi
shopt -s nullglob
for pid_file in "$folder"/pid/node*; do stop "$pid_file" slurmd; done
stop "$folder/pid/slurmctld" slurmctld
stop "$folder/pid/munged" munged
# Another cluster has its jobs in the same control groups.
pgrep -x slurmctld >/dev/null ||
    find /sys/fs/cgroup/freezer -maxdepth 1 -name 'slurm_node*' -exec find {} -depth -type d -exec rmdir {} + \; 2>/dev/null ||
    true
