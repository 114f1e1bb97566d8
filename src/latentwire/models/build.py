"""Models and trained methods as `params.yaml` describes them, on the frozen models that `prepare` recorded."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import torch

from latentwire.errors import ConfigurationError
from latentwire.loaded_kernels import check_numpy_kernels, check_torch_kernels
from latentwire.models.loading import FrozenModel, Role, load_model
from latentwire.models.lora import Lora
from latentwire.models.methods import AnyMethod
from latentwire.models.prompt_tuning import PromptTuning, draw_prompt
from latentwire.models.reading_checks import check_reading
from latentwire.models.receiver import Receiver
from latentwire.models.wire import Adapter, Resampler, Wire
from latentwire.params.load import Params
from latentwire.params.methods import LoraMethod, PromptTuningMethod, WireMethod
from latentwire.params.sections import Runtime
from latentwire.tasks.stored import MODELS
from unbroken.exact.randomness import seed_all


def configure_torch(runtime: Runtime, threads: int | None = None) -> None:
    """Fix where torch computes and what changes the bits of its results: threads, kernels, TF32.

    Args:
        runtime: The section of params.yaml.
        threads: Instead of its number.

    Raises:
        ConfigurationError: The device is not here, or numpy or torch was imported with other kernels.
    """
    check_numpy_kernels()
    if runtime.numerics == "portable":
        check_torch_kernels()
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            "runtime.device in params.yaml is cuda, but torch finds no GPU here; expected a GPU, its driver and the "
            "CUDA build of torch. Next: `nvidia-smi`, then `make setup TORCH=cuda`; or set runtime.device to cpu."
        )
    # torch makes everything on the CPU anyway, and to be told so doubles the cost of each small call.
    torch.set_default_device(None if runtime.device == "cpu" else runtime.device)
    torch.set_num_threads(threads or runtime.threads)
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def load_frozen(values: Params, name: str, role: Role, dtype: str | None = None) -> FrozenModel:
    """Load a frozen model and compare it with the one that `prepare` recorded.

    Raises:
        ConfigurationError: It is missing, or its weights are not those that `prepare` recorded.
    """
    model = load_model(name, values.models[name], role=role, dtype=dtype or values.runtime.dtype)
    recorded = json.loads(MODELS.read_text(encoding="utf-8"))[name]["digest"]
    if model.digest != recorded:
        raise ConfigurationError(
            f"Model {name} has digest {model.digest[:12]}, but {MODELS} records {recorded[:12]}. "
            "Next: `dvc repro --force prepare` if the model was meant to change."
        )
    model.model.to(torch.get_default_device())  # type: ignore[arg-type]
    return model


def load_receivers(values: Params, names: Sequence[str], task: str) -> list[Receiver]:
    """Frozen receivers with the layout of a task, each checked to read as its own library reads.

    Raises:
        ConfigurationError: A model is missing or another one, or does not read vectors, or English.
    """
    words = values.tasks[task]
    answers = list(words.labels.values())
    readers = [Receiver(load_frozen(values, name, "causal"), words.primer, words.anchor, answers) for name in names]
    for reader in readers:
        check_reading(reader, english=values.models[reader.name].reads_english)
    return readers


def new_method(values: Params, name: str, sender_width: int, readers: Sequence[Receiver], seed: int) -> AnyMethod:
    """A trained method with the initial weights of a seed.

    Args:
        values: All parameters.
        name: Of the method.
        sender_width: Hidden width of the sender.
        readers: Its receivers, as they are frozen.
        seed: Of the initial weights.
    """
    settings = values.methods[name]
    seed_all(seed, purpose="initial weights")
    return BUILDERS[settings.kind](values, settings, sender_width, readers)


def _build_wire(_values: Params, settings: WireMethod, sender_width: int, readers: Sequence[Receiver]) -> Wire:
    resampler = Resampler(
        sender_width,
        settings.slots,
        settings.width,
        settings.depth,
        settings.heads,
        settings.dropout,
        settings.query_std,
    )
    adapters = {r.name: Adapter(settings.width, settings.hidden, r.width, r.embedding_rms()) for r in readers}
    return Wire(resampler, adapters)


def _build_prompts(values: Params, settings: PromptTuningMethod, _width: int, readers: Sequence[Receiver]) -> AnyMethod:
    return PromptTuning({r.name: draw_prompt(r, settings.length) for r in readers}, values.baseline.max_tokens)


def _build_lora(values: Params, settings: LoraMethod, _width: int, readers: Sequence[Receiver]) -> AnyMethod:
    return Lora(readers, settings.targets, settings.rank, settings.alpha, values.baseline.max_tokens)


BUILDERS: dict[str, Callable[[Params, Any, int, Sequence[Receiver]], AnyMethod]] = {
    "wire": _build_wire,
    "prompt_tuning": _build_prompts,
    "lora": _build_lora,
}
"""Kind → what makes a method of it, from all parameters, its own settings, the sender's width and the receivers."""
