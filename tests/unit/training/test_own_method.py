"""docs/models.md, a kind of one's own: what is below trains, is checkpointed and answers like the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from latentwire.evaluation.scoring import score_messages, write_messages
from latentwire.models import build
from latentwire.models.methods import Inputs, TextMethod, TrainedMethod
from latentwire.models.receiver import Receiver
from latentwire.models.wire import wire_similarity
from latentwire.params.load import load_params
from latentwire.params.methods import TextSettings
from latentwire.training.exact import Exact
from latentwire.training.gradients import gradients_per_batch
from latentwire.training.loop import Trainer

ROOT = Path(__file__).parents[3]
TEXTS = tuple(f"a cave and {number} words" for number in range(24))


class ScaleSettings(TextSettings):
    """Every embedding of the text is scaled."""

    sees: ClassVar[Mapping[str, bool]] = {"text": True, "labels": True, "features": False}
    kind: Literal["scale"]
    start: float = 1.0


class Scale(TextMethod):
    """One trained number for each position of the embeddings' width, by receiver."""

    def __init__(self, readers: Sequence[Receiver], start: float, max_tokens: int) -> None:
        super().__init__(max_tokens)
        self.factors = nn.ParameterDict({r.name: nn.Parameter(torch.full((r.width,), start)) for r in readers})

    def read(self, message: Sequence[str], receiver: Receiver) -> list[Tensor]:
        return [row * self.factors[receiver.name] for row in super().read(message, receiver)]


def build_scale(values: Any, settings: ScaleSettings, _width: int, readers: Sequence[Receiver]) -> Scale:
    return Scale(readers, settings.start, values.baseline.max_tokens)


class Shared(TrainedMethod[Tensor]):
    """A number that is in what every receiver reads: vectors that are written once, and read in any shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.written = nn.Linear(width, width)

    def write(self, inputs: Inputs) -> Tensor:
        written: Tensor = self.written(inputs.states[:, :1])
        return written

    def read(self, message: Tensor, receiver: Receiver) -> list[Tensor]:
        return list(F.pad(message, (0, receiver.width - message.shape[2])))

    def pack(self, messages: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(messages))

    def select(self, message: Tensor, rows: Sequence[int]) -> Tensor:
        return message[list(rows)]

    def count_bytes(self, message: Tensor, _receivers: Sequence[Receiver], /) -> list[int]:
        return [row.nbytes for row in message]

    def similarity(self, message: Tensor, /) -> Tensor:
        return wire_similarity(message)


@pytest.mark.parametrize("collapse", [0.0, 0.5])
def test_several_receivers_of_a_kind_of_ones_own_read_what_is_written_once(
    trainer: Trainer, collapse: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same gradients as with one pass over all of its batches, and the term of the message is among them."""
    receivers = [*trainer.receivers, *trainer.receivers]
    batches = [trainer.data.batch(rows) for rows in ([0, 1, 2], [3, 4, 5])]
    method = Shared(batches[0].states.shape[2])
    weights = trainer.settings.losses.model_copy(update={"collapse": collapse})
    alone = gradients_per_batch(method, receivers, batches, weights, lambda _: None)
    monkeypatch.setattr(Shared, "reads_in_one_shape", True)
    together = gradients_per_batch(method, receivers, batches, weights, lambda _: None)
    for one, other in zip(alone, together, strict=True):
        assert ("collapse" in one.means) == bool(collapse)
        torch.testing.assert_close(one.means, other.means)
        torch.testing.assert_close(one.gradients, other.gradients)


def test_a_kind_of_ones_own(trainer: Trainer, reader: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(build.BUILDERS, "scale", build_scale)
    settings = ScaleSettings(kind="scale", receivers=("llama",))
    values = load_params(ROOT / "params.yaml").model_copy(update={"methods": {"own": settings}})
    method = build.new_method(values, "own", 6, [reader], seed=0)
    own = replace(trainer, method=method, data=replace(trainer.data, texts=TEXTS))
    optimizer = own.make_optimizer()
    before = method.state_dict()["factors.llama"].clone()
    for step in (1, 2):
        for parameter, gradient in zip(method.parameters(), Exact(own)(step)[0], strict=True):
            parameter.grad = gradient
        optimizer.step()
    assert (method.state_dict()["factors.llama"] != before).all()
    sent = write_messages(method, own.data.inputs, range(4), 2)
    assert score_messages(method, own.receivers[0], sent, 4, lambda _: None).shape == (4, 2)
