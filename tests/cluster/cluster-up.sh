#!/usr/bin/env bash
# cluster-up.sh FOLDER: a SLURM of virtual nodes on this machine, on 127.0.0.1 only, as root. All of its files are in FOLDER;
# FOLDER/slurm.conf is what SLURM_CONF has to name. NODES, CPUS, GPUS (of each node), PORT, KILL_WAIT and GRACE (seconds)
# change it.
set -euo pipefail
unset CDPATH # in which `cd` would look for folders, and print what it finds
here=$(cd "$(dirname "$0")" && pwd)
folder=$(mkdir -p "${1:?usage: cluster-up.sh FOLDER}" && cd "$1" && pwd)
nodes=${NODES:-4} gpus=${GPUS:-2} port=${PORT:-21000}
export SLURM_CONF=$folder/slurm.conf PYTHONUNBUFFERED=1

die() { echo "cluster-up.sh: error: $*" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "SLURM's daemons are started as root. Next: sudo $0 $folder"
for program in slurmctld slurmd munged; do
    command -v $program >/dev/null || die "$program is not installed. Next: $here/install.sh"
done

# A control group holds every process of a job; without one, what forks twice outlives its job.
process_tracking() {
    local probe=/sys/fs/cgroup/freezer/.latentwire-probe
    if mountpoint -q /sys/fs/cgroup/freezer && mkdir -p $probe 2>/dev/null; then
        rmdir $probe
        cp "$here/cgroup.conf" "$folder/cgroup.conf"
        echo proctrack/cgroup
    else
        echo proctrack/linuxproc
    fi
}

write_configuration() {
    sed -e "s|@FOLDER@|$folder|g" -e "s|@HOST@|$(hostname -s)|g" -e "s|@PORT@|$port|g" \
        -e "s|@TRACKING@|$(process_tracking)|g" -e "s|@KILL_WAIT@|${KILL_WAIT:-60}|g" -e "s|@GRACE@|${GRACE:-20}|g" \
        "$here/slurm.conf.in" >"$SLURM_CONF"
    for ((i = 1; i <= nodes; i++)); do
        echo "NodeName=node$i NodeHostname=$(hostname -s) NodeAddr=127.0.0.1 Port=$((port + i)) CPUs=${CPUS:-4}" \
            "RealMemory=4096 Gres=gpu:$gpus" >>"$SLURM_CONF"
    done
    echo "NodeName=node[1-$nodes] Name=gpu File=$folder/gpu/[0-$((gpus - 1))]" >"$folder/gres.conf"
}

# Files that SLURM takes for GPUs: it wants devices, and /dev/null is one.
make_gpus() { for ((i = 0; i < gpus; i++)); do mknod "$folder/gpu/$i" c 1 3; done; }

# MASTER_ADDR=node1 has to resolve, in containers too.
name_nodes() {
    for ((i = 1; i <= nodes; i++)); do
        grep -qE "^127\.0\.0\.1[[:space:]].*\bnode$i\b" /etc/hosts || echo "127.0.0.1 node$i" >>/etc/hosts
    done
}

start_daemons() {
    (umask 077 && head -c 1024 /dev/urandom >"$folder/munge/key")
    munged --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/pid/munged" \
        --log-file="$folder/munge/log" --seed-file="$folder/munge/seed"
    slurmctld
    for ((i = 1; i <= nodes; i++)); do slurmd -N "node$i"; done
}

all_idle() { [ "$(sinfo --noheader --Node --partition=normal --format=%T 2>/dev/null | sort | uniq -c | xargs)" = "$nodes idle" ]; }

chmod 755 "$folder"
mkdir -p "$folder"/{gpu,log,munge,pid,state}
for ((i = 1; i <= nodes; i++)); do mkdir -p "$folder/spool/node$i"; done
write_configuration
make_gpus
name_nodes
start_daemons
for ((k = 0; k < 300; k++)); do
    if all_idle; then exit 0; fi
    sleep 0.1
done
sinfo --Node --long >&2 || true
tail -n 5 "$folder"/log/*.log >&2
die "the nodes are not idle after 30 seconds. Next: see $folder/log."
