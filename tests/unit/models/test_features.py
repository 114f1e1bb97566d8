from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from latentwire.errors import ConfigurationError
from latentwire.models import features
from latentwire.models.features import Features
from latentwire.models.loading import FrozenModel, load_model
from latentwire.params.sources import LocalModel
from latentwire.rehearsal.tiny import tiny_encoder_model

TEXTS = ["one night in the meadow.", "storm.", "the candle at the window was over us."]


@pytest.fixture(scope="module")
def sender(tmp_path_factory: pytest.TempPathFactory) -> FrozenModel:
    root = tmp_path_factory.mktemp("sender")
    spec = LocalModel(**tiny_encoder_model(root / "model"))
    return load_model("sender", spec, dtype="float32", role="encoder", cache_dir=root / "cache")


def store(folder: Path, sender: FrozenModel, batch: int = 2) -> list[int]:
    told: list[int] = []
    features.write_features(
        folder,
        [("train", ["a", "b", "c"], TEXTS), ("test", ["d"], TEXTS[:1])],
        lambda texts: features.compute_hidden_states(sender, texts, -1, 8),
        batch,
        told.append,
        {"sender": sender.digest},
    )
    return told


def test_states_are_those_of_each_text_alone(sender: FrozenModel) -> None:
    together = features.compute_hidden_states(sender, TEXTS, -1, 8)
    for text, states in zip(TEXTS, together, strict=True):
        (alone,) = features.compute_hidden_states(sender, [text], -1, 8)
        torch.testing.assert_close(states, alone, rtol=0, atol=1e-5)
    assert [len(states) for states in together] == [8, 4, 8]


def test_layers_differ(sender: FrozenModel) -> None:
    first, last = (features.compute_hidden_states(sender, TEXTS[:1], layer, 8)[0] for layer in (0, -1))
    assert not torch.allclose(first, last)


def test_stored_rows_come_back(sender: FrozenModel, tmp_path: Path) -> None:
    assert store(tmp_path, sender) == [2, 1, 1]
    stored = Features.open(tmp_path, "train")
    assert stored.example_ids == ("a", "b", "c")
    expected = features.compute_hidden_states(sender, TEXTS[2:], -1, 8)[0].to(torch.bfloat16).float()
    torch.testing.assert_close(stored.rows([2])[0], expected, rtol=0, atol=1e-2)
    assert stored.means().shape == (3, 32)


def test_texts_of_one_length_share_a_batch_and_rows_keep_their_order(tmp_path: Path) -> None:
    asked: list[list[str]] = []

    def encode(texts: Sequence[str]) -> list[torch.Tensor]:
        asked.append(list(texts))
        return [torch.full((len(text), 2), float(len(text))) for text in texts]

    texts = ["four", "a", "seven..", "to", "six..."]
    features.write_features(tmp_path, [("train", list("vwxyz"), texts)], encode, 2, lambda _: None, {})
    assert asked == [["a", "to"], ["four", "six..."], ["seven.."]]
    stored = Features.open(tmp_path, "train")
    assert [rows[0, 0].item() for rows in stored.rows(range(5))] == [4, 1, 7, 2, 6]


def test_padding_is_zero_and_its_length_is_fixed(sender: FrozenModel, tmp_path: Path) -> None:
    store(tmp_path, sender)
    stored = Features.open(tmp_path, "train")
    states, mask = stored.padded([1, 0], 10)
    assert states.shape == (2, 10, 32)
    assert mask.sum(dim=1).tolist() == [4, 8]
    assert (states[~mask] == 0).all()
    alone, _ = stored.padded([1], 10)
    assert torch.equal(alone[0], states[0])


def test_the_file_is_a_function_of_its_input(sender: FrozenModel, tmp_path: Path) -> None:
    for name in ("one", "two"):
        store(tmp_path / name, sender)
    for file in (features.FILE, features.INDEX):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_missing_features_are_a_sentence(sender: FrozenModel, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"No features\.safetensors in .*Next: `dvc repro encode`"):
        Features.open(tmp_path, "train")
    store(tmp_path, sender)
    with pytest.raises(ConfigurationError, match="has splits test, train, not validation"):
        Features.open(tmp_path, "validation")
