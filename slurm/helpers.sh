# shellcheck shell=bash
# shellcheck disable=SC2154 # container.slurm sets `notes` and `asked`, and site.sh `container`
# The host's part of a job; container.slurm sources it. A job keeps its notes in state/slurm/JOB/:
#   commit         what it was submitted with
#   progress       checksum of what was finished at the start, and how many starts in a row finished nothing
#   begun          the step of this start began on a node
#   ready, exit    written by inside.sh: it can be signalled; what the command ended with
#   verdict.json   what the trainer says became of it

RUN_ME_AGAIN=75
export SHELL=/bin/sh # by which DVC runs stages; the user's may be none, or not in the image
export SLURM_TIME_FORMAT=standard # git reads when a job was submitted, and a user's own format may be `relative`

# As a hook, or a shell of one, has them: they would lead git and DVC to another repository. What stays is said of every
# repository, such as safe.directory. As latentwire/environment.py has it.
for name in "${!GIT_@}"; do
    [[ "$name" =~ ^GIT_(CONFIG_(GLOBAL|SYSTEM|NOSYSTEM|COUNT|KEY_[0-9]+|VALUE_[0-9]+)|EXEC_PATH)$ ]] || unset "$name"
done

# A log that cannot be written is no reason to end a job.
say() { printf '=== %s\n' "$*" || true; }
die() { printf 'error: %s\n' "$1" >&2; exit "${2:-1}"; }
one_line() { tr -s '[:space:]' ' ' <<<"$1" | sed 's/^ //; s/ $//'; }

# shellcheck source=site.sh
. "${BASH_SOURCE[0]%/*}/site.sh"

# A task of an array by its place in it: one of them has the number of the array itself, which means them all.
job=${SLURM_ARRAY_JOB_ID:+${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID:-}}
job=${job:-${SLURM_JOB_ID:-}}
export LATENTWIRE_JOB=$job

# A network that swallows what is sent would hold up the job, and the signals that it passes on, for as long as it does.
control() { timeout --kill-after=5 30 scontrol "$@"; }

# What SLURM knows of a job: nothing, if there is none. While its controller is away (restarted, or taken over by
# another) it is asked again for $2 seconds; status 1 is no answer, which is not the same as nothing.
ask() {
    local begun=$SECONDS limit=${2:-${LATENTWIRE_ASK_S:-300}} said
    until said=$(control --oneliner show job "$1" 2>&1); do
        [[ "$said" != *"Invalid job id"* ]] || return 0
        [ $((SECONDS - begun)) -lt "$limit" ] || return 1
        sleep 5
    done
    echo "$said"
}

# Whose submission this is. `sbatch` hands on what a job that calls it has in its environment: a place in an array, and a
# number of restarts, which SLURM replaces only in a task of an array and after a restart. Its record is right.
identify() {
    local record
    [ -n "${SLURM_ARRAY_JOB_ID:-}${SLURM_RESTART_COUNT:-}" ] || return 0
    record=$(ask "$job") || return 0 # as it says; a first start asks again, and does not go on without an answer
    if [ "$(word "$record" JobId)" != "$SLURM_JOB_ID" ]; then
        unset SLURM_ARRAY_JOB_ID SLURM_ARRAY_TASK_ID LATENTWIRE_SWEEP
        job=$SLURM_JOB_ID
        export LATENTWIRE_JOB=$job
        record=$(ask "$job") || return 0
    fi
    SLURM_RESTART_COUNT=$(restarts_in "$record")
}

# One word of such an answer.
word() { grep -oP "(^|\s)$2=\K\S+" <<<"$1" | head -1 || true; }

# Ask for a requeue, for minutes while nobody answers.
requeue() {
    local begun=$SECONDS said again=''
    until said=$(control requeue "$job" 2>&1); do
        echo "$said" >&2
        # A refusal has few words, a controller that is away or not quite back has many.
        if [[ "$said" =~ disabled|denied|Invalid\ job|ompleting|ending\ execution ]]; then
            # Unless an earlier try has done it, of which the answer was lost.
            [ -n "$again" ] && [ "$(restarts_in "$(ask "$job" 0)")" -gt "$restart" ]
            return
        fi
        again=1
        [ $((SECONDS - begun)) -lt "${LATENTWIRE_ASK_S:-300}" ] || return 1
        sleep 5
    done
}

begin() {
    restart=${SLURM_RESTART_COUNT:-0} max_stalled=${LATENTWIRE_MAX_STALLED:-5}
    # SLURM counts from 1 again after a reinstallation: notes of another job with our number are not ours.
    [ "$restart" -gt 0 ] || rm -rf "$notes"
    mkdir -p "$notes"
    say "start $((restart + 1)) of job $job, $(date -u +%FT%TZ), on $SLURM_JOB_NODELIST: $*"
    pin_commit
    take_checkout
    count_stalled
    rm -f "$notes"/{begun,ready,exit,verdict.json}
    export UNBROKEN_VERDICT=$PWD/$notes/verdict.json DVC_SITE_CACHE_DIR=$PWD/.cache/dvc
}

# Tracked files that are not as in HEAD, but for what the pipeline itself writes.
uncommitted() {
    git --no-optional-locks status --porcelain --untracked-files=no -- \
        . ':!dvc.lock' ':!results' ':!reports/provenance.json'
}

# A job runs the commit that it was submitted with, in every start.
pin_commit() {
    local now wanted changed record
    now=$(git rev-parse HEAD)
    if [ ! -s "$notes/commit" ]; then
        record=$(ask "$job") || die "SLURM does not say when job $job was submitted, so nobody knows which commit it \
shall run. Next: submit it again, once \`scontrol ping\` finds the controller."
        # Where HEAD was when the job was submitted; a clone without a reflog does not know.
        git rev-parse --quiet --verify "HEAD@{$(word "$record" SubmitTime)}" >"$notes/commit" 2>/dev/null ||
            echo "$now" >"$notes/commit"
    fi
    wanted=$(cat "$notes/commit")
    [ "$now" = "$wanted" ] || die "job $job was submitted with commit ${wanted:0:12}, but $PWD is at \
${now:0:12}; it runs nothing else. Next: git checkout ${wanted:0:12}, or submit a new job." 2
    changed=$(uncommitted)
    [ -z "$changed" ] || die "files in $PWD are not as in commit ${wanted:0:12}, so the job would not run what it was \
submitted with: $(one_line "$changed"). Next: commit or restore them, and submit again." 2
}

# One job in one checkout; what a dead one left of DVC's locks is removed.
take_checkout() {
    local owner=.dvc/tmp/owner other host pid since
    mkdir -p .dvc/tmp
    exec 9>"$owner.lock"
    flock 9 # two jobs may start in the same second
    if read -r other host pid since 2>/dev/null <"$owner"; then
        if [ "$other" != "$job" ] && at_work "$other"; then
            die "job $other works in $PWD already, and two in one checkout would train the same item twice. Next: wait \
for it, or use a clone (slurm/sweep.sh makes one for each item)."
        fi
        if [ "$host" = "$(hostname)" ] && [ "$(started_at "$pid")" = "$since" ]; then
            die "process $pid of job $other still runs here in $PWD. Next: kill $pid, and submit again."
        fi
        remove_lock_of "$pid"
    fi
    echo "$job - 0 0" >"$owner"
    exec 9>&-
}

at_work() {
    local record
    record=$(ask "$1") || die "SLURM does not say whether job $1, which worked in $PWD, still does. Next: submit again, \
once \`scontrol ping\` finds the controller."
    [[ "$(word "$record" JobState)" =~ ^(RUNNING|SUSPENDED|COMPLETING|STOPPED)$ ]]
}

# When a living process was started, in the kernel's ticks: another process with its number has another time.
started_at() {
    local state
    state=$(sed -E 's/^.*\) //' "/proc/$1/stat" 2>/dev/null) || return 0
    [ "${state:0:1}" = Z ] || cut -d' ' -f20 <<<"$state"
}

# DVC's rwlock names processes by their number only, and takes any living process with that number for its owner.
remove_lock_of() {
    local lock=.dvc/tmp/rwlock pids
    pids=$(grep -oE '"pid": *[0-9]+' "$lock" 2>/dev/null | grep -oE '[0-9]+' | sort -u) || return 0
    [ "$pids" = "$1" ] || return 0
    rm "$lock"
    say "removed DVC's lock of process $1, which is dead"
}

# What is finished: stages, and steps of training that are durable.
progress() { { cat dvc.lock; ls -d state/*/checkpoints/step-*; } 2>/dev/null | cksum || true; }

count_stalled() {
    local before
    stalled=0
    begun_with=$(progress)
    if { read -r stalled && read -r before; } 2>/dev/null <"$notes/progress" && [ "$before" = "$begun_with" ]; then
        stalled=$((stalled + 1))
    else
        stalled=0
    fi
    printf '%s\n' "$stalled" "$begun_with" >"$notes/progress"
    [ "$stalled" -lt "$max_stalled" ] || die "$(stalled_sentence)" "$(cat "$notes/exit" 2>/dev/null || echo 1)"
}
stalled_sentence() {
    echo "the last $max_stalled starts of job $job finished no stage and no checkpoint, so it is not started" \
        "again. Next: read what the command said above; then submit a new job, which goes on from what is there."
}

# One task on each node; the first runs the command, the others help it to train.
run() {
    local nodes=${SLURM_JOB_NUM_NODES:-1} label=() processors
    [ "$nodes" = 1 ] || label=(--label)
    # As many for the task as every node has, `16` or `16(x2),8`: srun would bind it to one.
    processors=$(tr ',' '\n' <<<"$SLURM_JOB_CPUS_PER_NODE" | sed 's/(.*//' | sort -n | head -1)
    [ "$nodes" = 1 ] || join_nodes "$nodes"
    local since=$SECONDS tries=0
    while
        run_step "$@"
        ! has_begun && may_begin
    do :; done
}

# A file says that the step began: srun has one exit code for its own failures and for those of the command.
run_step() {
    code=0
    # shellcheck disable=SC2016 # the step's own words
    srun --nodes="$nodes" --ntasks="$nodes" --ntasks-per-node=1 --cpus-per-task="$processors" \
        --kill-on-bad-exit=0 --wait=60 "${label[@]}" bash -c ': >"$0/begun"; exec "$@"' "$notes" \
        "${container[@]}" bash slurm/inside.sh "$notes" "$@" &
    step=$!
    while kill -0 "$step" 2>/dev/null; do
        if [ -z "$asked" ]; then
            wait "$step" || true # a trap ends it early
        else
            pass_on
            [ "$asked" != TERM ] || at_the_limit
            sleep 1
        fi
    done
    wait "$step" || code=$?
}

has_begun() { [ "$code" = 0 ] || [ -n "$asked" ] || [ -e "$notes/begun" ] || [[ "$code" =~ ^(138|140|143)$ ]]; }

# Whether srun, which failed before the step began, is worth another try: it is while SLURM's controller is away (then
# once it answers, for minutes), and three times where it answers, since it may have come back in between.
may_begin() {
    tries=$((tries + 1))
    say "srun ended with exit code $code before the step began"
    until ask "$job" 0 >/dev/null; do
        if [ $((SECONDS - since)) -ge "${LATENTWIRE_ASK_S:-300}" ]; then
            unanswered=1
            return 1
        fi
        pause
        [ -z "$asked" ] || return 1
    done
    [ "$tries" -lt 3 ] || return 1
    pause
    [ -z "$asked" ]
}

# Five seconds, which a signal ends.
pause() {
    sleep 5 &
    wait $! || true
}

# Where the nodes of a training find each other, and the word by which they know each other.
join_nodes() {
    UNBROKEN_NODES=$1
    UNBROKEN_HEAD=$(name_nodes)
    UNBROKEN_HEAD=${UNBROKEN_HEAD%%$'\n'*} # not by `head`, which would leave scontrol without a reader
    UNBROKEN_TOKEN=$(head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n')
    export UNBROKEN_NODES UNBROKEN_HEAD UNBROKEN_TOKEN
}

# Without the site's files, scontrol asks the controller how SLURM is configured.
name_nodes() {
    local begun=$SECONDS
    until control show hostnames "$SLURM_JOB_NODELIST"; do
        [ $((SECONDS - begun)) -lt "${LATENTWIRE_ASK_S:-300}" ] || die "SLURM does not say what nodes job $job has. \
Next: submit it again, once \`scontrol ping\` finds the controller."
        sleep 5
    done
}

# USR1, never TERM: that makes srun kill the step. Again and again: what is starting may not hear the first.
pass_on() { [ ! -e "$notes/ready" ] || kill -USR1 "$step" 2>/dev/null || true; }

# SLURM never requeues what it ends at the time limit, and then kills this script too: so before a save is over.
at_the_limit() {
    [ -z "${looked:-}" ] || return 0
    local record
    record=$(ask "$job" 0) || return 0 # it is asked again in a second
    looked=1
    if [ "$(word "$record" Reason)" = TimeLimit ] && [ "$restart" -lt "${LATENTWIRE_MAX_REQUEUES:-100}" ]; then
        if requeue; then
            say "the time limit is reached; job $job is requeued"
        else
            say "the time limit is reached, but scontrol could not requeue job $job. Submit a new one to go on."
        fi
    fi
}

# The exit code of the command, not that of srun, which is the highest of all nodes.
exit_code() {
    if [ -s "$notes/exit" ]; then
        code=$(cat "$notes/exit")
    elif [ -n "$asked" ] || { [ ! -e "$notes/ready" ] && [[ "$code" =~ ^(138|140|143)$ ]]; }; then
        code=$RUN_ME_AGAIN # the signal came before there was anyone to hear it
    elif [ -n "${unanswered:-}" ]; then
        say "the step could not begin, because SLURM's controller does not answer"
        code=$RUN_ME_AGAIN
    elif [ ! -e "$notes/begun" ] && [ "$code" != 0 ]; then
        say "the step could not begin, although SLURM's controller answers; above, srun says why"
        return
    fi
    if [ "$code" != 0 ] && [ "$code" != "$RUN_ME_AGAIN" ] && lost_node; then code=$RUN_ME_AGAIN; fi
}

# Whether a node is gone, or nobody can say. srun fails without a controller too, so it is asked between two tries.
lost_node() {
    [ "${SLURM_JOB_NUM_NODES:-1}" -gt 1 ] || return 1
    for _ in 1 2; do
        ! timeout 30 srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1 --overlap true >/dev/null 2>&1 || return 1
        if ! ask "$job" >/dev/null; then
            say "SLURM's controller does not answer, so whether a node of this job is lost is not known"
            return 0
        fi
    done
    say "a node of this job does not answer"
}

finish() {
    exit_code
    case $code in
    0) say "job $job is done" ;;
    "$RUN_ME_AGAIN") come_again ;;
    *) say "job $job failed with exit code $code; $(say_requeued)" ;;
    esac
    exit "$code"
}

say_requeued() {
    local record
    record=$(ask "$job") || { echo "SLURM does not say whether it is requeued"; return; }
    if [ "$(restarts_in "$record")" -gt "$restart" ]; then echo "it is requeued"; else echo "it is not requeued"; fi
}

restarts_in() {
    local count
    count=$(word "$1" Restarts)
    echo "${count:-0}"
}

come_again() {
    local record unknown='' kept=${unanswered:+nothing ran}
    kept=${kept:-checkpointed}
    if ! record=$(ask "$job"); then
        unknown="; SLURM's controller did not answer, so whether it was cancelled is not known"
    elif [ "$(restarts_in "$record")" -gt "$restart" ]; then
        say "$kept; SLURM starts job $job again"
        return
    elif ! is_to_go_on "$record"; then
        say "$kept; job $job was cancelled and is not requeued. Submit a new one to go on."
        return
    fi
    if [ "$restart" -ge "${LATENTWIRE_MAX_REQUEUES:-100}" ]; then
        say "$kept; not requeued: job $job was started $((restart + 1)) times, and" \
            "LATENTWIRE_MAX_REQUEUES is ${LATENTWIRE_MAX_REQUEUES:-100}. Submit a new one to go on."
    elif [ "$begun_with" = "$(progress)" ] && [ $((stalled + 1)) -ge "$max_stalled" ]; then
        say "not requeued: $(stalled_sentence)"
    elif requeue; then
        say "$kept; job $job is requeued$unknown"
    else
        say "$kept, but scontrol could not requeue job $job$unknown. Submit a new one to go on."
    fi
}

# Once SLURM ends a job it says COMPLETING, whatever for; only of a time limit it gives the reason.
is_to_go_on() { [[ "$(word "$1" JobState)-$(word "$1" Reason)" =~ ^RUNNING-|-TimeLimit$ ]]; }
