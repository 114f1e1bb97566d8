#!/usr/bin/env bash
# sweep.sh [--dry-run] [AT_ONCE]: the train matrix as an array of jobs, AT_ONCE (8) at a time. Three submissions: what all
# items share (`dvc repro` of prepare, encode, baseline); the array, a task per item, each in a clone of the commit that
# HEAD is now, with this clone's DVC cache; and at last `dvc repro` here, which finds every item in the cache, trains
# nothing, and sends the journals to MLflow. --dry-run makes nothing and prints the submissions.
set -euo pipefail
unset CDPATH # in which `cd` would look for folders, and print what it finds
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

# SQLite's locks do not hold on a shared disk, so an array must not write to one file.
check_tracking() {
    [[ "${MLFLOW_TRACKING_URI:-}" != sqlite* ]] || die "MLFLOW_TRACKING_URI is $MLFLOW_TRACKING_URI, one SQLite file \
for many jobs. Next: unset it (each task then has its own, and the last job collects), or name a server." 2
}

check_tree() {
    local changed
    changed=$(uncommitted)
    [ -z "$changed" ] || die "not committed: $(one_line "$changed"). A sweep runs a commit. Next: git commit." 2
}

# As DVC reads a value: what follows a bare # is a comment, a bare comma ends one of several values, and nothing is
# escaped, so the marks around it have to be others than those in it.
quote_value() {
    local marks
    [[ "$1" != *%\(*\)s* ]] ||
        die "DVC cannot be told of a cache in $1, since it takes %(…)s for a name. Next: move the clone." 2
    for marks in '"' "'" "'''" '"""'; do
        if [[ "$1" != *"$marks"* && ("$1" != *$'\n'* || ${#marks} = 3) && ("$1" != *[\"\'] || ${#marks} = 1) ]]; then
            printf '%s' "$marks$1$marks"
            return
        fi
    done
    die "DVC cannot be told of a cache in $1, because of the quotation marks in its name. Next: move the clone." 2
}

# A clone for an item: this commit, this cache, these models.
clone() {
    local folder=$sweep/$1
    [ ! -d "$folder" ] || return 0
    rm -rf "$folder.new" # of a sweep that was interrupted here
    git clone --quiet --local "$root" "$folder.new"
    git -C "$folder.new" checkout --quiet --detach "$commit"
    printf '[cache]\n    dir = %s\n' "$quoted_cache" >"$folder.new/.dvc/config.local"
    mkdir -p "$folder.new/.cache" "$root/.cache/models" "$root/assets"
    ln -s "$root/assets" "$folder.new/assets"
    ln -s "$root/.cache/models" "$folder.new/.cache/models"
    mv "$folder.new" "$folder"
}

submit() {
    if [ -n "$dry" ]; then
        echo "sbatch $*" >&2
        echo 0
        return
    fi
    local said
    said=$(sbatch --parsable "$@") || die "sbatch refused it, and says why above.$(tell_submitted)"
    said=${said##*$'\n'} # some sites greet before it
    said=${said%%;*}
    [[ "$said" =~ ^[0-9]+$ ]] || die "sbatch printed '$said', expected the number of a job.$(tell_submitted)"
    echo "$said"
}

tell_submitted() {
    local jobs="$first $array"
    jobs=$(one_line "$jobs")
    echo " Next: ${jobs:+scancel $jobs, which this sweep has submitted; }mend that and start the sweep again."
}

check_tracking
check_tree
commit=$(git rev-parse HEAD)
sweep=$root/state/sweep/${commit:0:12}
cache=$("${container[@]}" dvc cache dir)
quoted_cache=$(quote_value "$cache")
# Of every item the stage that comes last: evaluate@ITEM, or evaluate_ablation@ITEM.
mapfile -t stages < <("${container[@]}" dvc stage list --name-only | grep -E '^evaluate(_ablation)?@')
items=("${stages[@]#*@}")
[ ${#items[@]} -gt 0 ] ||
    die "dvc.yaml has no items of evaluate, expected one for each of params.yaml. Next: dvc stage list."
mapfile -t shared < <("${container[@]}" dvc stage list --name-only | grep -E '^(prepare|encode|baseline)(@|$)')
[ ${#shared[@]} -gt 0 ] || # without a name, `dvc repro` runs everything
    die "dvc.yaml has none of the stages prepare, encode and baseline. Next: dvc stage list."

if [ -z "$dry" ]; then
    mkdir -p "$sweep"
    for item in "${items[@]}"; do clone "$item"; done
    printf '%s\n' "${stages[@]}" >"$sweep/stages"
fi
first='' array=''
first=$(submit "${site_options[@]}" slurm/container.slurm dvc repro "${shared[@]}")
# The path stands in the environment: in --export a comma would end it.
array=$(LATENTWIRE_SWEEP=$sweep submit "${site_options[@]}" --array="0-$((${#items[@]} - 1))%$at_once" \
    --dependency="afterok:$first" --kill-on-invalid-dep=yes --export=ALL slurm/container.slurm)
last=$(submit "${site_options[@]}" --dependency="afterok:$array" --kill-on-invalid-dep=yes slurm/container.slurm \
    slurm/collect.sh "$sweep")
[ -n "$dry" ] || say "jobs $first (data), $array (${#items[@]} items, $at_once at a time), $last (collect): squeue --me"
