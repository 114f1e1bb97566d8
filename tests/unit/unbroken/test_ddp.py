"""DistributedDataParallel with its own all-reduce: which sums a resume repeats, and what makes it repeat all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from tests.support import elastic_training
from tests.support.elastic_training import places
from unbroken.errors import UnbrokenError
from unbroken.preemption import StopFlag
from unbroken.processes.ddp import check_sum_order, find_ddp_modules, fix_sum_order
from unbroken.processes.distributed import join_group

KINDS: Mapping[str, dict[str, Any]] = {
    "default": {},
    "buckets": {"bucket_cap_mb": 0.01},
    "views": {"gradient_as_bucket_view": True},
    "static": {"static_graph": True},
    "unused": {"find_unused_parameters": True},
}


class Disordered(torch.nn.Module):
    """Its gradients become ready in another order than that of its parameters, and no size is a multiple of a rank."""

    def __init__(self) -> None:
        super().__init__()
        self.middle, self.last, self.first = torch.nn.Linear(53, 61), torch.nn.Linear(61, 5), torch.nn.Linear(29, 53)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.last(self.middle(self.first(x).tanh()).tanh())
        return hidden


class Training:
    """Steps of a fresh start; `bits` names all parameters."""

    def __init__(self, rank: int, kind: str, fixed: bool) -> None:
        torch.manual_seed(0)
        self._rank = rank
        self.ddp = DistributedDataParallel(Disordered(), **KINDS[kind])
        if fixed:
            fix_sum_order(self.ddp)
        self._optimizer = torch.optim.SGD(self.ddp.parameters(), lr=0.1)

    def go(self, first: int, last: int) -> Training:
        for step in range(first, last + 1):
            x = torch.randn(8, 29, generator=torch.Generator().manual_seed(100 * step + self._rank))
            self._optimizer.zero_grad()
            self.ddp(x).square().mean().backward()
            self._optimizer.step()
        return self

    def bits(self) -> str:
        return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in self.ddp.parameters())).hexdigest()


def bits_of_both(rank: int, kind: str, fixed: bool) -> list[str]:
    """Undisturbed, and stopped after half of the steps."""
    undisturbed = Training(rank, kind, fixed).go(1, 4).bits()
    first = Training(rank, kind, fixed).go(1, 2)
    second = Training(rank, kind, fixed)
    second.ddp.load_state_dict(first.ddp.state_dict())
    return [undisturbed, second.go(3, 4).bits()]


def judged(training: Training) -> str:
    """What the start of a run says."""
    try:
        check_sum_order([training.ddp])
    except UnbrokenError as error:
        return str(error)
    return ""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[dict[str, Any]]]:
    work = tmp_path_factory.mktemp("ddp")
    return {size: _told(work / str(size), size) for size in (2, 3, 4)}


def _told(work: Path, size: int) -> list[dict[str, Any]]:
    work.mkdir()

    def action(stop: StopFlag) -> None:
        torch.set_num_threads(1)
        group = join_group(stop)
        results: dict[str, Any] = {
            kind: {
                "plain": bits_of_both(group.rank, kind, False),
                "fixed": bits_of_both(group.rank, kind, True),
                "said": [judged(Training(group.rank, kind, fixed)) for fixed in (False, True)],
            }
            for kind in KINDS
        }
        (work / str(group.rank)).write_text(json.dumps(results))

    assert elastic_training.forked(places(size), action, work / "log") == [0] * size, (work / "log").read_text()
    return [json.loads((work / str(rank)).read_text()) for rank in range(size)]


@pytest.mark.long
@pytest.mark.parametrize("size", [2, 3, 4])
def test_with_a_fixed_order_a_resume_repeats_the_sums_of_every_kind_of_module(
    size: int, told: dict[int, list[dict[str, Any]]]
) -> None:
    for heard in told[size]:
        assert len({bits for kind in KINDS for bits in heard[kind]["fixed"]}) == 1


@pytest.mark.long
@pytest.mark.parametrize("size", [3, 4])
@pytest.mark.parametrize("kind", ["default", "buckets", "views", "static"])
def test_negative_control_torchs_own_order_changes_after_the_first_step(
    kind: str, size: int, told: dict[int, list[dict[str, Any]]]
) -> None:
    undisturbed, resumed = told[size][0][kind]["plain"]
    assert undisturbed != resumed


@pytest.mark.parametrize("size", [3, 4])
def test_torchs_own_order_stays_where_unused_parameters_are_looked_for(
    size: int, told: dict[int, list[dict[str, Any]]]
) -> None:
    undisturbed, resumed = told[size][0]["unused"]["plain"]
    assert undisturbed == resumed


@pytest.mark.parametrize("kind", KINDS)
def test_the_sum_of_two_ranks_has_no_order(kind: str, told: dict[int, list[dict[str, Any]]]) -> None:
    heard = told[2][0][kind]
    assert len({*heard["plain"], *heard["fixed"]}) == 1


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_the_start_refuses_what_a_resume_would_not_repeat_and_nothing_else(
    kind: str, size: int, told: dict[int, list[dict[str, Any]]]
) -> None:
    heard = told[size][0][kind]
    repeats = heard["plain"][0] == heard["plain"][1]
    assert (heard["said"][0] == "") == repeats
    assert repeats or "Next: call `unbroken.processes.ddp.fix_sum_order(ddp)`" in heard["said"][0]
    assert heard["said"][1] == ""


@pytest.mark.long
def test_modules_that_train_what_is_in_the_state_are_seen_whatever_of_them_is_there(tmp_path: Path) -> None:
    def action(stop: StopFlag) -> None:
        join_group(stop)
        ddp, other = Training(0, "default", False).ddp, Training(0, "default", False).ddp
        inside: torch.nn.Module = ddp.module
        optimizer = torch.optim.SGD(ddp.parameters(), lr=0.1)
        outside = torch.nn.Sequential(ddp)
        for holder in (ddp, inside, optimizer, outside, inside.last):
            assert find_ddp_modules([{"step": 3}, holder]) == [ddp]
        assert find_ddp_modules([torch.nn.Linear(2, 2)]) == []
        assert len(find_ddp_modules([ddp, other])) == 2

    assert elastic_training.forked(places(2), action, tmp_path / "log") == [0, 0], (tmp_path / "log").read_text()
