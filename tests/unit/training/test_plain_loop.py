"""The benchmark of training compares two loops that learn the same: `make bench-train`."""

from __future__ import annotations

import copy
import dataclasses
import sys

import pytest
from transformers import AutoModelForCausalLM

from benchmarks import training
from benchmarks.training import Comparison, ExactLoop, PlainLoop, compare, stop_dropout
from latentwire.errors import ConfigurationError
from latentwire.models.receiver import Receiver
from latentwire.training.loop import Trainer


def make_plain(trainer: Trainer, reader: Receiver) -> PlainLoop:
    # Converted layers would be ours, not the library's.
    model = AutoModelForCausalLM.from_config(reader._model.config)
    model.load_state_dict(reader._model.state_dict())
    model.eval().requires_grad_(False)
    wire = copy.deepcopy(trainer.method)
    return PlainLoop(trainer, wire, {reader.name: model}, {reader.name: reader.layout}, trainer.data.batch)


def compare_both(trainer: Trainer, plain: PlainLoop, rounds: int) -> Comparison:
    ours = ExactLoop(trainer)
    return compare(ours, plain, lambda: plain.take_over(trainer.method, ours.updates), 2, rounds)


def test_both_loops_learn_the_same(trainer: Trainer, reader: Receiver) -> None:
    stop_dropout(trainer.method)
    plain = make_plain(trainer, reader)
    compared = compare_both(trainer, plain, 2)
    assert len(compared.losses) == 6
    assert compared.difference < 1e-4
    assert len({round(loss, 4) for loss, _ in compared.losses}) > 1
    assert len(compared.wall) == len(compared.cpu) == 2


def test_a_loop_that_learns_otherwise_is_seen(trainer: Trainer, reader: Receiver) -> None:
    """Dropout on one side."""
    plain = make_plain(trainer, reader)
    stop_dropout(trainer.method)
    assert compare_both(trainer, plain, 1).difference > 1e-4


def test_other_gradients_are_seen_although_each_block_begins_with_the_same_weights(
    trainer: Trainer, reader: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_dropout(trainer.method)
    plain = make_plain(trainer, reader)
    monkeypatch.setattr(plain, "_update", training.Updates(trainer, copy.deepcopy(trainer.method)))
    losses = compare_both(trainer, plain, 2).losses
    assert all(abs(ours - other) < 1e-4 for ours, other in losses[::2])
    assert all(abs(ours - other) > 1e-3 for ours, other in losses[1::2])


def test_answers_of_several_tokens_are_refused(trainer: Trainer, reader: Receiver) -> None:
    layout = dataclasses.replace(reader.layout, answers=((1,), (2, 3)))
    with pytest.raises(ValueError, match="answers of llama have several tokens, expected one each"):
        PlainLoop(trainer, trainer.method, {}, {"llama": layout}, trainer.data.batch)


@pytest.mark.parametrize(("ratio", "loss", "code"), [(3.2, 1.0, 0), (2.8, 1.0, 3), (3.2, 1.01, 3)])
def test_a_missed_goal_is_an_exit_code(
    ratio: float, loss: float, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["training"])
    monkeypatch.setattr(training, "compare", lambda *_: Comparison([ratio], [ratio], [0.5], [(1.0, loss)]))
    assert training.main(lambda: (float, float, lambda: None)) == code
    assert f"{ratio:.2f} ({ratio:.2f} to {ratio:.2f}) of the time" in capsys.readouterr().out


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def nothing() -> tuple[training.Step, training.Step, training.Level]:
        raise ConfigurationError("There are no features of rotten_tomatoes.")

    monkeypatch.setattr(sys, "argv", ["training"])
    assert training.main(nothing) == 1
    assert "Next: `make setup`, then `dvc repro encode`." in capsys.readouterr().err
