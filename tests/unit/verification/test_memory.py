"""The memory plan: counted from real shapes, frozen weights without optimizer state, and able to say no."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from latentwire.doctor.memory import MAIN, MemoryPart, MemoryPlan, plan_memory
from latentwire.models.loading import load_model
from latentwire.params.load import Params, parse_params
from latentwire.params.methods import LoraMethod, PromptTuningMethod
from latentwire.rehearsal.tiny import NO_ABLATIONS, tiny_causal_model, tiny_encoder_model, tiny_task

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def values(tmp_path_factory: pytest.TempPathFactory) -> Params:
    """Two tiny receivers, stored as float32."""
    folder = tmp_path_factory.mktemp("memory")
    raw: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    raw["models"] = {
        "sender": tiny_encoder_model(folder / "sender"),
        "llama": tiny_causal_model(folder / "llama", "llama"),
        "gemma": tiny_causal_model(folder / "gemma", "gemma3_text"),
    }
    raw["tasks"] = {"tiny": tiny_task(folder / "task")}
    raw["methods"] = {"wire": {**raw["methods"]["wire"], "receivers": ["llama", "gemma"]}}
    raw["train"]["ablations"] = NO_ABLATIONS
    raw["aggregate"]["metrics"] = {}
    raw["prepare"]["tasks"], raw["encode"]["sender"] = ["tiny"], "sender"
    raw["runtime"]["dtype"] = "float32"
    return parse_params(raw, "params.yaml")


def part(of: MemoryPlan, name: str) -> MemoryPart:
    return next(one for one in of.parts if one.name == name)


def test_frozen_weights_are_counted_once_and_nothing_else_of_them(values: Params, tmp_path: Path) -> None:
    found = plan_memory(values, tmp_path)
    loaded = load_model("llama", values.models["llama"], dtype="float32", cache_dir=tmp_path)
    weights = part(found, "weights of llama")
    assert weights.bytes == sum(parameter.nbytes for parameter in loaded.model.parameters())
    assert weights.shared
    trained = part(found, "trained weights").bytes
    assert part(found, "optimizer state").bytes == 2 * trained
    assert part(found, "partial gradients").bytes == 4 * trained


@pytest.mark.parametrize(
    "settings",
    [
        PromptTuningMethod(kind="prompt_tuning", length=3, receivers=("llama", "gemma")),
        LoraMethod(kind="lora", rank=2, alpha=1.0, targets=("q_proj",), receivers=("llama", "gemma")),
    ],
)
def test_a_method_of_another_kind_has_its_own_weights(
    settings: PromptTuningMethod | LoraMethod, values: Params, tmp_path: Path
) -> None:
    methods, train = {**values.methods, "own": settings}, values.train.model_copy(update={"methods": ("own",)})
    found = plan_memory(values.model_copy(update={"methods": methods, "train": train}), tmp_path)
    models = [
        load_model(name, values.models[name], dtype="float32", cache_dir=tmp_path).model for name in settings.receivers
    ]
    layers = [layer for model in models for name, layer in model.named_modules() if name.endswith("q_proj")]
    expected = {
        "prompt_tuning": sum(3 * model.config.hidden_size for model in models),
        "lora": sum(2 * (layer.in_features + layer.out_features) for layer in layers),
    }
    assert part(found, "trained weights").bytes == 4 * expected[settings.kind]
    assert part(found, "activations").bytes > 0


def test_another_type_than_the_stored_one_is_a_copy_in_every_process(values: Params, tmp_path: Path) -> None:
    runtime = values.runtime.model_copy(update={"dtype": "bfloat16"})
    weights = part(plan_memory(values.model_copy(update={"runtime": runtime}), tmp_path), "weights of llama")
    assert not weights.shared
    assert 2 * weights.bytes == part(plan_memory(values, tmp_path), "weights of llama").bytes


def test_activations_are_those_of_a_real_step(values: Params, tmp_path: Path) -> None:
    """The dry run on the meta device keeps what a real forward of the receiver keeps."""
    from latentwire.training.activation_bytes import SavedActivationBytes

    model = load_model("gemma", values.models["gemma"], dtype="float32", cache_dir=tmp_path).model
    embeddings = torch.zeros(2, 20, 32, requires_grad=True)
    with (kept := SavedActivationBytes(model.parameters())):
        model.get_decoder()(inputs_embeds=embeddings, use_cache=False)
    estimate = part(plan_memory(values, tmp_path), "activations")
    assert "ESTIMATE" in estimate.how
    assert estimate.bytes > kept.bytes / 2


@pytest.mark.parametrize(("memory", "processes", "words"), [(450, 3, "fits 3"), (350, 2, "does not fit: 2 of the 3")])
def test_it_can_say_no(memory: int, processes: int, words: str) -> None:
    made = MemoryPlan("wire", [MemoryPart("frozen", 150, "", True), MemoryPart("own", 100, "")], [(MAIN, memory)], 3)
    assert made.processes == processes
    assert made.answer().startswith(words)
    assert made.fits == (processes == 3)
    small = dataclasses.replace(made, places=[("GPU 0", 200), ("GPU 1", 260)])
    assert small.processes == 1
    assert dataclasses.replace(made, places=[]).processes == 0
