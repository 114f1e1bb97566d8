"""The controls: rolled scores are what the model gives, and noise knows nothing but the wire's strength."""

from __future__ import annotations

import pytest
import torch

from latentwire.evaluation.controls import draw_noise, shuffle_rows
from latentwire.evaluation.scoring import score_messages
from latentwire.models.receiver import Receiver
from latentwire.models.wire import Adapter, Resampler, Wire
from tests.support.tiny_receivers import make_receiver

COUNT, SLOTS, WIDTH = 21, 4, 8


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Receiver:
    return make_receiver(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def wires() -> torch.Tensor:
    return torch.randn(COUNT, SLOTS, WIDTH, generator=torch.Generator().manual_seed(1)).half()


def test_a_shuffled_row_is_never_the_examples_own() -> None:
    rows = torch.arange(5.0).reshape(5, 1, 1)
    shuffled = shuffle_rows(rows)
    assert (shuffled != rows).all()
    assert sorted(shuffled.flatten().tolist()) == sorted(rows.flatten().tolist())


@pytest.mark.parametrize("batch", [1, 8, 21])
def test_shuffled_scores_are_the_scores_of_shuffled_wires(reader: Receiver, wires: torch.Tensor, batch: int) -> None:
    """In whole and broken batches, and for the first and the last example: no receiver has to read them again."""
    torch.manual_seed(0)
    wire = Wire(Resampler(6, SLOTS, WIDTH, 1, 2, 0.1), {"llama": Adapter(WIDTH, 8, reader.width, 1.0)})

    def score(rows: torch.Tensor) -> torch.Tensor:
        return score_messages(wire, reader, rows, batch, lambda _: None)

    own = score(wires)
    assert torch.allclose(shuffle_rows(own), score(shuffle_rows(wires)), rtol=0, atol=1e-5)
    assert not torch.allclose(own, shuffle_rows(own), rtol=0, atol=1e-5)


def test_noise_has_the_strength_of_every_slot_and_nothing_of_an_example(wires: torch.Tensor) -> None:
    louder = wires * torch.tensor([1.0, 2.0, 3.0, 4.0])[None, :, None].half()
    noise = draw_noise(louder, 3)
    assert (noise.shape, noise.dtype) == (louder.shape, torch.float16)
    wanted = louder.double().square().mean(dim=(0, 2)).sqrt()
    found = noise.double().square().mean(dim=2).sqrt()
    assert torch.allclose(found, wanted.expand(COUNT, SLOTS), rtol=2e-3)
    moved = draw_noise(louder.roll(5, dims=0), 3)
    assert torch.equal(moved, noise)
    assert abs(torch.corrcoef(torch.stack([noise.double().flatten(), louder.double().flatten()]))[0, 1]) < 0.1


def test_noise_is_a_function_of_the_seed(wires: torch.Tensor) -> None:
    assert torch.equal(draw_noise(wires, 3), draw_noise(wires, 3))
    assert not torch.equal(draw_noise(wires, 3), draw_noise(wires, 4))
