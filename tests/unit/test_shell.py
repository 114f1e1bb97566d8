"""Every shell script: shellcheck clean, strict, unbuffered, of no site, and with options that the programs have."""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest
import typer

from latentwire.cli import app

ROOT = Path(__file__).parents[2]
DEFINITION = ROOT / "Apptainer.def"
SCRIPT_SECTIONS = ("post", "environment", "runscript", "test")
# What the programs of a cluster print with --help and --usage (Apptainer 1.4.5, SLURM 22.05.8), a line each, and
# what SLURM has but names in its manual only: --open-mode, and --me of squeue.
PINNED = Path(__file__).with_name("options.txt")
STARTS_PYTHON = re.compile(r"(?<![\w./-])(python3?|latentwire|dvc|mlflow)\s+[\w$\"-]")
ABSOLUTE = re.compile(r"(?:(?<=[\s=(])|(?<=[\s=(][\"']))/[A-Za-z][\w.-]*")
EVERY_MACHINE_HAS = ("/bin", "/dev", "/etc", "/proc", "/root", "/sys", "/tmp", "/usr", "/var")
# Where Apptainer.def puts things inside the image.
IMAGE_HAS = ("/opt",)
SITE = re.compile(r"^#SBATCH\s.*--(account|partition|qos|reservation|nodelist|constraint|chdir|mail-user)\b", re.M)


needs_shellcheck = pytest.mark.skipif(
    platform.machine() != "x86_64" and shutil.which("shellcheck") is None,
    reason="no shellcheck, which PyPI has for x86-64 only. Next: apt-get install shellcheck",
)


def tracked() -> list[Path]:
    listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    return [path for name in names if (path := ROOT / name).is_file()]


def is_shell(path: Path) -> bool:
    if path.suffix in (".sh", ".bash", ".slurm", ".sbatch"):
        return True
    with path.open("rb") as stream:
        return bool(re.match(rb"#!.*\b(ba|da|)sh\b|# shellcheck shell=", stream.read(80)))


SCRIPTS = [path for path in tracked() if is_shell(path)]
each_script = pytest.mark.parametrize("script", SCRIPTS, ids=[str(path.relative_to(ROOT)) for path in SCRIPTS])


def section(name: str) -> str:
    """A section of the definition file, as Apptainer would run it."""
    found = re.search(rf"^%{name}\n((?:[ \t]+.*\n|\n)*)", DEFINITION.read_text(), re.M)
    assert found is not None, name
    return re.sub(r"^    ", "", found[1], flags=re.M)


def code(text: str) -> str:
    """A script without comments and with its continued lines joined."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#") or line.startswith("#SBATCH"))
    return re.sub(r"\\\n\s*", " ", "\n".join(re.sub(r"\s#\s.*$", "", line) for line in lines))


def test_there_are_scripts() -> None:
    names = {str(path.relative_to(ROOT)) for path in SCRIPTS}
    assert {".ci/run", "tests/cluster/install.sh", "tests/cluster/common.sh"} <= names


@needs_shellcheck
@each_script
def test_shellcheck_is_clean(script: Path) -> None:
    check = ["shellcheck", "--external-sources", "--source-path=SCRIPTDIR", script]
    done = subprocess.run(check, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@needs_shellcheck
@pytest.mark.parametrize("name", SCRIPT_SECTIONS)
def test_shellcheck_of_the_definition_file(name: str) -> None:
    # Apptainer fills in {{ X }} before a shell sees it.
    text = re.sub(r"\{\{ (\w+) \}\}", r"value_of_\1", section(name))
    check = ["shellcheck", "--shell=sh", "-"]
    done = subprocess.run(check, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@each_script
def test_an_unset_name_or_a_broken_pipe_is_an_error(script: Path) -> None:
    text = script.read_text()
    sourced = text.startswith("# shellcheck shell=")
    assert sourced or re.search(r"^set -e?uo pipefail$", text, re.M)


@each_script
def test_python_is_not_buffered(script: Path) -> None:
    if STARTS_PYTHON.search(code(script.read_text())) and not script.read_text().startswith("# shellcheck shell="):
        assert "PYTHONUNBUFFERED=1" in script.read_text()


def test_python_is_not_buffered_in_the_image_and_in_make() -> None:
    assert "export PYTHONUNBUFFERED=1" in section("environment")
    assert "export PYTHONUNBUFFERED := 1" in (ROOT / "Makefile").read_text()
    assert ".SHELLFLAGS := -euo pipefail -c" in (ROOT / "Makefile").read_text()


@each_script
def test_no_site(script: Path) -> None:
    text = script.read_text()
    assert not SITE.findall(text)
    # The shebang and the parts of a longer path are none.
    paths = set(ABSOLUTE.findall(code(text).partition("\n")[2]))
    assert not {path for path in paths if not path.startswith(EVERY_MACHINE_HAS)}


def test_no_site_in_the_definition_file() -> None:
    paths = {path for name in SCRIPT_SECTIONS for path in ABSOLUTE.findall(code(section(name)))}
    assert not {path for path in paths if not path.startswith((*EVERY_MACHINE_HAS, *IMAGE_HAS))}


@each_script
def test_no_job_moves_git(script: Path) -> None:
    assert not re.search(r"\bgit\b[^\n|;&]*\b(pull|push)\b", code(script.read_text()))


@each_script
def test_every_option_is_one_of_the_program_that_gets_it(script: Path) -> None:
    assert list(unknown(code(script.read_text()))) == []


def test_every_option_in_the_definition_file() -> None:
    assert [found for name in (*SCRIPT_SECTIONS, "help") for found in unknown(code(section(name)))] == []


def test_drift_is_seen() -> None:
    text = (
        "#SBATCH --requeues\n"
        'srun --ntasks=2 apptainer exec --nvv "$image" latentwire doctor --imagee >>x || latentwire dokter\n'
        "python -m latentwire.stages.train --method=wire --sede 3; apptainer test --containall x\n"
        "python -m unbroken.proove\n"
    )
    assert list(unknown(code(text))) == [
        "sbatch --requeues",
        "apptainer exec --nvv",
        "latentwire doctor --imagee",
        "latentwire dokter",
        "python -m latentwire.stages.train --sede",
        "python -m unbroken.proove",
    ]


@pytest.mark.parametrize("program", ["apptainer build", "apptainer exec", "apptainer run", "apptainer test"])
def test_the_pinned_options_are_the_programs(program: str) -> None:
    if shutil.which("apptainer") is None:
        pytest.skip("no apptainer here. Next: as root, tests/cluster/install.sh")
    printed = subprocess.run([*program.split(), "--help"], capture_output=True, text=True, check=True).stdout
    assert set(pinned()[program]) <= set(re.findall(r"--[A-Za-z0-9-]+", printed))


@cache
def pinned() -> Mapping[str, list[str]]:
    lines = (line.partition(": ") for line in PINNED.read_text().splitlines())
    return {program: options.split() for program, _, options in lines}


def unknown(text: str) -> Iterator[str]:
    """`program --option` for every long option that the program before it in the command does not have."""
    for line in text.splitlines():
        if line.startswith("#SBATCH"):
            line = line.replace("#SBATCH", "sbatch", 1)
        for command in re.split(r"\$\(|[;|&()`<>]+|\b(?:then|do|else)\b", line):
            yield from unknown_in(words(command))


def words(command: str) -> list[str]:
    try:
        return shlex.split(command, comments=True)
    except ValueError:  # a quote that a split above tore: what is left is still words
        return command.replace('"', " ").replace("'", " ").split()


def unknown_in(command: list[str]) -> Iterator[str]:
    program = ""
    for number, word in enumerate(command):
        name = word.rpartition("/")[2]
        if name in ("sbatch", "srun", "scancel", "squeue", "sinfo", "scontrol"):
            program = name
        elif name in ("apptainer", "latentwire"):
            program = " ".join((name, subcommand(command[number + 1 :])))
            if re.fullmatch(r"latentwire [a-z-]+", program) and known(program) is None:
                yield program
        elif word == "-m" and command[number + 1 : number + 2]:
            program = f"python -m {command[number + 1]}"
            if not runs(command[number + 1]):
                yield program
        elif word.startswith("--") and len(word) > 2:
            options = known(program)
            if options is not None and word.partition("=")[0] not in options:
                yield f"{program} {word.partition('=')[0]}"


def runs(module: str) -> bool:
    """Whether `python -m` finds it, if it is ours."""
    path = ROOT / "src" / Path(*module.split("."))
    ours = module.split(".")[0] in ("latentwire", "unbroken")
    return not ours or path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def subcommand(rest: list[str]) -> str:
    return next((word for word in rest if not word.startswith("-")), "")


def known(program: str) -> list[str] | None:
    """The long options of a program; None for one that is not ours and not pinned."""
    if program.startswith("latentwire "):
        return cli_options().get(program.removeprefix("latentwire "))
    if program.startswith("python -m latentwire."):
        return module_options(program.removeprefix("python -m "))
    return pinned().get(program)


@cache
def cli_options() -> Mapping[str, list[str]]:
    group = typer.main.get_command(app)
    commands: Mapping[str, typer.core.TyperCommand] = getattr(group, "commands")  # noqa: B009
    found = {name: [opt for p in command.params for opt in p.opts] for name, command in commands.items()}
    return {name: [*options, "--help"] for name, options in found.items()} | {"": ["--help"]}


@cache
def module_options(module: str) -> list[str]:
    path = ROOT / "src" / Path(*module.split(".")).with_suffix(".py")
    if not path.is_file():
        return []
    return ["--help", *re.findall(r"add_argument\(\s*\"(--[a-z-]+)\"", path.read_text())]


def test_dvc_is_started_with_a_shell_that_is_everywhere(tmp_path: Path) -> None:
    """By default DVC runs stages by $SHELL: nologin, or one that the image lacks."""
    own = {**os.environ, "SHELL": "/usr/sbin/nologin"}
    listed = subprocess.run(["make", "-n", "repro"], cwd=ROOT, env=own, capture_output=True, text=True, check=True)
    calls = [line for line in listed.stdout.splitlines() if line.endswith("dvc repro")]
    assert calls == ["env SHELL=/bin/sh dvc repro"]
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    command = ["bash", str(ROOT / "slurm/inside.sh"), "notes", "sh", "-c", "echo $SHELL >shell"]
    subprocess.run(command, cwd=tmp_path, env=own, check=True, timeout=60)
    assert (tmp_path / "shell").read_text() == "/bin/sh\n"
    sourced = ["bash", "-c", f". {ROOT}/slurm/helpers.sh; printenv SHELL"]
    said = subprocess.run(sourced, cwd=ROOT, env=own, capture_output=True, text=True, check=True).stdout
    assert said == "/bin/sh\n"
    assert "export SHELL=/bin/sh" in (ROOT / "Apptainer.def").read_text().partition("%environment")[2]
