"""What fails beside a training stops nothing: each fault leaves the same journal, and is reported once."""

from __future__ import annotations

import os
import shutil
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import pynvml
import pytest

from latentwire.tracking import mirror as mirrors
from latentwire.tracking.mirror import MlflowMirror
from latentwire.tracking.readings import READINGS_FILE, read_readings
from latentwire.tracking.runs import TrackedItem
from latentwire.tracking.sampler import Sampler
from tests.support.fake_nvml import LOST, FakeCard, FakeNvml, error
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity
from unbroken.run_folder.journal import encode_record

pytestmark = pytest.mark.long

IDENTITY = Identity({"toy": 1})
ITEM = TrackedItem("wire-r8-0", IDENTITY.digest, params={"runtime": {"device": "cuda"}})
STEPS, AT = 40, 15


class Place:
    """A repository with an MLflow database, and a machine with one GPU."""

    def __init__(self, root: Path, nvml: FakeNvml) -> None:
        self.root, self.nvml = root, nvml
        self.run = root / "state" / f"{ITEM.name}-{IDENTITY.short}"
        self.said: list[str] = []
        self.blocker: sqlite3.Connection | None = None

    def train(self, fault: Callable[[Place], None]) -> None:
        """Train to the end; the fault comes in a step."""
        timeout = 0.5 if fault in (mlflow_is_gone, mlflow_is_locked) else 120.0
        mirror = MlflowMirror(
            ITEM, experiment="toy", root=self.root, system_metrics=False, timeout=timeout, report=self.said.append
        )
        state = {"cursor": {"at": 0}}
        stop = StopFlag.install()
        with Run(
            self.run, identity=IDENTITY, state=state, stop=stop, every=10, observers=[mirror], report=self.said.append
        ) as run:
            for step in run.steps(STEPS):
                run.log(**{"train/loss": 1.0 / step})
                if step == AT:
                    self.wait_for_a_look()
                    fault(self)
                    self.wait_for_a_look()

    def wait_for_a_look(self) -> None:
        """Until the sampler has looked once more."""
        before, deadline = self.size(), time.monotonic() + 60
        while self.size() in (0, before):
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def size(self) -> int:
        path = self.run / READINGS_FILE
        return path.stat().st_size if path.exists() else 0


@pytest.fixture
def place(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(mirrors, "Sampler", partial(Sampler, pause=0.01))
    shutil.copy(template, tmp_path / "mlflow.db")
    place = Place(tmp_path, FakeNvml([FakeCard("GPU-a")]).install(monkeypatch))
    yield place
    if place.blocker is not None:
        place.blocker.close()


def nothing(_: Place) -> None:
    """No fault."""


def nvml_is_gone(place: Place) -> None:
    place.nvml.missing = pynvml.NVML_ERROR_LIBRARY_NOT_FOUND


def nvml_fails(place: Place) -> None:
    place.nvml.cards[0].busy = place.nvml.cards[0].used = error(LOST)


def the_card_is_lost(place: Place) -> None:
    place.nvml.cards[0].lost = True


def mlflow_is_gone(place: Place) -> None:
    """The database is replaced by what is none."""
    (place.root / "mlflow.db").unlink()
    (place.root / "mlflow.db").mkdir()


def mlflow_is_locked(place: Place) -> None:
    place.blocker = sqlite3.connect(place.root / "mlflow.db", isolation_level=None, check_same_thread=False)
    place.blocker.execute("begin exclusive")


def the_journal_is_cut(place: Place) -> None:
    os.truncate(place.run / "journal.jsonl", 100)


def the_journal_is_removed(place: Place) -> None:
    (place.run / "journal.jsonl").unlink()


def the_readings_are_removed(place: Place) -> None:
    (place.run / READINGS_FILE).unlink()


EXPECTED: dict[Callable[[Place], None], dict[str, int]] = {
    nothing: {},
    nvml_is_gone: {"The GPU is not measured": 1},
    nvml_fails: {"The GPU is not measured": 1},
    the_card_is_lost: {"The GPU is not measured": 1},
    # At the end it is said what is unsent, too.
    mlflow_is_gone: {"is not mirrored": 1, "are unsent": 1},
    mlflow_is_locked: {"is not mirrored": 1, "are unsent": 1},
    the_journal_is_cut: {},
    the_journal_is_removed: {},
    the_readings_are_removed: {},
}
"""Fault → what is said, how often at most; the journal is mended without a word from what is durable."""


@pytest.mark.parametrize("fault", EXPECTED, ids=lambda fault: fault.__name__)
def test_nothing_stops_a_training_and_each_fault_is_reported_once(place: Place, fault: Callable[[Place], None]) -> None:
    place.train(fault)
    lines = [encode_record(step, {"train/loss": 1.0 / step}) for step in range(1, STEPS + 1)]
    assert (place.run / "journal.jsonl").read_bytes() == b"".join(lines)
    kinds = EXPECTED[fault]
    said = Counter(next((kind for kind in kinds if kind in sentence), sentence) for sentence in place.said)
    assert said.keys() <= kinds.keys()
    assert all(said[kind] <= count for kind, count in kinds.items())
    assert not kinds or said
    assert read_readings(place.run)[-1].step == STEPS


def test_a_store_that_was_locked_has_everything_after_the_next_start(place: Place) -> None:
    place.train(mlflow_is_locked)
    assert place.blocker is not None
    place.blocker.execute("rollback")
    place.said.clear()
    place.train(nothing)
    with closing(sqlite3.connect(place.root / "mlflow.db")) as database:
        steps = database.execute("select step from metrics where key = 'train/loss' order by step").fetchall()
    assert [step for (step,) in steps] == list(range(1, STEPS + 1))
    assert [sentence for sentence in place.said if "MLflow" in sentence or "mirrored" in sentence] == []
