"""Everything that a step, a score or an encoding computes stays on the device where the models are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from latentwire.errors import ConfigurationError
from latentwire.evaluation.controls import draw_noise
from latentwire.evaluation.scoring import generate_texts, label_prior, score_messages, score_texts, write_messages
from latentwire.models.baselines import LogisticLayer, score_by_majority
from latentwire.models.features import Features, StoredInputs, compute_hidden_states
from latentwire.models.loading import FrozenModel, load_model
from latentwire.models.methods import Inputs
from latentwire.models.reading_checks import check_reading
from latentwire.models.receiver import Receiver
from latentwire.models.wire import Adapter, Resampler, Wire
from latentwire.params.sections import Losses
from latentwire.params.sources import LocalModel
from latentwire.rehearsal.tiny import tiny_encoder_model
from latentwire.training.gradients import gradients_per_batch
from latentwire.training.objective import Batch
from tests.support.fake_device import DEVICE, MISMATCH, KnownValues, other_device
from tests.support.tiny_receivers import make_receiver

TEXTS = ["one night in the meadow.", "a cave."]
SLOTS, WIDTH, LENGTH = 4, 8, 5
ALL_LOSSES = Losses(token_ce=1.0, label_ce=0.5, collapse=0.1)


@dataclass(frozen=True)
class Models:
    """A sender, two receivers and a wire between them, all small."""

    sender: FrozenModel
    receivers: list[Receiver]
    wire: Wire

    @property
    def modules(self) -> list[nn.Module]:
        """Whatever has weights."""
        return [self.sender.model, self.wire, *(receiver._model for receiver in self.receivers)]


@pytest.fixture
def models(tmp_path: Path) -> Models:
    sender = LocalModel(**tiny_encoder_model(tmp_path / "sender"))
    frozen = load_model("sender", sender, role="encoder", dtype="float32", cache_dir=tmp_path / "cache")
    receivers = [make_receiver(tmp_path, family) for family in ("llama", "gemma3_text")]
    adapters = {receiver.name: Adapter(WIDTH, 8, receiver.width, 1.0) for receiver in receivers}
    return Models(frozen, receivers, Wire(Resampler(32, SLOTS, WIDTH, 1, 2, 0.1), adapters))


def make_batch() -> Batch:
    """Two examples on the default device."""
    mask = torch.ones(2, LENGTH, dtype=torch.bool)
    return Batch(torch.randn(2, LENGTH, 32), mask, torch.ones(2, dtype=torch.long))


def send(models: Models) -> Tensor:
    """Wires of two examples, as they are sent."""
    batch = make_batch()
    return models.wire.pack([models.wire.write(batch)])


def test_the_sender(models: Models) -> None:
    with other_device(*models.modules):
        states = compute_hidden_states(models.sender, TEXTS, -1, 16)
        assert {state.device.type for state in states} == {DEVICE}


@pytest.mark.long
def test_gradients_of_a_step(models: Models) -> None:
    with other_device(*models.modules):
        batches = [make_batch(), make_batch()]
        found = gradients_per_batch(models.wire.train(), models.receivers, batches, ALL_LOSSES, lambda _: None)
        tensors = [tensor for one in found for tensor in (*one.gradients, *one.means.values())]
    assert len(tensors) == 2 * (len(list(models.wire.parameters())) + 6), "every parameter, the loss, five terms"
    assert {tensor.device.type for tensor in tensors} == {DEVICE}


@pytest.mark.parametrize("where", ["cpu", DEVICE])
def test_wires_of_stored_features(where: str, models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows may come on either device: safetensors makes a slice of a file on the default one."""
    rows = [torch.zeros(length, 32, device=where) for length in (3, LENGTH)]
    monkeypatch.setattr(Features, "rows", lambda self, indices: [rows[i] for i in indices])
    features = Features(Path(), "train", ("a", "b"), (0, 3, 8), 32)
    with other_device(*models.modules):
        assert write_messages(models.wire, StoredInputs(features, LENGTH), [0, 1], 1).device.type == DEVICE


SCORES: dict[str, Callable[[Models, Receiver], Tensor]] = {
    "wires": lambda m, r: score_messages(m.wire, r, send(m), 1, lambda _: None, [3, 4]),
    "texts": lambda m, r: score_texts(r, TEXTS, 8, 1, lambda _: None),
    "prior": lambda m, r: label_prior(r),
    "few_shot": lambda m, r: score_texts(r.show_examples(TEXTS, [0, 1], 8), TEXTS, 8, 2, lambda _: None),
    "ids": lambda m, r: r.log_probabilities_of_ids(torch.tensor([1, 2, 3])),
    "majority": lambda m, r: score_by_majority([0, 1, 1], 2, 3),
}


@pytest.mark.parametrize("name", SCORES)
def test_scores(name: str, models: Models) -> None:
    with other_device(*models.modules), torch.no_grad():
        for receiver in models.receivers:
            assert SCORES[name](models, receiver).device.type == DEVICE


@pytest.mark.long
def test_what_is_said_freely_and_how_a_receiver_is_checked(models: Models) -> None:
    with other_device(*models.modules), torch.no_grad():
        for receiver in models.receivers:
            assert len(generate_texts(models.wire, receiver, send(models), 2)) == 2
            assert receiver.embedding_rms() == 1.0
            with pytest.raises(ConfigurationError, match="differ"):  # here all differences are 1
                check_reading(receiver, english=False)


def test_a_mix_up_is_found(models: Models) -> None:
    """A mask, a batch, a table of the processor, each where all else is on the device."""
    here = torch.ones(2, LENGTH, dtype=torch.bool), torch.randn(2, LENGTH, 32), torch.randn(9, 4)
    with other_device(*models.modules), torch.no_grad():
        batch = make_batch()
        for call in (
            lambda: models.wire.write(Inputs(batch.states, here[0])),
            lambda: models.wire.write(Inputs(here[1], batch.mask)),
            lambda: nn.functional.embedding(torch.tensor([1]), here[2]),
            lambda: models.receivers[0].embed(torch.tensor([1], device="cpu")),
        ):
            with pytest.raises(RuntimeError, match=MISMATCH):
                call()


def on_device(*shape: int) -> Tensor:
    """What a GPU computed."""
    return torch.zeros(*shape, device=DEVICE)


LAYER = LogisticLayer([0, 1, 0, 1], classes=2, inverse_regularisation=1.0)
NUMPY: dict[str, Callable[[], Tensor]] = {
    "noise": lambda: draw_noise(on_device(3, SLOTS, WIDTH), 0),
    "readout": lambda: LAYER.score_by_readout(on_device(4, 3), on_device(2, 3)),
    "probe": lambda: LAYER.score_by_probe(on_device(4, 3), on_device(2, 3)),
}


@pytest.mark.parametrize("default", ["cpu", DEVICE])
@pytest.mark.parametrize("name", NUMPY)
def test_what_numpy_computes(name: str, default: str) -> None:
    """numpy and scikit-learn compute on the processor; what they found comes back to where the tensors were."""
    with torch.device(default), KnownValues():
        assert NUMPY[name]().device.type == DEVICE
