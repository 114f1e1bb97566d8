#!/usr/bin/env bash
# sweep.sh [--dry-run] [AT_ONCE]: the train matrix as an array of jobs, AT_ONCE (8) at a time. Three submissions: what all
# items share (`dvc repro` of prepare, encode, baseline); the array, a task per item, each in a clone of the commit that
# HEAD is now, with this clone's DVC cache; and at last `dvc repro` here, which finds every item in the cache, trains
# nothing, and sends the journals to MLflow. --dry-run makes nothing and prints the submissions.
set -euo pipefail
export PYTHONUNBUFFERED=1
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=helpers.sh
. "$root/slurm/helpers.sh"
cd "$root"

unset SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID SLURM_RESTART_COUNT LATENTWIRE_SWEEP # of a job that submits this sweep
dry=''
if [ "${1:-}" = --dry-run ]; then
    dry=1
    shift
fi
at_once=${1:-8}
[[ "$at_once" =~ ^[1-9][0-9]*$ && $# -le 1 ]] || die "usage: slurm/sweep.sh [--dry-run] [AT_ONCE]; found '$*'." 2
read_site "$root"
prepare_container "$root"

stages() { "${container[@]}" dvc stage list --name-only | sed -n "s/^$1@//p"; }

# SQLite's locks do not hold on a shared disk, so an array must not write to one file.
check_tracking() {
    [[ "${MLFLOW_TRACKING_URI:-}" != sqlite* ]] || die "MLFLOW_TRACKING_URI is $MLFLOW_TRACKING_URI, one SQLite file \
for many jobs. Next: unset it (each task then has its own, and the last job collects), or name a server." 2
}

check_tree() {
    local changed
    changed=$(uncommitted)
    [ -z "$changed" ] || die "not committed: $(xargs <<<"$changed"). A sweep runs a commit. Next: git commit." 2
}

# A clone for an item: this commit, this cache, these models.
clone() {
    local folder=$sweep/$1
    [ ! -d "$folder" ] || return 0
    git clone --quiet --local "$root" "$folder.new"
    git -C "$folder.new" checkout --quiet --detach "$commit"
    # Quoted: DVC takes what follows a bare # for a comment, and a bare comma for the end of one of several values.
    printf '[cache]\n    dir = "%s"\n' "$cache" >"$folder.new/.dvc/config.local"
    mkdir -p "$folder.new/.cache" "$root/.cache/models" "$root/assets"
    ln -s "$root/assets" "$folder.new/assets"
    ln -s "$root/.cache/models" "$folder.new/.cache/models"
    mv "$folder.new" "$folder"
}

submit() {
    if [ -n "$dry" ]; then
        echo "sbatch $*" >&2
        echo 0
    else
        sbatch --parsable "$@" | cut -d';' -f1
    fi
}

check_tracking
check_tree
commit=$(git rev-parse HEAD)
sweep=$root/state/sweep/${commit:0:12}
cache=$("${container[@]}" dvc cache dir)
mapfile -t items < <(stages evaluate)
[ ${#items[@]} -gt 0 ] ||
    die "dvc.yaml has no items of evaluate, expected one for each of params.yaml. Next: dvc stage list."
mapfile -t shared < <("${container[@]}" dvc stage list --name-only | grep -E '^(prepare|encode|baseline)(@|$)')

if [ -z "$dry" ]; then
    mkdir -p "$sweep"
    for item in "${items[@]}"; do clone "$item"; done
    printf '%s\n' "${items[@]}" >"$sweep/items"
fi
first=$(submit "${site_options[@]}" slurm/container.slurm dvc repro "${shared[@]}")
# The path stands in the environment: in --export a comma would end it.
array=$(LATENTWIRE_SWEEP=$sweep submit "${site_options[@]}" --array="0-$((${#items[@]} - 1))%$at_once" \
    --dependency="afterok:$first" --kill-on-invalid-dep=yes --export=ALL slurm/container.slurm)
last=$(submit "${site_options[@]}" --dependency="afterok:$array" --kill-on-invalid-dep=yes slurm/container.slurm \
    slurm/collect.sh "$sweep")
[ -n "$dry" ] || say "jobs $first (data), $array (${#items[@]} items, $at_once at a time), $last (collect): squeue --me"
