"""States that differ between the ranks by design, on torch's DistributedDataParallel as people use it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from tests.support import elastic_training, toy_training
from tests.support.elastic_training import QUIET, places
from tests.support.loops import ddp
from unbroken.exact.group import Group
from unbroken.preemption import StopFlag
from unbroken.processes.distributed import join_group
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

OWN = {"OWN_STATISTICS": "1"}
STEPS = {2: 18, 3: 12, 4: 9}


def trained(work: Path, size: int, interrupt: str = "", rank: int = 0, **variables: str) -> list[int]:
    """Start the program in so many processes; returns their exit statuses."""
    work.mkdir(exist_ok=True)

    def action(stop: StopFlag) -> None:
        ddp.train(work / "run", work / "export", stop)

    asked = {"UNBROKEN_INTERRUPT": interrupt, "UNBROKEN_INTERRUPT_RANK": str(rank)} if interrupt else {}
    return elastic_training.forked(places(size, **asked, **variables), action, work / "log")


def said(work: Path) -> str:
    return (work / "log").read_text()


@pytest.mark.long
@pytest.mark.parametrize(
    ("size", "variables"),
    [
        (2, {}),
        (3, OWN),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in [(2, OWN), (3, {}), (4, {}), (4, OWN)]),
    ],
)
def test_killed_and_stopped_on_any_rank_it_ends_in_the_same_bytes(
    size: int, variables: Mapping[str, str], tmp_path: Path
) -> None:
    assert trained(tmp_path / "undisturbed", size, **variables) == [0] * size, said(tmp_path / "undisturbed")
    work = tmp_path / "interrupted"
    killed = trained(work, size, "KILL@5", rank=size - 1, **variables)
    assert killed[-1] == -signal.SIGKILL
    assert 0 not in killed
    assert trained(work, size, "TERM@6", rank=1, **variables) == [75] * size, said(work)
    assert trained(work, size, "KILL@8", **variables)[0] == -signal.SIGKILL
    assert trained(work, size, **variables) == [0] * size, said(work)
    assert toy_training.contents(work / "export") == toy_training.contents(tmp_path / "undisturbed" / "export")
    manifest = json.loads((work / "export" / "manifest.json").read_bytes())
    assert manifest["step"] == STEPS[size]
    assert {f"per_rank/{rank}/noise" for rank in range(size)} <= manifest["tensors"].keys()
    assert f'["ranks",{size}]' in json.dumps(manifest["tree"]["numerics"], separators=(",", ":"))


@pytest.mark.long
def test_another_number_of_ranks_is_refused_with_a_sentence(tmp_path: Path) -> None:
    assert trained(tmp_path, 2, "TERM@4") == [75, 75]
    assert trained(tmp_path, 3) == [1, 1, 1]
    assert "holds the states of 2 ranks that differ by design (`per_rank`), but 3 run now" in said(tmp_path)
    assert "Next: start 2 ranks." in said(tmp_path)
    assert trained(tmp_path, 2) == [0, 0]


Build = Callable[[Group], tuple[dict[str, Any], dict[str, Any] | None]]


def counted(work: Path, size: int, build: Build, work_of: Callable[[Any, Group, int], None], last: int) -> list[int]:
    """A run of `last` steps, each of which is `work_of`."""

    def action(stop: StopFlag) -> None:
        group = join_group(stop)
        state, per_rank = build(group)
        options: dict[str, Any] = {"files": toy_training.Unsynced(), "lock_timeout": 0.0, "every": "auto"}
        with Run(
            work / "run", identity=Identity({}), state=state, per_rank=per_rank, stop=stop, group=group, **options
        ) as run:
            for step in run.steps(last):
                work_of((state, per_rank), group, step)
        told = (per_rank or {}).get("own", {})
        (work / str(group.rank)).write_text(json.dumps({name: str(value) for name, value in told.items()}))

    return elastic_training.forked(places(size), action, work / "log")


def own_counters(group: Group) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """All that a value can be, of another size on each rank."""
    own = {
        "seen": [group.rank],
        "sum": torch.zeros(group.rank),
        "text": "x" * group.rank,
        "long": torch.zeros(3_000_000),
    }
    return {"all": {"step": 0}}, {"own": own}


def count(holders: Any, group: Group, step: int) -> None:
    state, per_rank = holders
    state["all"]["step"] = step
    own = per_rank["own"]
    own["seen"].append(step * (group.rank + 1))
    own["sum"] += step
    own["long"] += group.rank * step


@pytest.mark.long
def test_values_of_any_kind_and_size_come_back_to_their_rank_with_saves_of_any_schedule(tmp_path: Path) -> None:
    for last in (2, 5):
        assert counted(tmp_path, 3, own_counters, count, last) == [0] * 3, said(tmp_path)
    for rank in range(3):
        told = json.loads((tmp_path / str(rank)).read_text())
        assert told["seen"] == str([rank, *(step * (rank + 1) for step in range(1, 6))])
        assert told["text"] == "x" * rank
        assert told["sum"] == str(torch.full((rank,), 15.0))
        assert told["long"] == str(torch.full((3_000_000,), 15.0 * rank))


def test_a_value_that_cannot_be_stored_on_one_rank_ends_all_with_its_sentence(tmp_path: Path) -> None:
    def build(group: Group) -> tuple[dict[str, Any], dict[str, Any] | None]:
        return {"all": {"step": 0}}, {"own": {"odd": object() if group.rank == 1 else 1}}

    assert counted(tmp_path, 3, build, lambda *_: None, 2) == [1, 1, 1]
    assert said(tmp_path).count("Rank 1, `per_rank`: The state at own/odd holds a builtins.object") == 3
    assert not (tmp_path / "run").exists()


def test_what_differs_and_is_not_declared_is_refused_with_the_way_to_declare_it(tmp_path: Path) -> None:
    def drift(holders: Any, group: Group, _step: int) -> None:
        holders[0]["all"]["sum"] += group.rank

    def build(_group: Group) -> tuple[dict[str, Any], dict[str, Any] | None]:
        return {"all": {"sum": torch.zeros(2)}}, None

    assert counted(tmp_path, 2, build, drift, 2) == [1, 1]
    assert "Rank 1 differs from rank 0 after step 1: tensor all/sum" in said(tmp_path)
    assert "is declared in `Run(per_rank=…)`" in said(tmp_path)


@pytest.mark.long
def test_a_run_whose_sums_a_resume_would_not_repeat_is_refused_at_its_start(tmp_path: Path) -> None:
    def build(_group: Group) -> tuple[dict[str, Any], dict[str, Any] | None]:
        model = DistributedDataParallel(torch.nn.Linear(3, 2))
        kept.append(model)
        return {"model": model.module}, None

    kept: list[object] = []
    assert counted(tmp_path, 3, build, lambda *_: None, 2) == [1, 1, 1]
    assert said(tmp_path).count("Next: call `unbroken.processes.ddp.fix_sum_order(ddp)`") == 3
    assert not (tmp_path / "run").exists()


@pytest.mark.long
def test_the_random_streams_that_a_control_loses_are_lost_on_all_ranks(tmp_path: Path) -> None:
    assert trained(tmp_path, 2, "TERM@6") == [75, 75]
    assert trained(tmp_path, 2, UNBROKEN_SABOTAGE="rng") == [0, 0], said(tmp_path)


def test_the_name_of_its_place_is_taken(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="per_rank"):
        Run(tmp_path, identity=Identity({}), state={"per_rank": {}}, stop=StopFlag(1.0))


@pytest.mark.slow
def test_prove_under_torchrun(tmp_path: Path) -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    options = ["--at", "KILL@5,TERM@9", "--rank", "1", "--stateless", "rng", "--work", str(tmp_path / "proof")]
    program = [*launcher, ddp.__file__, "{folder}/run", "{folder}/export"]
    proof = subprocess.run(
        [sys.executable, "-m", "unbroken", "prove", *options, "--", *program],
        env={**os.environ, **QUIET},
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert proof.returncode == 0, proof.stdout + proof.stderr
    assert "without per_rank" in proof.stdout
