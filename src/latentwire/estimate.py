"""`latentwire estimate`: how many stages `make repro` will run, and how long: as they took, here or elsewhere."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from latentwire import git
from latentwire.dvc_files import check_named_keys
from latentwire.errors import ConfigurationError, LatentWireError
from latentwire.local_inputs import PIPELINE
from latentwire.lock_copy import LOCK
from latentwire.machine_speed import probe_seconds
from latentwire.params.load import Params, load_any_params
from latentwire.result_code import FOLDER, result_code_text, stage_kind
from latentwire.stage_times import PUBLISHED, read_published_times, read_stage_times, seconds_of
from latentwire.training.process_count import count_processes
from latentwire.verification.lockfile import Lock, UnverifiableError, find_parameter, parse_lock, read_lock
from unbroken.environment import usable_cores

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

THREADED = ("encode", "baseline", "evaluate")
"""Stages that compute with `runtime.threads`; those of `train` are processes, and the others have one thread."""
CODE = "code"
"""The stage that all others come from, and of which a change mostly changes nothing: its files are looked into."""
AMOUNTS: Mapping[str, Sequence[str]] = {
    "encode": ("prepare.limits.train", "prepare.limits.validation", "prepare.limits.test"),
    "baseline": ("prepare.limits.test",),
    "train": ("train.steps", "train.batch"),
    "evaluate": ("prepare.limits.test",),
}
"""Kind of stage → the parameters of which its time is a multiple, nearly: of the product of those of `train`, which
are the examples of all its steps, and of the sum of the others, which are texts. What else it does, such as to load a
model, is little beside that."""


class EstimateError(LatentWireError):
    """DVC does not say which stages will run; the message is why."""


def estimate_pipeline(root: Path) -> str:
    """The sentence at the start of `make repro`; where DVC says nothing that is no error, since nothing runs yet."""
    try:
        return say_estimate(waiting_stages(root), root)
    except EstimateError as error:
        return f"note: {error}"


def waiting_stages(root: Path) -> list[str]:
    """The stages that `dvc repro` would run: those that changed, and all that are made from them.

    Raises:
        EstimateError: DVC does not say.
    """
    try:
        from dvc.repo import Repo  # takes a second to import

        with Repo(str(root)) as repo:
            return _list_waiting(repo)
    except Exception as error:  # whatever DVC fails with: `dvc repro`, which comes next, may go on, or says why not
        said = " ".join(str(error).split()) or type(error).__name__
        known = _say_wrong_params(root) or f"{said.rstrip('.')}. Next: `dvc repro` tries all the same."
        raise EstimateError(f"How many stages will run is not known: {known}") from error


def _say_wrong_params(root: Path) -> str:
    """What is wrong with params.yaml, of which DVC only says what it made of it; empty where that is not the reason."""
    if not all((root / name).is_file() for name in ("params.yaml", PIPELINE)):
        return ""
    try:
        check_named_keys(load_any_params(root / "params.yaml"), root)
    except ConfigurationError as error:
        return str(error)
    return ""


def _list_waiting(repo: Repo) -> list[str]:
    from dvc.repo import lock_repo
    from dvc.repo.reproduce import get_active_graph, plan_repro

    with lock_repo(repo):
        graph = get_active_graph(repo.index.graph)  # its edges lead from a stage to what it is made from
        waiting: set[Stage] = set()
        for stage in plan_repro(graph, repo.stage.collect(f"{repo.root_dir}/{PIPELINE}")):
            sources = waiting.intersection(graph.successors(stage))
            if stage.changed() or any(_reaches(source, stage) for source in sources):
                waiting.add(stage)
        return sorted(map(_name, waiting))


def _reaches(source: Stage, stage: Stage) -> bool:
    """Whether a stage will run because one that it is made from does."""
    if _name(source) != CODE:
        return True
    root, kind = Path(source.repo.root_dir), stage_kind(_name(stage))
    recorded = root / FOLDER / f"{kind}.json"
    return not recorded.is_file() or recorded.read_bytes() != result_code_text(kind, root)


def _name(stage: Stage) -> str:
    return str(getattr(stage, "name", stage.addressing))  # that of a file, which `dvc add` tracks, has none


def say_estimate(stages: Sequence[str], root: Path) -> str:
    """How many stages will run, and in how much time."""
    if not stages:
        return "Nothing has changed: no stage will run."
    here = _scale({stage: took.seconds for stage, took in read_stage_times(root).items()}, root, _read_lock)
    guessed = [stage for stage in stages if stage not in here]
    new = [stage for stage in guessed if seconds_of(stage, here) is None]
    counted = "1 stage" if len(stages) == 1 else f"Up to {len(stages)} stages"
    known = sum(seconds_of(stage, here) or 0 for stage in stages)
    if new:
        said = _say_new(len(stages), len(new), known, foresee_seconds(new, root))
    else:
        said = _say_known(len(stages), len(guessed), known)
    return f"{counted} will run, {said}. Stop it at any time: the same command goes on."


def _say_known(count: int, guessed: int, known: float) -> str:
    """`known` seconds: `guessed` of the stages never ran here, but others of their kind."""
    it, others = ("it", "others of its kind") if count == 1 else ("they", "others of their kind")
    who = others if guessed == count else f"{it}, or {others}," if guessed else it
    return f"in about {_minutes(known)} min, by what {who} took here before"


def _say_new(count: int, new: int, known: float, foreseen: float | None) -> str:
    """`known` seconds for what has run here, `foreseen` for the `new` ones; None where nothing says it."""
    it = "it" if count == 1 else "they"
    if foreseen is not None:
        return f"in about {_minutes(known + foreseen)} min, from what {it} cost in the published run and a short probe"
    if new == count:
        return f"for the first time here, so that nothing says how long {'it takes' if count == 1 else 'they take'}"
    return f"{count - new} of them in about {_minutes(known)} min, the others for the first time here"


def _minutes(seconds: float) -> int:
    return max(1, round(seconds / 60))


def foresee_seconds(stages: Sequence[str], root: Path) -> float | None:
    """What stages take that never ran here: the published processor time, by the speed and the cores of this machine.

    None where a stage is of no published kind, or a GPU computes, of which processor time says nothing. Where
    params.yaml asks for another amount of work (`AMOUNTS`) than the published run did, the time is scaled to it.
    """
    published = read_published_times(root)
    values = _read_params(root) if published else None
    if published is None or values is None or values.runtime.device != "cpu":
        return None
    costs = {stage: took.processor_seconds for stage, took in published.stages.items()}
    costs = _scale(costs, root, _read_published_lock)
    needed = [(stage_kind(stage), seconds_of(stage, costs)) for stage in stages]
    if any(seconds is None for _, seconds in needed):
        return None
    slower = probe_seconds(values.runtime.numerics) / published.probe_seconds
    cores = usable_cores()
    threads = min(cores, values.runtime.threads)
    at_once = {**dict.fromkeys(THREADED, threads), "train": min(cores, count_processes(values))}
    return sum(slower * (seconds or 0) / at_once.get(kind, 1) for kind, seconds in needed)


def _read_params(root: Path) -> Params | None:
    """None where there are none, or where they are those of stages of its own, of which nothing here knows the work."""
    path = root / "params.yaml"
    values = load_any_params(path) if path.is_file() else None
    return values if isinstance(values, Params) else None


def _read_lock(root: Path) -> Lock:
    """The parameters of what ran here; empty where DVC's file does not say."""
    with contextlib.suppress(UnverifiableError):
        return read_lock(root)
    return {}


def _read_published_lock(root: Path) -> Lock:
    """The parameters of the run whose times are published: `dvc.lock` beside them in git, since DVC replaces that here.

    Where git does not have it, as in a download, the one that is here.
    """
    commit = git.newest_commit(root, [str(PUBLISHED)])
    data = git.read_committed(root, commit, LOCK) if commit else None
    if data is None:
        return _read_lock(root)
    with contextlib.suppress(UnverifiableError):
        return parse_lock(data, LOCK)
    return {}


def _scale(seconds: Mapping[str, float], root: Path, read: Callable[[Path], Lock]) -> dict[str, float]:
    """Stage → its seconds, by the work that params.yaml asks for now; as they were where nothing says it.

    A task that has fewer texts than a limit allows has them all: there the time of a higher limit is too long.
    """
    values = _read_params(root) if seconds else None
    if values is None:
        return dict(seconds)
    lock, now = read(root), values.model_dump()
    return {stage: took * _work_ratio(stage, lock, now) for stage, took in seconds.items()}


def _work_ratio(stage: str, lock: Lock, now: Mapping[str, Any]) -> float:
    kind = stage_kind(stage)
    before = _amount(kind, lambda key: _locked_parameter(lock, stage, key))
    asked = _amount(kind, lambda key: find_parameter(now, key))
    return asked / before if asked and before else 1.0


def _amount(kind: str, read: Callable[[str], Any]) -> int | None:
    found = [read(key) for key in AMOUNTS.get(kind, ())]
    numbers = [number for number in found if isinstance(number, int)]
    if numbers != found:
        return None
    return math.prod(numbers) if kind == "train" else sum(numbers)


def _locked_parameter(lock: Lock, stage: str, key: str) -> Any:
    """A parameter that a stage was run with; those of `prepare` stand with the stage that made the texts."""
    locked = lock.get("prepare" if key.startswith("prepare.") else stage)
    return None if locked is None else locked.params.get(key, find_parameter(locked.params, key))
