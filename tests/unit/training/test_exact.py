"""Shards read together are the shards read one by one, or are read one by one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from torch import Tensor

from latentwire.models.receiver import Receiver
from latentwire.training import shard_batching
from latentwire.training.exact import Exact
from latentwire.training.loop import Trainer
from latentwire.training.out_of_memory import DeviceMemoryError
from tests.support.scarce_memory import gradient_bytes, limit_memory

FACTS = {"torch": "1", "device": "d"}


def test_any_number_together_gives_the_same_bytes_here(trainer: Trainer) -> None:
    alone = gradient_bytes(Exact(trainer)(3))
    result = shard_batching.try_batching(Exact(trainer), 1)
    assert result.activations
    for size in range(2, result.shards_per_pass + 1):
        assert gradient_bytes(Exact(trainer, shards_per_pass=size)(3)) == alone


def test_dropout_depends_on_the_shard_and_the_step(trainer: Trainer) -> None:
    one, again, other = (gradient_bytes(Exact(trainer)(step)) for step in (3, 3, 4))
    assert one == again != other


def test_other_bytes_are_noticed(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver whose numbers depend on who else is in the batch: as with a kernel that is chosen by size."""
    honest = Receiver.answer_log_likelihoods

    def crowded(self: Receiver, middle: Any, answers: Any) -> Tensor:
        return honest(self, middle, answers) * (1 + 1e-6 * len(middle))

    monkeypatch.setattr(Receiver, "answer_log_likelihoods", crowded)
    result = shard_batching.try_batching(Exact(trainer), 1)
    assert result.shards_per_pass == 1
    assert "differ" in result.why


def test_answers_of_several_lengths_are_read_one_by_one(trainer: Trainer, reader: Receiver) -> None:
    layout = dataclasses.replace(reader.layout, answers=((1,), (2, 3)))
    odd = SimpleNamespace(layout=layout)
    result = shard_batching.try_batching(Exact(dataclasses.replace(trainer, receivers=[odd])), 1)  # type: ignore[list-item]
    assert (result.shards_per_pass, result.activations) == (1, None)


def test_what_does_not_fit_is_halved_and_then_read_one_by_one(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = limit_memory(monkeypatch, 4)
    assert shard_batching.try_batching(Exact(trainer), 1).shards_per_pass == 2
    assert max(asked) == 8
    limit_memory(monkeypatch, 2)
    assert shard_batching.try_batching(Exact(trainer), 1).shards_per_pass == 1


def test_a_shard_that_does_not_fit_is_a_sentence(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_memory(monkeypatch, 1)
    with pytest.raises(DeviceMemoryError, match=r"of 2 examples \(a virtual shard: train.batch 8 / train.shards 4\)"):
        Exact(trainer)(1)


def test_the_choice_is_remembered_for_the_same_numerics(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = Exact(trainer)
    said = shard_batching.choose_shards_per_pass(exact, tmp_path, FACTS)
    assert said["shards"] == {"4": exact.shards_per_pass}
    start = {"event": "start", "time": "2026-01-01T00:00:00+00:00", "step": 0, "together": said}
    (tmp_path / "events.jsonl").write_text(json.dumps(start) + "\n")
    monkeypatch.setattr(
        shard_batching, "try_batching", lambda exact, step: shard_batching.ProbeResult(3, "probed again", None)
    )
    assert shard_batching.choose_shards_per_pass(Exact(trainer), tmp_path, FACTS) == said
    assert shard_batching.choose_shards_per_pass(Exact(trainer), tmp_path, {**FACTS, "torch": "2"})["shards"] == {
        "4": 3
    }
