from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import save_file

from latentwire.models.features import FILE, INDEX, Features
from latentwire.models.receiver import Receiver
from latentwire.models.wire import Adapter, Resampler, Wire
from latentwire.params.sections import Train
from latentwire.training.loop import LabelledFeatures, Trainer
from tests.support.tiny_receivers import make_receiver

ROOT = Path(__file__).parents[3]
EXAMPLES, WIDTH, LENGTH = 24, 6, 5


@pytest.fixture(scope="session")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Receiver:
    """A real frozen receiver, small."""
    return make_receiver(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def features(tmp_path_factory: pytest.TempPathFactory) -> Features:
    """Random states of texts of one to five tokens."""
    folder, dice = tmp_path_factory.mktemp("features"), torch.Generator().manual_seed(3)
    lengths = torch.randint(1, LENGTH + 1, (EXAMPLES,), generator=dice)
    states = torch.randn(int(lengths.sum()), WIDTH, generator=dice)
    offsets = torch.cat([torch.zeros(1, dtype=torch.long), lengths.cumsum(0)])
    save_file({"train.states": states, "train.offsets": offsets}, folder / FILE)
    (folder / INDEX).write_text(json.dumps({"example_ids": {"train": [str(i) for i in range(EXAMPLES)]}}))
    return Features.open(folder, "train")


@pytest.fixture
def trainer(reader: Receiver, features: Features) -> Trainer:
    """V = 4 shards of two examples."""
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())["train"]
    raw |= {"batch": 8, "shards": 4, "steps": 20}
    torch.manual_seed(0)
    wire = Wire(Resampler(WIDTH, 4, 8, 1, 2, 0.1), {"llama": Adapter(8, 8, reader.width, 1.0)})
    data = LabelledFeatures(features, [index % 2 for index in range(EXAMPLES)], LENGTH)
    return Trainer(wire.train(), [reader], data, Train.model_validate(raw), 7, dict)
