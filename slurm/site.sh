# shellcheck shell=bash
# shellcheck disable=SC2034 # the scripts that source this read `site_options` and `container`
# What the site has: its settings, and the image or environment that commands run in. helpers.sh sources it.

# Facts of the site, where there are any: SBATCH_* for sbatch, LATENTWIRE_* for these scripts. What the user has set in
# the environment of the submission wins.
read_site() {
    local set_before settings words
    if [ -e "$1/slurm/site.env" ] || [ -L "$1/slurm/site.env" ]; then
        # A folder, or a link to what is gone: settings would be lost in silence.
        [ -f "$1/slurm/site.env" ] || die "slurm/site.env is no file that can be read, expected settings, or nothing of \
that name. Next: ls -ld slurm/site.env" 2
        set_before=$(export -p | grep -E '^declare -x (SBATCH|LATENTWIRE|APPTAINER)_' || true)
        # Also with the line ends and the mark of an editor on Windows, which would become part of values and names.
        settings=$(tr -d '\r' <"$1/slurm/site.env")
        settings=${settings#$'\xef\xbb\xbf'}
        check_settings "$settings"
        set -a
        eval "$settings" || true # the last line may ask for a folder that is not there
        eval "${set_before//declare -x/export}"
        set +a
        # As by `PATH=/opt/slurm/bin`, which forgets what was in it.
        type git sed grep xargs >/dev/null 2>&1 || die "PATH is $PATH in slurm/site.env, where git, sed, grep and \
xargs are not found. Next: keep what was in it, PATH=FOLDER:\$PATH." 2
    fi
    check_numbers
    words=$(xargs -r printf '%s\n' <<<"${LATENTWIRE_SBATCH:-}" 2>/dev/null) ||
        die "LATENTWIRE_SBATCH is ${LATENTWIRE_SBATCH:-}, expected options of sbatch, of which a quotation mark is not \
closed. Next: mend it in slurm/site.env." 2
    site_options=()
    [ -z "$words" ] || mapfile -t site_options <<<"$words"
}

# Read in another shell first: what is no shell, names what is not set, or ends a shell would end this one without a
# sentence, and one with exit code 0 would look as if all had been done.
check_settings() {
    local said code=0 end=97
    said=$(LC_ALL=C bash -uc "$1"$'\n'"exit $end" site.env 2>&1 >/dev/null) || code=$?
    # Blanks around `=` make a command of the name, and its value would be lost; so would all that follows a `return`.
    [[ "$code" = "$end" && "$said" != *"command not found"* && "$said" != *"return: can only"* ]] ||
        die "slurm/site.env is not what bash can read ($(one_line "${said:-it ends the shell with exit code $code}")), \
expected lines such as NAME=value. Next: mend it there." 2
}

check_numbers() {
    local name
    for name in LATENTWIRE_MAX_REQUEUES LATENTWIRE_MAX_STALLED LATENTWIRE_ASK_S; do
        [[ "${!name:-1}" =~ ^[0-9]{1,9}$ ]] ||
            die "$name is ${!name}, expected a whole number. Next: mend it in slurm/site.env." 2
    done
    [[ "${LATENTWIRE_PARK:-0}" =~ ^[01]$ ]] ||
        die "LATENTWIRE_PARK is $LATENTWIRE_PARK, expected 0 or 1. Next: mend it in slurm/site.env." 2
}

# The words that start a command in the image, or in .venv where there is no image.
prepare_container() {
    local image=${LATENTWIRE_IMAGE:-latentwire.sif}
    if [ "$image" = none ]; then
        # The code of this clone: .venv may be that of the checkout which a profile's clone lies in.
        container=(env "PATH=$1/.venv/bin:$PATH" "PYTHONPATH=$1/src")
        return
    fi
    [[ "$image" = /* ]] || image=$1/$image
    [ -f "$image" ] || die "no image at $image. Next: make image, or set LATENTWIRE_IMAGE in slurm/site.env." 2
    if [ -f "$image.sha256" ]; then
        LATENTWIRE_IMAGE_DIGEST=$(cut -c1-64 "$image.sha256")
        export LATENTWIRE_IMAGE_DIGEST
    fi
    # Not --bind, in which a colon or a comma of the path would end it. As in CSV, a quotation mark is doubled.
    # A profile's clone has links into the checkout that it lies in.
    local path=${1%/.cache/profiles/*}
    path=${path//\"/\"\"}
    local mount="type=bind,\"source=$path\",\"destination=$path\""
    container=(apptainer exec --nv --mount "$mount" --pwd "$PWD" "$image")
}
