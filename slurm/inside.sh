#!/usr/bin/env bash
# inside.sh NOTES COMMAND…: in the image, once on each node of a job; slurm/container.slurm starts it. On the first node
# it runs the command so that signals reach the trainer and nothing else, and leaves its exit code in NOTES/exit. DVC dies
# of a signal and orphans its stage: so it is started with the signals ignored, and the trainer, which catches them again,
# is signalled until everything is gone.
set -euo pipefail
# DVC runs stages by SHELL, and the user's need not be in the image.
export PYTHONUNBUFFERED=1 SHELL=/bin/sh
SIGNALS=(TERM INT USR1 USR2)
notes=$1
shift

asked=''
trap 'asked=1' "${SIGNALS[@]}"
node=${SLURM_NODEID:-0}
[ -z "${UNBROKEN_NODES:-}" ] || export UNBROKEN_NODE=$node
# The trainer shall not take this step, of one task on each node, for its own.
unset SLURM_STEP_ID SLURM_NTASKS SLURM_PROCID SLURM_LOCALID

# Start a command in a session of its own, so that its number is that of its process group too.
start() {
    (
        trap '' "${SIGNALS[@]}"
        [ "$node" != 0 ] || own
        exec setsid -- "$@"
    ) &
    child=$!
    [ "$node" != 0 ] || touch "$notes/ready"
}

# Who has the locks that DVC will make here, and since when in the kernel's ticks: slurm/helpers.sh removes a dead one's.
own() {
    read -r _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ _ since _ <"/proc/$BASHPID/stat"
    echo "${LATENTWIRE_JOB-0} $(hostname) $BASHPID $since" >.dvc/tmp/owner
}

# Run a command to its end; once a signal came, signal all of its processes every second until they are gone.
follow() {
    start "$@"
    finish
}

finish() {
    code=0
    while kill -0 "$child" 2>/dev/null; do
        if [ -n "$asked" ]; then
            kill -TERM -- "-$child" 2>/dev/null || true
            sleep 1
        else
            wait "$child" || true
        fi
    done
    wait "$child" || code=$?
    end_strays
}

# What the command left behind would keep the node.
end_strays() {
    for ((k = 0; k < 10; k++)); do
        kill -TERM -- "-$child" 2>/dev/null || return 0
        sleep 1
    done
    kill -KILL -- "-$child" 2>/dev/null || true
}

quietly() { (
    trap '' "${SIGNALS[@]}"
    "$@"
); }

# Which checkpoint is meant follows from the data, so those stages come first.
fetch() {
    local stages
    stages=$(dvc stage list --name-only) || true
    # An experiment with stages of its own need not have features.
    mapfile -t data < <(grep -E '^encode(@|$)' <<<"$stages" || grep -E '^prepare(@|$)' <<<"$stages")
    if [ ${#data[@]} = 0 ]; then # without a name, `dvc repro` runs everything
        echo "warning: dvc.yaml lists neither encode nor prepare, so no checkpoint is fetched; going on without" >&2
        return
    fi
    follow dvc repro "${data[@]}"
    [ "$code" = 0 ] || return 0
    quietly latentwire fetch --all || echo "warning: nothing came from the DVC remote; going on with what is here" >&2
}

if [ "$node" != 0 ]; then
    start python -m unbroken node
    while [ ! -e "$notes/exit" ] && kill -0 "$child" 2>/dev/null; do sleep 1; done
    [ ! -e "$notes/exit" ] || asked=1
    finish
    exit "$code"
fi

code=0
# What a kill left of DVC's files would stop every later start, also of a script that calls DVC.
quietly python -m latentwire.dvc_files --mend-only || echo "warning: DVC's files were not looked at" >&2
[ "${LATENTWIRE_PARK:-0}" != 1 ] || fetch
if [ "$code" = 0 ]; then follow "$@"; fi
# Killed by a signal that came before it was ignored: nothing had begun.
if [ -n "$asked" ] && [[ "$code" =~ ^(130|138|140|143)$ ]]; then code=75; fi
# DVC says 255 of every stage that fails.
if [ "$code" != 0 ] && grep -q '"exit":75' "$notes/verdict.json" 2>/dev/null; then code=75; fi
if [ "$code" = 75 ] && [ "${LATENTWIRE_PARK:-0}" = 1 ]; then
    quietly latentwire park --all || echo "warning: the checkpoint is here, but not in the DVC remote" >&2
fi
echo "$code" >"$notes/exit.new"
mv "$notes/exit.new" "$notes/exit"
exit "$code"
