"""Shards read together are the shards read one by one, or are read one by one."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from latentwire.models.receiver import Receiver
from latentwire.training import shard_batching as micro
from latentwire.training.exact import Exact
from latentwire.training.loop import Trainer
from latentwire.training.out_of_memory import NoRoomError

FACTS = {"torch": "1", "device": "d"}


def raw(found: tuple[list[Tensor], dict[str, Tensor]]) -> list[bytes]:
    return [tensor.numpy().tobytes() for tensor in (*found[0], *found[1].values())]


def test_any_number_together_gives_the_same_bytes_here(trainer: Trainer) -> None:
    alone = raw(Exact(trainer)(3))
    found = micro.probe(Exact(trainer), 1)
    assert found.activations
    for together in range(2, found.together + 1):
        assert raw(Exact(trainer, together=together)(3)) == alone


def test_dropout_depends_on_the_shard_and_the_step(trainer: Trainer) -> None:
    one, again, other = (raw(Exact(trainer)(step)) for step in (3, 3, 4))
    assert one == again != other


def test_other_bytes_are_noticed(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A receiver whose numbers depend on who else is in the batch: as with a kernel that is chosen by size."""
    honest = Receiver.answer_log_likelihoods

    def crowded(self: Receiver, middle: Any, answers: Any) -> Tensor:
        return honest(self, middle, answers) * (1 + 1e-6 * len(middle))

    monkeypatch.setattr(Receiver, "answer_log_likelihoods", crowded)
    found = micro.probe(Exact(trainer), 1)
    assert found.together == 1
    assert "differ" in found.why


def test_answers_of_several_lengths_are_read_one_by_one(trainer: Trainer, reader: Receiver) -> None:
    layout = dataclasses.replace(reader.layout, answers=((1,), (2, 3)))
    odd = SimpleNamespace(layout=layout)
    found = micro.probe(Exact(dataclasses.replace(trainer, receivers=[odd])), 1)  # type: ignore[list-item]
    assert (found.together, found.activations) == (1, None)


def test_what_does_not_fit_is_halved_and_then_read_one_by_one(
    trainer: Trainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = limited(monkeypatch, 4)
    assert micro.probe(Exact(trainer), 1).together == 2
    assert max(asked) == 8
    limited(monkeypatch, 2)
    assert micro.probe(Exact(trainer), 1).together == 1


def test_a_shard_that_does_not_fit_is_a_sentence(trainer: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 1)
    with pytest.raises(NoRoomError, match=r"of 2 examples \(a virtual shard: train.batch 8 / train.shards 4\)"):
        Exact(trainer)(1)


def test_the_choice_is_remembered_for_the_same_numerics(
    trainer: Trainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = Exact(trainer)
    said = micro.settle(exact, tmp_path, FACTS)
    assert said["shards"] == {"4": exact.together}
    (tmp_path / "events.jsonl").write_text(json.dumps({"event": "start", "together": said}) + "\n")
    monkeypatch.setattr(micro, "probe", lambda exact, step: micro.Found(3, "probed again", None))
    assert micro.settle(Exact(trainer), tmp_path, FACTS) == said
    assert micro.settle(Exact(trainer), tmp_path, {**FACTS, "torch": "2"})["shards"] == {"4": 3}


def limited(monkeypatch: pytest.MonkeyPatch, examples: int) -> list[int]:
    """From now on memory holds so many examples."""
    asked: list[int] = []
    monkeypatch.undo()
    honest = Receiver.answer_log_likelihoods

    def scarce(self: Receiver, middle: Any, answers: Any) -> Tensor:
        asked.append(len(middle))
        if len(middle) > examples:
            raise torch.OutOfMemoryError("tried to allocate too much")
        return honest(self, middle, answers)

    monkeypatch.setattr(Receiver, "answer_log_likelihoods", scarce)
    return asked
