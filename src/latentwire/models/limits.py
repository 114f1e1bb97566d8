"""What the parameters ask of a model that it does not have, said before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from transformers import AutoConfig, PretrainedConfig

from latentwire.errors import ConfigurationError
from latentwire.params.load import Params

_COUNTED_FROM_PADDING = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer", "esm")
"""Families whose first positions are left to padding: of 514 they read 512."""


def check_model_limits(values: Params, folders: Mapping[str, Path]) -> None:
    """Check layer and lengths against the configurations of the models.

    Args:
        values: All parameters.
        folders: Model → folder of its `config.json`.

    Raises:
        ConfigurationError: A layer or a length is not in the model.
    """
    sender = values.encode.sender
    config = _read_config(folders[sender])
    _check_layer(sender, config, values.encode.layer)
    _check_length(sender, config, "encode.max_tokens", values.encode.max_tokens)
    for name in values.receivers:
        config = _read_config(folders[name])
        _check_length(name, config, "baseline.max_tokens", values.baseline.max_tokens)
        for method in values.train.methods:
            if name in values.methods[method].receivers:
                _check_length(name, config, f"methods.{method}.slots", values.methods[method].slots)


def _read_config(folder: Path) -> PretrainedConfig:
    config: PretrainedConfig = AutoConfig.from_pretrained(folder).get_text_config()
    return config


def _check_layer(name: str, config: PretrainedConfig, layer: int) -> None:
    layers = config.num_hidden_layers
    if not -layers - 1 <= layer <= layers:
        raise ConfigurationError(
            f"encode.layer is {layer}, but {name} has {layers} layers: expected 0 (the embedding output) to {layers}, "
            f"or -1 (the last) to {-layers - 1}. Next: correct it in params.yaml."
        )


def _check_length(name: str, config: PretrainedConfig, key: str, length: int) -> None:
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None:
        return  # without positions of its own, as with ALiBi, a model has no longest text
    if config.model_type in _COUNTED_FROM_PADDING:
        positions -= 1 + (config.pad_token_id or 0)
    if length > positions:
        raise ConfigurationError(
            f"{key} is {length}, but {name} reads {positions} positions at most, and primer, anchor and answer take "
            f"some of them. Next: lower it in params.yaml."
        )
