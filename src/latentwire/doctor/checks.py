"""`latentwire doctor`: what is here, what is missing, and what to do about it."""

from __future__ import annotations

import platform
import re
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from shlex import quote
from typing import Any

from packaging.markers import Marker
from rich.table import Table
from rich.text import Text

from latentwire import assets, git, machine
from latentwire.console.tables import make_table
from latentwire.doctor.programs import Answer, ask_program
from latentwire.environment import user_shell
from latentwire.errors import LatentWireError
from latentwire.nvml import read_gpus
from latentwire.params.load import AnyParams, Params, load_any_params
from latentwire.params.sources import PackagedFiles, PackagedModel
from latentwire.sizes import GIB, format_bytes
from latentwire.tracking.store import is_unreachable, locate_store

PYTHONS = ("3.11", "3.12", "3.13")
"""What requirements.lock is for."""
NEEDED_DISK = 6 * GIB
"""What `make repro` writes altogether."""
_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)(?: *; *([^\\\n]+))?", re.M)


CLUSTER = "use it on a cluster that has it, or `bash tests/cluster/install.sh` for a virtual one"


class State(StrEnum):
    """`optional` is not here and not needed for `make repro` on one machine."""

    OK = "ok"
    OPTIONAL = "optional"
    MISSING = "missing"


_STYLES = {State.OK: "green", State.OPTIONAL: "dim", State.MISSING: "bold red"}


@dataclass(frozen=True)
class Check:
    """One thing that was checked. `advice` is a command or a sentence; empty where there is nothing to do."""

    name: str
    state: State
    found: str
    advice: str = ""


def examine_machine(root: Path) -> list[Check]:
    """Every check, in the order in which things are needed."""
    return [check for part in CHECKS for check in part(root)]


def doctor_exit_code(checks: Sequence[Check]) -> int:
    """1 where something is missing that `make repro` needs."""
    return int(any(check.state is State.MISSING for check in checks))


def checks_table(checks: Sequence[Check]) -> Table:
    """The checks for a terminal."""
    shown = [(c.name, Text(c.state.value, _STYLES[c.state]), c.found, c.advice) for c in checks]
    return make_table(("what", "state", "found", "what to do"), shown)


def format_checks(checks: Sequence[Check]) -> list[str]:
    """The checks where the output is not a terminal."""
    return [f"{c.state.value:9} {c.name}: {c.found}{f'. Next: {c.advice}' if c.advice else ''}" for c in checks]


def checks_as_json(checks: Sequence[Check]) -> list[dict[str, Any]]:
    """The checks for programs."""
    return [asdict(check) for check in checks]


def parse_pins(text: str) -> dict[str, str]:
    """Distribution → version, from a requirements file with hashes: of the pins whose marker holds here."""
    return {name.lower(): version for name, version, marker in _PIN.findall(text) if _holds(marker)}


def _holds(marker: str) -> bool:
    return not marker or Marker(marker).evaluate()


def find_unlike_pins(pinned: dict[str, str], installed: Callable[[str], str | None]) -> list[str]:
    """Pinned distributions that are missing or installed in another version: `name 1.0 (locked 2.0)`."""
    compared = ((name, installed(name), version) for name, version in pinned.items())
    return [f"{name} {has or 'absent'} (locked {wants})" for name, has, wants in compared if not _same(has, wants)]


def _same(has: str | None, wants: str) -> bool:
    # A build such as 2.13.0+cpu is the version 2.13.0.
    return has is not None and (has == wants or has.partition("+")[0] == wants)


def _python(_root: Path) -> Iterator[Check]:
    version = platform.python_version()
    good = version.rpartition(".")[0] in PYTHONS
    advice = "" if good else f"install Python {', '.join(PYTHONS[:-1])} or {PYTHONS[-1]}, then make setup"
    yield Check("Python", State.OK if good else State.MISSING, version, advice)


def check_packages(root: Path) -> Iterator[Check]:
    """Whether everything that `requirements.lock` in `root` pins is installed."""
    lock = root / "requirements.lock"
    if not lock.is_file():
        yield Check("packages", State.MISSING, "no requirements.lock", "run it in the root of the repository")
        return
    pinned = parse_pins(lock.read_text(encoding="utf-8"))
    other = find_unlike_pins(pinned, machine.installed_version)
    state, advice = (State.MISSING, "make environment") if other else (State.OK, "")
    more = f" and {len(other) - 3} more" if len(other) > 3 else ""
    yield Check("packages", state, f"{', '.join(other[:3])}{more}" if other else f"{len(pinned)} as locked", advice)


def check_torch(root: Path) -> Iterator[Check]:
    """Torch, its build, and the GPUs that it would use."""
    version, gpus = machine.installed_version("torch"), read_gpus()
    if version is None:
        yield Check("torch", State.MISSING, "not installed", "make environment")
        return
    build = _build()
    lock = root / f"requirements-{'cpu' if build == 'CPU' else 'cuda'}.lock"
    other = (
        find_unlike_pins(parse_pins(lock.read_text(encoding="utf-8")), machine.installed_version)
        if lock.is_file()
        else []
    )
    if other:
        yield Check("torch", State.MISSING, ", ".join(other[:3]), "make environment")
        return
    idle = gpus.cards and build == "CPU"
    advice = "make environment TORCH=cuda, the GPU is not used otherwise" if idle else ""
    yield Check("torch", State.OPTIONAL if idle else State.OK, f"{version}, {build} build", advice)
    cards = ", ".join(f"{card.name} ({card.size})" for card in gpus.cards)
    if cards:
        yield Check("GPU", State.OK, f"{cards}, driver {gpus.driver}")
    else:
        yield Check("GPU", State.OPTIONAL, "none; everything runs on the CPU")


def _build() -> str:
    """`CPU`, or the CUDA that torch was built with; read from its version file, which is fast."""
    spec = find_spec("torch")
    file = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    text = file.read_text(encoding="utf-8") if file and file.is_file() else ""
    cuda = re.search(r"^cuda\b.*=\s*'([\d.]+)'", text, re.M)
    return f"CUDA {cuda[1]}" if cuda else "CPU"


def _machine(root: Path) -> Iterator[Check]:
    yield Check("processor", State.OK, machine.describe_processor())
    yield Check("memory", State.OK, machine.describe_memory())
    free = machine.free_space(root)
    done = (root / "results/aggregate/stats.json").is_file()
    small = free < NEEDED_DISK and not done
    found = f"{format_bytes(free)} free"
    advice = f"make room: `make repro` needs {format_bytes(NEEDED_DISK)}" if small else ""
    yield Check("disk", State.MISSING if small else State.OK, found, advice)


def _parameters(root: Path) -> Iterator[Check]:
    try:
        values = load_any_params(root / "params.yaml")
    except LatentWireError as error:
        yield Check("params.yaml", State.MISSING, str(error))
        return
    yield Check(
        "params.yaml", State.OK, f"{len(values.train.all_methods)} methods, tasks {', '.join(values.prepare.tasks)}"
    )
    yield _assets(root, values)


def _assets(root: Path, values: AnyParams) -> Check:
    wanted = _packages_of(values)
    if not wanted:
        return Check("models and data", State.OK, "none come from packages")
    held = assets.Assets(root / "assets", root / "assets.lock")
    try:
        absent = [name for name in wanted if _lacks(held, name)]
    except LatentWireError as error:
        return Check("models and data", State.MISSING, str(error))
    if absent:
        return Check("models and data", State.MISSING, f"not in assets/: {', '.join(absent)}", "make assets")
    return Check("models and data", State.OK, f"{len(wanted)} packages in assets/")


def _packages_of(values: AnyParams) -> list[str]:
    """Distributions that the chosen models and tasks come from."""
    if not isinstance(values, Params):
        return []
    models = [values.models[name] for name in values.frozen_models()]
    sources = [values.tasks[name].source for name in values.prepare.tasks]
    names = [name for model in models if isinstance(model, PackagedModel) for name in model.package]
    return [*names, *(source.package for source in sources if isinstance(source, PackagedFiles))]


def _lacks(held: assets.Assets, name: str) -> bool:
    """Checked by file name; `make repro` checks the bytes, which takes seconds."""
    pin = held.pins().get(name)
    return pin is None or not any(pin.is_file(path) for path in held.folder.glob("*.whl"))


def _dvc(root: Path) -> Iterator[Check]:
    version = machine.installed_version("dvc")
    if version is None:
        yield Check("DVC", State.MISSING, "not installed", "make environment")
        return
    advice = "" if shutil.which("dvc") else "put .venv/bin on the PATH to call dvc yourself"
    yield Check("DVC", State.OK, version, advice)
    if (root / ".dvc").is_dir():
        yield _remotes(ask_program(sys.executable, "-m", "dvc", "remote", "list", cwd=root))
    else:
        yield Check("DVC repository", State.MISSING, "no .dvc here", "run it in the root of the repository")


def _remotes(answer: Answer) -> Check:
    if answer.output is None:
        return Check("DVC remote", State.MISSING, f"DVC does not say: {answer.problem}", "`dvc remote list` says more")
    names = ", ".join(line.split()[0] for line in answer.output.splitlines() if line.split())
    advice = "" if names else "dvc remote add -d NAME URL, to share results and to park checkpoints"
    return Check("DVC remote", State.OK if names else State.OPTIONAL, names or "none", advice)


def _mlflow(root: Path) -> Iterator[Check]:
    store = locate_store(root)
    if store.database is None:
        yield Check("MLflow", State.OK, f"{store.shown} (not asked)")
    elif not store.database.is_file():
        yield Check("MLflow", State.OK, f"no {store.database.name} yet; the first run makes it")
    else:
        yield _database(store.database)


def _database(path: Path) -> Check:
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as connection:
            (count,) = connection.execute("select count(*) from runs").fetchone()
    except sqlite3.Error as error:
        if is_unreachable(str(error)):
            advice = "see that it can be read and which process holds it, then ask again"
            return Check("MLflow", State.MISSING, f"{path.name} cannot be read now ({error})", advice)
        advice = f"mv {quote(str(path))} {quote(f'{path}.broken')}; results are not in it"
        return Check("MLflow", State.MISSING, f"{path.name} is not a whole database ({error})", advice)
    return Check("MLflow", State.OK, f"{path.name} with {count} runs")


def _programs(root: Path) -> Iterator[Check]:
    git_itself = check_program("git", ("git", "--version"), "install git", needed=True)
    yield git_itself
    if git_itself.state is State.OK:
        yield _repository(root)
    yield check_program("TeX", ("latexmk", "--version"), "install TeX Live with latexmk, for reports/paper.pdf")
    yield check_program("SLURM", ("sinfo", "--version"), CLUSTER)
    yield check_program("Apptainer", ("apptainer", "--version"), CLUSTER)


def _repository(root: Path) -> Check:
    why = git.explain_unknown(root)
    if why is None:
        return Check("git repository", State.OK, f"at {(git.resolve_commit(root) or '')[:12]}")
    if "not a git repository" in why:
        advice = "clone it, or `git init` here, where reports then are drafts: dvc runs in a git repository only"
        return Check("git repository", State.MISSING, why, advice)
    return Check("git repository", State.OPTIONAL, why, "mend that, or clone it again; until then reports are drafts")


def check_program(name: str, command: tuple[str, ...], advice: str, needed: bool = False) -> Check:
    """Whether a program answers, and its first line; `advice` is for where there is none."""
    answer = ask_program(*command)
    if answer.output is not None:
        text = next((line for line in answer.output.splitlines() if line.strip()), "answers")
        return Check(name, State.OK, text.strip())
    state = State.MISSING if needed else State.OPTIONAL
    return Check(name, state, answer.problem, advice if answer.absent else f"`{' '.join(command)}` says more")


def _shell(_root: Path) -> Iterator[Check]:
    """DVC runs stages by SHELL, which `make` sets; nologin runs none."""
    answer = ask_program(user_shell(), "-c", "exit 0")
    if answer.output is None:
        advice = "`export SHELL=/bin/sh` before you call dvc yourself; `make repro` does"
        yield Check(
            "shell", State.OPTIONAL, f"SHELL is {user_shell()}, by which dvc runs stages ({answer.problem})", advice
        )


CHECKS = (_python, check_packages, check_torch, _machine, _parameters, _dvc, _shell, _mlflow, _programs)
