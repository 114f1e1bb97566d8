"""One training on two nodes with two processes each: a node is killed, and what is left ends in the same bytes."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest

from tests.cluster.slurm import Cluster, copy
from tests.cluster.trainer import frozen_after_step
from tests.support.workspace import ITEM, Workspace

pytestmark = pytest.mark.cluster

TRAIN = ("dvc", "repro", f"train@{ITEM}")


@pytest.mark.slow
def test_a_lost_node_changes_no_byte(
    cluster: Cluster, prepared: Workspace, undisturbed: Workspace, free_folder: Path
) -> None:
    place = copy(cluster, prepared, free_folder / "nodes")
    options = "--partition=preempt --nodes=1-2 --exclude=node1,node2"
    job = cluster.submit(place.root, options, *TRAIN, LATENTWIRE_PROCESSES="2", UNBROKEN_PEER_TIMEOUT_S="30")
    with contextlib.ExitStack() as lost:
        with frozen_after_step(place, 7):
            lost.enter_context(cluster.without("node4"))
        facts = job.done()
    assert (facts["NodeList"], int(facts["Restarts"]) >= 1) == ("node3", True)
    assert processes(place) == [4, 2]
    assert place.results() == undisturbed.results()


def processes(place: Workspace) -> list[int]:
    """How many processes trained after each start that is of another number than the one before."""
    (folder,) = place.state()
    events = [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
    counts = [event["processes"] for event in events if event["event"] == "start"]
    return [count for number, count in enumerate(counts) if number == 0 or counts[number - 1] != count]
