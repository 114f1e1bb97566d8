"""`latentwire estimate`: how many stages `make repro` will run, and how long, from what they took here before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from latentwire.errors import LatentWireError
from latentwire.local_inputs import PIPELINE
from latentwire.result_code import FOLDER, result_code_text
from latentwire.stage_times import read_stage_times, seconds_of

if TYPE_CHECKING:
    from dvc.repo import Repo
    from dvc.stage import Stage

CODE = "code"
"""The stage that all others come from, and of which a change mostly changes nothing: its files are looked into."""


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
        raise EstimateError(
            f"How many stages will run is not known: {said.rstrip('.')}. Next: `dvc repro` tries all the same."
        ) from error


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
    root, kind = Path(source.repo.root_dir), _name(stage).partition("@")[0]
    recorded = root / FOLDER / f"{kind}.json"
    return not recorded.is_file() or recorded.read_bytes() != result_code_text(kind, root)


def _name(stage: Stage) -> str:
    return str(getattr(stage, "name", stage.addressing))  # that of a file, which `dvc add` tracks, has none


def say_estimate(stages: Sequence[str], root: Path) -> str:
    """How many stages will run, and in how much time."""
    if not stages:
        return "Nothing has changed: no stage will run."
    times = read_stage_times(root)
    known = [seconds for stage in stages if (seconds := seconds_of(stage, times)) is not None]
    counted = "1 stage" if len(stages) == 1 else f"Up to {len(stages)} stages"
    return f"{counted} will run, {_say_time(len(stages), known)}. Stop it at any time: the same command goes on."


def _say_time(count: int, known: Sequence[float]) -> str:
    if not known:
        return f"for the first time here, so that nothing says how long {'it takes' if count == 1 else 'they take'}"
    minutes = max(1, round(sum(known) / 60))
    if len(known) < count:
        return f"{len(known)} of them in about {minutes} min, the others for the first time here"
    return f"in about {minutes} min, as {'it' if count == 1 else 'they'} took here before"
