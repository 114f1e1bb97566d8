"""Plain data parallelism: about the same gradient, smaller micro-batches where memory is short."""

from __future__ import annotations

import pytest
import torch

from latentwire.training.exact import Exact
from latentwire.training.loop import Trainer
from latentwire.training.out_of_memory import DeviceMemoryError
from latentwire.training.throughput import Throughput
from tests.support.scarce_memory import gradient_bytes, limit_memory


@pytest.fixture
def still(trainer: Trainer) -> Trainer:
    """Without dropout, whose streams are those of shards in one mode and of micro-batches in the other."""
    trainer.method.eval()
    return trainer


def test_it_is_the_same_gradient_in_other_bytes(still: Trainer) -> None:
    exact, plain = Exact(still)(2), Throughput(still)(2)
    assert gradient_bytes(exact) != gradient_bytes(plain)
    torch.testing.assert_close(exact[0], plain[0])
    assert exact[1].keys() == plain[1].keys()
    torch.testing.assert_close(list(exact[1].values()), list(plain[1].values()))


def test_out_of_memory_is_retried_with_a_smaller_micro_batch(
    still: Trainer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    whole = Throughput(still)(2)
    plain = Throughput(still)
    assert plain.micro_batch == 8
    limit_memory(monkeypatch, 3)
    found = plain(2)
    assert plain.micro_batch == 2
    torch.testing.assert_close(found[0], whole[0])
    assert "8 examples do not fit into one forward (tried to allocate too much): going on with 4." in caplog.messages


def test_one_example_that_does_not_fit_is_a_sentence(still: Trainer, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_memory(monkeypatch, 0)
    with pytest.raises(DeviceMemoryError, match="of 1 examples"):
        Throughput(still)(2)
