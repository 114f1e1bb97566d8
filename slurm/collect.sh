#!/usr/bin/env bash
# collect.sh SWEEP: the last job of a sweep, in the image. What happened to the items is copied here for
# `latentwire status`, `dashboard` and `execution`; their results come out of DVC's cache.
set -euo pipefail
export PYTHONUNBUFFERED=1
sweep=${1:?usage: collect.sh SWEEP}

while read -r stage; do
    item=${stage#*@}
    for run in "$sweep/$item/state/$item"-*/; do
        [ -d "$run" ] || continue # its results were in the cache
        here=state/$(basename "$run")
        mkdir -p "$here"
        cp "$run"/{identity.json,events.jsonl,journal.jsonl} "$here"
        [ ! -f "$run/readings.jsonl" ] || cp "$run/readings.jsonl" "$here"
    done
done <"$sweep/stages"
exec dvc repro
