from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import pytest
import torch

from latentwire.models.receiver import Receiver
from tests.support.tiny_receivers import make_receiver

FAMILIES: tuple[Literal["llama", "gemma3_text"], ...] = ("llama", "gemma3_text")


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def receivers(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Receiver]:
    """One tiny receiver per family, float32."""
    root = tmp_path_factory.mktemp("receivers")
    return {family: make_receiver(root, family) for family in FAMILIES}


@pytest.fixture(params=FAMILIES)
def receiver(request: pytest.FixtureRequest, receivers: Mapping[str, Receiver]) -> Receiver:
    return receivers[request.param]


@pytest.fixture
def middle(receiver: Receiver) -> list[torch.Tensor]:
    """Wires of three examples with 5, 2 and 7 slots, at the scale of the embedding table."""
    dice = torch.Generator().manual_seed(5)
    scale = receiver.embedding_rms()
    return [scale * torch.randn(slots, receiver.width, generator=dice) for slots in (5, 2, 7)]
