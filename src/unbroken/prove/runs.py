"""Starting the user's program for a proof, and reading what it left."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from unbroken import environment
from unbroken.checkpoint import store as checkpoints
from unbroken.checkpoint.reading import PINS_FOLDER
from unbroken.checkpoint.state import compare_states
from unbroken.checkpoint.store import Checkpoint
from unbroken.errors import CheckpointError, UnbrokenError
from unbroken.preemption import EXIT_PREEMPTED
from unbroken.prove.drill import CENSUS_FILE, TRACE_FILE
from unbroken.run_folder.lock import LOCK_FILE
from unbroken.run_folder.stored_journal import StoredJournal
from unbroken.run_folder.verdict import VERDICT_FILE

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What ends a command of a terminal or a job."""
PLACEHOLDER = "{folder}"
Launcher = Callable[[Sequence[str], Mapping[str, str], Path], int]
"""(command, environment, log file) -> exit status, negative for a signal."""


class OverdueError(UnbrokenError):
    """A start of the program took longer than it may, and was killed with all that it had started."""


def run_logged(command: Sequence[str], variables: Mapping[str, str], log: Path, limit_s: float | None = None) -> int:
    """Run the command in a process group of its own; everything that it prints goes to the log.

    Raises:
        OverdueError: It took longer than `limit_s` seconds.
    """
    process: subprocess.Popen[bytes] | None = None
    with log.open("ab") as file:
        try:
            with _deferred_ends():
                process = subprocess.Popen(
                    command, env=dict(variables), stdout=file, stderr=subprocess.STDOUT, start_new_session=True
                )
            return process.wait(limit_s)
        except subprocess.TimeoutExpired:
            _kill_group(process)
            seconds = round(limit_s or 0, 1)
            raise OverdueError(
                f"a start of the program took longer than {seconds:g} s, expected less, and was killed with its "
                f"process group; its output is in {log}. Next: look where it hangs there, or give it more time with "
                f"--limit SECONDS"
            ) from None
        except BaseException:  # what ends us does not reach the program, as that is in a session of its own
            _kill_group(process)
            raise


def _kill_group(process: subprocess.Popen[bytes] | None) -> None:
    if process is not None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with suppress(ChildProcessError):  # it was waited for
            # Not by Popen.wait: what interrupted that may have left its lock taken, which it would wait for.
            process.returncode = os.waitstatus_to_exitcode(os.waitpid(process.pid, 0)[1])


@contextmanager
def _deferred_ends() -> Iterator[None]:
    """A process that is being made is known to nobody: what would end us between is obeyed when it is there."""
    came = list[int]()
    is_main = threading.current_thread() is threading.main_thread()
    before = {number: signal.getsignal(number) for number in ENDS if is_main}
    asked = {number: handler for number, handler in before.items() if callable(handler)}
    for number in asked:
        signal.signal(number, lambda each, _frame: came.append(each))
    try:
        yield
    finally:
        for number, handler in asked.items():
            signal.signal(number, handler)
    for each in came:
        signal.raise_signal(each)


@dataclass(frozen=True)
class Program:
    """The user's command; `{folder}` in an argument is where the run shall live, and so is UNBROKEN_FOLDER."""

    command: Sequence[str]
    every: int | None
    launch: Launcher | None = None
    """None: `run_logged` under the time limit of the start."""
    rank: int | None = None
    """The process that an interruption strikes, where the command starts several; rank 0 unless given."""

    def start(self, folder: Path, *, limit_s: float | None = None, **faults: str | None) -> int:
        """Run the command once, its log beside the folder. `faults`: `interrupt`, `sabotage`.

        Returns 75 for a run that says so in its folder, although a launcher made another exit code of it.

        Raises:
            OverdueError: It took longer than `limit_s` seconds.
        """
        for stale in _find_verdicts(folder):
            stale.unlink()
        status = self._launch(folder, limit_s, faults)
        return EXIT_PREEMPTED if status > 0 and _says_preempted(folder) else status

    def _launch(self, folder: Path, limit_s: float | None, faults: Mapping[str, str | None]) -> int:
        command = [argument.replace(PLACEHOLDER, str(folder)) for argument in self.command]
        variables = {key: value for key, value in os.environ.items() if key not in _RESERVED_VARIABLES}
        logs = sorted(folder.parent.glob(f"{folder.name}-*.log"))
        # Every start has its own hash seed, as it would have anyway; this way two are never equal by chance.
        variables.setdefault("PYTHONHASHSEED", str(1 + sum(folder.name.encode()) + len(logs)))
        variables |= {environment.FOLDER: str(folder), environment.TRACE: "1"}
        asked = {environment.INTERRUPT: faults.get("interrupt"), environment.SABOTAGE: faults.get("sabotage")}
        asked[environment.EVERY] = str(self.every) if self.every else None
        asked[environment.INTERRUPT_RANK] = None if self.rank is None else str(self.rank)
        variables |= {key: value for key, value in asked.items() if value}
        launch = self.launch or partial(run_logged, limit_s=limit_s)
        return launch(command, variables, folder.parent / f"{folder.name}-{len(logs) + 1}.log")


def _says_preempted(folder: Path) -> bool:
    # torchrun ends with 1 whatever its processes ended with; the verdict of the run is in its folder.
    return any(json.loads(path.read_bytes())["exit"] == EXIT_PREEMPTED for path in _find_verdicts(folder))


def _find_verdicts(folder: Path) -> list[Path]:
    # Beside the lock of a run: the program may have a file of this name too.
    return [path for path in folder.rglob(VERDICT_FILE) if path.with_name(LOCK_FILE).exists()]


_RESERVED_VARIABLES = (
    *(environment.TRACE, environment.INTERRUPT, environment.INTERRUPT_RANK, environment.SABOTAGE),
    *(environment.EVERY, environment.VERDICT),
)


@dataclass(frozen=True)
class Difference:
    """The first step after which two runs differ, and the places; `step` is None when only the end was seen."""

    step: int | None
    places: Sequence[str]

    def describe(self) -> str:
        """`step 14: tensor model/0.weight and 12 more`."""
        more = f" and {len(self.places) - 1} more" if len(self.places) > 1 else ""
        return f"{'the end' if self.step is None else f'step {self.step}'}: {self.places[0]}{more}"


class RunEvidence:
    """What a run left: its final checkpoint, the trace of its states, and what it held beside them."""

    def __init__(self, root: Path) -> None:
        """Find the run below `root`.

        Raises:
            CheckpointError: There is none, or more than one.
        """
        homes = sorted({path.parent for path in root.rglob(f"step-*/{checkpoints.TENSORS_FILE}") if path.is_file()})
        # What a run has pinned lies beside its checkpoints, and is compared with its other files.
        homes = [home for home in homes if home.parent.parent.name != PINS_FOLDER]
        stores = sorted({home.parent for home in homes})
        if len(stores) != 1:
            raise CheckpointError(
                f"{root} holds {len(stores)} runs with checkpoints, expected one. Next: let the command keep its "
                f"run in the folder it is given as {PLACEHOLDER} or in ${environment.FOLDER}."
            )
        finals = [home for home in homes if json.loads((home / "manifest.json").read_bytes())["pinned"]]
        self.final: Checkpoint | None = checkpoints.load_checkpoint(finals[-1]) if finals else None
        self.newest: Checkpoint = checkpoints.load_checkpoint(homes[-1])
        self.trace = list(_read_lines(stores[0].parent / TRACE_FILE))
        self.censuses = list(_read_lines(stores[0].parent / CENSUS_FILE))

    @property
    def step(self) -> int:
        """The newest step that is durable."""
        return self.newest.step

    def digests(self) -> Mapping[str, str]:
        """SHA-256 of every tensor of the newest checkpoint."""
        return self.newest.manifest.digests


def compare_runs(first: RunEvidence, second: RunEvidence) -> Difference | None:
    """The first difference of a run from its reference; None when every byte of state and history is equal."""
    return compare_traces(first, second) or _compare_ends(first, second)


def compare_traces(first: RunEvidence, second: RunEvidence) -> Difference | None:
    """The first step, of those that the second run made, after which it differs."""
    expected = {line["step"]: line for line in first.trace}
    compared = [(line["step"], _places(expected.get(line["step"]), line)) for line in [*first.trace, *second.trace]]
    differing = sorted((step, places) for step, places in compared if places)
    return Difference(*differing[0]) if differing else None


def _compare_ends(first: RunEvidence, second: RunEvidence) -> Difference | None:
    before, after = first.newest, second.newest
    places = compare_states(before.manifest.tree, before.manifest.digests, after.manifest.tree, after.manifest.digests)
    if before.manifest.journal != after.manifest.journal:
        places.append(f"metrics of {_first_differing_step(before.journal, after.journal)}")
    return Difference(None, places) if places else None


def _places(expected: dict[str, Any] | None, line: dict[str, Any]) -> list[str]:
    if line["unstable"]:
        return [f"{place}, which changes when the state is read" for place in line["unstable"]]
    if expected is None:
        return ["step, which the other run does not have"]
    places = compare_states(expected["tree"], expected["tensors"], line["tree"], line["tensors"])
    keys = sorted(expected["metrics"].keys() | line["metrics"].keys())
    before, after = expected["metrics"], line["metrics"]
    return places + [
        f"metric {key} ({before.get(key)} became {after.get(key)})" for key in keys if before.get(key) != after.get(key)
    ]


def _first_differing_step(reference: StoredJournal, run: StoredJournal) -> str:
    for first, second in zip(reference.records(), run.records(), strict=False):
        if first != second:
            return f"step {first['step']}"
    return "the last steps"


def _read_lines(path: Path) -> Iterator[dict[str, Any]]:
    for text in path.read_bytes().splitlines() if path.exists() else []:
        try:
            yield json.loads(text)
        except ValueError:  # torn by a kill
            continue


def name_status(status: int) -> str:
    """`exit 75` or `SIGKILL`."""
    return f"exit {status}" if status >= 0 else signal.Signals(-status).name


def last_log_line(root: Path, count: int = 1) -> str:
    """The last line that the program printed, or the last `count` of them in one."""
    logs = sorted(root.glob("*.log"), key=lambda path: path.stat().st_mtime_ns)
    lines = logs[-1].read_text(errors="replace").split("\n") if logs else []
    return " / ".join([line.strip() for line in lines if line.strip()][-count:]) or "(nothing was printed)"
