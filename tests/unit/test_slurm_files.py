"""What slurm/ gives to the scheduler, as text; a real SLURM runs it in tests/cluster."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from dvc.config import Config

ROOT = Path(__file__).parents[2]
GOLDEN = Path(__file__).parent / "golden"
GIT = ("git", "-c", "user.name=test", "-c", "user.email=test@example.org")
STAGES = ("prepare", "encode@tiny", "baseline@tiny", "train@wire-tiny-0", "train_ablation@short-tiny-0")
ITEMS = ("evaluate@wire-tiny-0", "evaluate_ablation@short-tiny-0", "aggregate", "report")


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A repository with the scripts, and a `dvc` that knows the names of some stages."""
    folder = tmp_path / "clone"
    shutil.copytree(ROOT / "slurm", folder / "slurm", ignore=shutil.ignore_patterns("site.env"))
    dvc = folder / ".venv/bin/dvc"
    dvc.parent.mkdir(parents=True)
    names = "\n".join((*STAGES, *ITEMS))
    dvc.write_text(f'#!/bin/sh\n[ "$1" = cache ] && echo /cache || echo "{names}"\n')
    dvc.chmod(0o755)
    (folder / ".dvc").mkdir()
    (folder / ".dvc/.gitignore").write_text("/config.local\n")
    (folder / ".gitignore").write_text("/.venv/\n/slurm/site.env\n/state/\n")
    for command in ("init -q", "add -A", "commit -q -m scripts"):
        subprocess.run([*GIT, *command.split()], cwd=folder, check=True)
    return folder


def bash(folder: Path, command: str, code: int = 0, **variables: str) -> str:
    """What a command prints on both streams."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "SBATCH", "LATENTWIRE_", "MLFLOW_"))}
    environment = {**kept, "LATENTWIRE_IMAGE": "none", **variables}
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_a_sweep_is_three_submissions(clone: Path) -> None:
    (clone / "slurm/site.env").write_text('SBATCH_PARTITION=preempt\nLATENTWIRE_SBATCH="--nodes=1 --cpus-per-task=8"\n')
    said = bash(clone, "slurm/sweep.sh --dry-run 3")
    commit = bash(clone, "git rev-parse HEAD").strip()
    shown = said.replace(str(clone), "CLONE").replace(commit[:12], "COMMIT")
    assert shown == (GOLDEN / "sweep.txt").read_text()
    assert not (clone / "state").exists()


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_settings_with_the_line_ends_and_the_mark_of_windows(mark: bytes, clone: Path) -> None:
    (clone / "slurm/site.env").write_bytes(mark + b'SBATCH_PARTITION=preempt\r\nLATENTWIRE_SBATCH="--nodes=1-4"\r\n')
    said = bash(clone, '. slurm/helpers.sh; read_site .; printf "%s|" "$SBATCH_PARTITION" "${site_options[@]}"')
    assert said == "preempt|--nodes=1-4|"


def test_scripts_and_code_have_no_other_line_ends_on_any_machine(tmp_path: Path) -> None:
    shutil.copy(ROOT / ".gitattributes", tmp_path)
    (tmp_path / "run.sh").write_text("true\n")
    for command in ("init -q", "config core.autocrlf true", "add -A", "commit -q -m x", "rm -q --cached run.sh"):
        subprocess.run([*GIT, *command.split()], cwd=tmp_path, check=True)
    (tmp_path / "run.sh").unlink()
    subprocess.run([*GIT, "checkout", "-q", "HEAD", "--", "run.sh"], cwd=tmp_path, check=True)
    assert (tmp_path / "run.sh").read_bytes() == b"true\n"


def test_a_sweep_makes_a_clone_of_every_item(clone: Path, tmp_path: Path) -> None:
    submit = clone / ".venv/bin/sbatch"
    submit.write_text("#!/bin/sh\necho 17\n")
    submit.chmod(0o755)
    said = bash(clone, "slurm/sweep.sh 2", PATH=f"{submit.parent}:{os.environ['PATH']}")
    assert "jobs 17 (data), 17 (2 items, 2 at a time), 17 (collect)" in said
    commit = bash(clone, "git rev-parse HEAD").strip()
    sweep = clone / "state/sweep" / commit[:12]
    assert (sweep / "stages").read_text() == "evaluate@wire-tiny-0\nevaluate_ablation@short-tiny-0\n"
    for item in ("wire-tiny-0", "short-tiny-0"):
        assert bash(sweep / item, "git rev-parse HEAD").strip() == commit
        assert (sweep / item / ".dvc/config.local").read_text() == '[cache]\n    dir = "/cache"\n'
        assert (sweep / item / "assets").resolve() == clone / "assets"


SBATCH = """#!/bin/bash
number=$(($(cat count 2>/dev/null || echo 16) + 1)); echo $number >count
if [ $number = 18 ] && [ -n "${REFUSED-}" ]; then echo "sbatch: error: $REFUSED" >&2; exit 1; fi
printf 'Welcome to the site.\\n%s;cluster\\n' "$number"
"""


def test_a_sweep_that_is_refused_half_way_says_what_is_in_the_queue(clone: Path) -> None:
    submit = clone / ".venv/bin/sbatch"
    submit.write_text(SBATCH)
    submit.chmod(0o755)
    own = {"PATH": f"{submit.parent}:{os.environ['PATH']}"}
    said = bash(clone, "slurm/sweep.sh 2", code=1, REFUSED="Invalid account", **own)
    assert (
        "sbatch: error: Invalid account\nerror: sbatch refused it, and says why above. Next: scancel 17, which" in said
    )
    (clone / "count").unlink()
    assert "=== jobs 17 (data), 18 (2 items, 2 at a time), 19 (collect)" in bash(clone, "slurm/sweep.sh 2", **own)


@pytest.mark.parametrize("name", ["a:b", "c,d e", 'say "no"', "$HOME `id`", "two\nlines"])
def test_the_image_sees_a_folder_of_any_name(name: str, clone: Path, tmp_path: Path) -> None:
    """A colon or a comma ends a path in --bind."""
    there = clone.rename(tmp_path / name)
    (there / "latentwire.sif").touch()
    command = '. slurm/helpers.sh; prepare_container "$PWD"; printf "%s|" "${container[@]}"'
    path = str(there).replace('"', '""')
    mount = f'type=bind,"source={path}","destination={path}"'
    shown = f"apptainer|exec|--nv|--mount|{mount}|--pwd|{there}|{there}/latentwire.sif|"
    assert bash(there, command, LATENTWIRE_IMAGE="latentwire.sif") == shown


def test_the_image_sees_what_a_profile_links_to(clone: Path) -> None:
    """Its clone lies in a checkout, and has links to the models and data there."""
    profile = clone / ".cache/profiles/full"
    subprocess.run(["git", "clone", "--quiet", str(clone), str(profile)], check=True)
    (profile / "latentwire.sif").touch()
    command = '. slurm/helpers.sh; prepare_container "$PWD"; printf "%s|" "${container[@]}"'
    mount = f'type=bind,"source={clone}","destination={clone}"'
    shown = f"apptainer|exec|--nv|--mount|{mount}|--pwd|{profile}|{profile}/latentwire.sif|"
    assert bash(profile, command, LATENTWIRE_IMAGE="latentwire.sif") == shown


def test_without_an_image_the_code_of_the_clone_runs(clone: Path) -> None:
    command = '. slurm/helpers.sh; prepare_container "$PWD"; printf "%s|" "${container[@]}"'
    shown = bash(clone, command, PATH=os.environ["PATH"])
    assert shown == f"env|PATH={clone}/.venv/bin:{os.environ['PATH']}|PYTHONPATH={clone}/src|"


@pytest.mark.parametrize(
    "name",
    [
        *("c#x", "a,b", "d e", "f;g", "c%41", "it's", 'say "no"', "'both'\"", "two\nlines", "two\nlines'\""),
        *("$HOME", "${x}", "a\\b", "`id`", "$(id)"),
    ],
)
def test_a_sweep_in_a_folder_of_any_name(name: str, clone: Path, tmp_path: Path) -> None:
    there = clone.rename(tmp_path / name)
    names = " ".join((*STAGES, *ITEMS))
    (there / ".venv/bin/dvc").write_text(
        f'#!/bin/sh\n[ "$1" = cache ] && printf "%s\\n" "$PWD/.dvc/cache" || printf "%s\\n" {names}\n'
    )
    submit = there / ".venv/bin/sbatch"
    said = 'printf "%s\\n" "$* $LATENTWIRE_SWEEP"'  # a shell's echo may take a backslash for more than it is
    submit.write_text(f'#!/bin/sh\ncase "$*" in *--array*) {said} >"$STUB" ;; esac\necho 17\n')
    submit.chmod(0o755)
    path = f"{submit.parent}:{os.environ['PATH']}"
    bash(there, "slurm/sweep.sh 2", PATH=path, STUB=str(tmp_path / "submitted"))
    sweep = there / "state/sweep" / bash(there, "git rev-parse HEAD").strip()[:12]
    assert str(Config(str(sweep / "short-tiny-0/.dvc"))["cache"]["dir"]) == str(there / ".dvc/cache")
    assert (tmp_path / "submitted").read_text().endswith(f" --export=ALL slurm/container.slurm {sweep}\n")


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("%(x)s", "since it takes %(…)s for a name"),
        ("""'"'"''' \"\"\"""", "because of the quotation marks in its name"),
    ],
)
def test_a_sweep_in_a_folder_that_dvc_cannot_be_told_of(name: str, why: str, clone: Path, tmp_path: Path) -> None:
    there = clone.rename(tmp_path / name)
    (there / ".venv/bin/dvc").write_text('#!/bin/sh\nprintf "%s\\n" "$PWD/.dvc/cache"\n')
    said = bash(there, "slurm/sweep.sh 2", code=2)
    assert said == f"error: DVC cannot be told of a cache in {there}/.dvc/cache, {why}. Next: move the clone.\n"
    assert not (there / "state").exists()


@pytest.mark.parametrize(
    ("before", "arguments", "variables", "sentence"),
    [
        ("true", "--dry-run none", {}, "usage: slurm/sweep.sh"),
        ("echo >>slurm/sweep.sh", "--dry-run", {}, "not committed: M slurm/sweep.sh. A sweep runs a commit."),
        ("true", "--dry-run", {"MLFLOW_TRACKING_URI": "sqlite:///x.db"}, "one SQLite file for many jobs"),
        ("true", "--dry-run", {"LATENTWIRE_IMAGE": "no.sif"}, "no.sif. Next: make image"),
    ],
)
def test_a_sweep_refuses(before: str, arguments: str, variables: dict[str, str], sentence: str, clone: Path) -> None:
    bash(clone, before)
    assert sentence in bash(clone, f"slurm/sweep.sh {arguments}", code=2, **variables)


def test_outside_of_a_job_it_submits_itself(clone: Path, tmp_path: Path) -> None:
    submit = tmp_path / "bin/sbatch"
    submit.parent.mkdir()
    submit.write_text('#!/bin/sh\necho "$SBATCH_PARTITION: $*"\n')
    submit.chmod(0o755)
    (clone / "slurm/site.env").write_text('SBATCH_PARTITION=preempt\nLATENTWIRE_SBATCH="--nodes=1-4"\n')
    path = f"{submit.parent}:{os.environ['PATH']}"
    shown = bash(Path("/"), f"{clone}/slurm/container.slurm dvc repro prepare", PATH=path)
    assert shown == "preempt: --nodes=1-4 slurm/container.slurm dvc repro prepare\n"
    shown = bash(Path("/"), f"{clone}/slurm/container.slurm", PATH=path, SBATCH_PARTITION="mine")
    assert shown == "mine: --nodes=1-4 slurm/container.slurm\n"


def test_the_job_can_come_again_and_has_the_name_that_the_accounting_asks_for() -> None:
    directives = re.findall(r"^#SBATCH (.+)$", (ROOT / "slurm/container.slurm").read_text(), re.M)
    assert directives == ["--job-name=latentwire", "--requeue", "--open-mode=append", "--signal=B:USR1@120"]


def test_every_variable_of_the_scripts_is_in_the_example() -> None:
    """What a site may set is documented where it is set."""
    scripts = "".join(path.read_text() for path in (ROOT / "slurm").iterdir() if path.suffix in (".sh", ".slurm"))
    given = set(re.findall(r"\$\{(LATENTWIRE_\w+):-", scripts)) - {"LATENTWIRE_SWEEP"}
    assert given <= set(re.findall(r"^#?(\w+)=", (ROOT / "slurm/site.env.example").read_text(), re.M))


@pytest.mark.parametrize("searched", [".", "..", "ELSEWHERE"])
def test_folders_that_cd_searches_are_not_taken_for_this_one(searched: str, clone: Path, tmp_path: Path) -> None:
    """With CDPATH `cd` goes to another folder of that name, and prints where it went."""
    (tmp_path / "elsewhere/slurm").mkdir(parents=True)
    path = searched.replace("ELSEWHERE", str(tmp_path / "elsewhere"))
    assert "3 at a time" not in bash(clone, "slurm/sweep.sh --dry-run 3", CDPATH=path)
    submit = clone / ".venv/bin/sbatch"
    submit.write_text('#!/bin/sh\necho "$PWD: $*"\n')
    submit.chmod(0o755)
    said = bash(clone, "slurm/container.slurm", CDPATH=path, PATH=f"{submit.parent}:{os.environ['PATH']}")
    assert said == f"{clone}: slurm/container.slurm\n"


@pytest.mark.parametrize("name", ["it's.py", 'a "b".py', "a b.py", "back\\slash.py"])
def test_a_changed_file_of_any_name_is_named(name: str, clone: Path) -> None:
    (clone / name).touch()
    for command in (["add", "-A"], ["commit", "-q", "-m", "a file"]):
        subprocess.run([*GIT, *command], cwd=clone, check=True)
    (clone / name).write_text("changed")
    said = bash(clone, "slurm/sweep.sh --dry-run", code=2)
    assert re.fullmatch(r"error: not committed: M .*\. A sweep runs a commit\. Next: git commit\.\n", said)
    assert all(word in said for word in re.findall(r"\w+", name))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("--nodes=1\n    --cpus-per-task=8", ["--nodes=1", "--cpus-per-task=8"]),
        ("--constraint='a100|h100'  --comment='two words'", ["--constraint=a100|h100", "--comment=two words"]),
        ("--nodelist=node[1-3] --mem=*", ["--nodelist=node[1-3]", "--mem=*"]),
        ("", []),
        (" \n ", []),
    ],
)
def test_options_are_words_as_in_a_shell(text: str, words: list[str], clone: Path) -> None:
    command = '. slurm/helpers.sh; read_site .; for word in "${site_options[@]}"; do echo "$word"; done'
    (clone / "slurm/site.env").write_text(f'LATENTWIRE_SBATCH="{text}"\n')
    assert bash(clone, f"set -euo pipefail; {command}").splitlines() == words


def test_options_with_a_mark_that_is_not_closed_are_refused(clone: Path) -> None:
    said = bash(clone, "slurm/sweep.sh --dry-run", code=2, LATENTWIRE_SBATCH="--comment='two words")
    assert said == (
        "error: LATENTWIRE_SBATCH is --comment='two words, expected options of sbatch, of which a quotation mark is "
        "not closed. Next: mend it in slurm/site.env.\n"
    )


@pytest.mark.parametrize("last", ["[ -d /nowhere ] && SBATCH_QOS=low", "false", "# a remark"])
def test_settings_may_ask_what_is_there(last: str, clone: Path) -> None:
    (clone / "slurm/site.env").write_text(f"SBATCH_PARTITION=preempt\n{last}\n")
    assert "sbatch slurm/container.slurm" in bash(clone, "slurm/sweep.sh --dry-run")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("SBATCH_QOS=(low", "line 2: "),
        ('APPTAINER_BIND="$NOWHERE/models"', "line 2: NOWHERE: unbound variable"),
        ("SBATCH_QOS = low", "line 2: SBATCH_QOS: command not found"),
    ],
)
def test_settings_that_are_no_shell_are_refused(line: str, why: str, clone: Path) -> None:
    (clone / "slurm/site.env").write_text(f"SBATCH_PARTITION=preempt\n{line}\n")
    said = bash(clone, "slurm/sweep.sh --dry-run", code=2)
    assert said.startswith("error: slurm/site.env is not what bash can read (site.env: ")
    assert why in said
    assert said.endswith("), expected lines such as NAME=value. Next: mend it there.\n")


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("exit 3", "it ends the shell with exit code 3"),
        ("exit", "it ends the shell with exit code 0"),
        ("exec true", "it ends the shell with exit code 0"),
        ("return", "site.env: line 2: return: can only `return' from a function or sourced script"),
    ],
)
@pytest.mark.parametrize("last", ["SBATCH_QOS=low", ""])
def test_settings_that_end_before_their_last_line_are_refused(line: str, why: str, last: str, clone: Path) -> None:
    """With exit code 0 the job would look done, and nothing would have been computed."""
    (clone / "slurm/site.env").write_text(f"SBATCH_PARTITION=preempt\n{line}\n{last}\n")
    said = bash(clone, "slurm/sweep.sh --dry-run", code=2)
    assert said.startswith(f"error: slurm/site.env is not what bash can read ({why}")
    assert said.endswith("), expected lines such as NAME=value. Next: mend it there.\n")


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("gone"), os.mkfifo])
def test_settings_that_are_no_file_are_not_taken_for_none(make: Callable[[Path], object], clone: Path) -> None:
    make(clone / "slurm/site.env")
    said = bash(clone, "slurm/sweep.sh --dry-run", code=2)
    assert said.startswith("error: slurm/site.env is no file that can be read, expected settings, or nothing of that ")


def test_settings_that_lose_the_programs_of_the_system_are_refused(clone: Path) -> None:
    (clone / "slurm/site.env").write_text("PATH=/opt/slurm/bin\n")
    said = bash(clone, "slurm/sweep.sh --dry-run", code=2)
    assert said.startswith("error: PATH is /opt/slurm/bin in slurm/site.env, where git, sed, grep and xargs are not ")
    assert said.endswith("Next: keep what was in it, PATH=FOLDER:$PATH.\n")


@pytest.mark.parametrize("name", ["LATENTWIRE_MAX_REQUEUES", "LATENTWIRE_MAX_STALLED", "LATENTWIRE_ASK_S"])
@pytest.mark.parametrize("value", ["many", "-1", "1.5"])
def test_a_number_that_is_none_is_refused(name: str, value: str, clone: Path) -> None:
    said = bash(clone, "slurm/sweep.sh --dry-run", code=2, **{name: value})
    assert said == f"error: {name} is {value}, expected a whole number. Next: mend it in slurm/site.env.\n"


def test_a_sweep_that_was_interrupted_goes_on(clone: Path) -> None:
    """Half a clone is left, which git refuses to clone into."""
    submit = clone / ".venv/bin/sbatch"
    submit.write_text("#!/bin/sh\necho 17\n")
    submit.chmod(0o755)
    half = clone / "state/sweep" / bash(clone, "git rev-parse HEAD").strip()[:12] / "wire-tiny-0.new"
    half.mkdir(parents=True)
    (half / "half").touch()
    bash(clone, "slurm/sweep.sh 2", PATH=f"{submit.parent}:{os.environ['PATH']}")
    assert (half.with_suffix("") / "slurm").is_dir()
    assert not half.exists()


def test_what_the_user_says_of_every_repository_is_heard(clone: Path) -> None:
    """Containers set safe.directory so; git counts it to what is meant for one repository."""
    variables = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "a.b", "GIT_CONFIG_VALUE_0": "c", "GIT_DIR": "/nowhere"}
    assert bash(clone, ". slurm/helpers.sh; git config a.b; git rev-parse HEAD", **variables).startswith("c\n")
    (clone / "Makefile").write_text(
        f"include {ROOT}/Makefile\nask:\n\t@git config a.b; git rev-parse --show-toplevel\n"
    )
    assert bash(clone, "make -s ask", **variables) == f"c\n{clone}\n"


def test_results_are_no_change_of_the_code_however_git_was_started(clone: Path) -> None:
    """Some interfaces of git let their hooks take the names of files as they are."""
    (clone / "dvc.lock").touch()
    for command in ("add -A", "commit -q -m lock"):
        subprocess.run([*GIT, *command.split()], cwd=clone, check=True)
    (clone / "dvc.lock").write_text("new")
    assert "error" not in bash(clone, "slurm/sweep.sh --dry-run", GIT_LITERAL_PATHSPECS="1")
