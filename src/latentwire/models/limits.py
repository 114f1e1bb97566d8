"""What the parameters ask of a model that it does not have, said before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from transformers import AutoConfig, PretrainedConfig

from latentwire.errors import ConfigurationError
from latentwire.models.loading import build_without_weights, load_tokenizer
from latentwire.models.prompts import task_layouts
from latentwire.models.receiver import Receiver, find_linear_layers
from latentwire.models.sources import Source
from latentwire.params.load import Params

_COUNTED_FROM_PADDING = ("roberta", "xlm-roberta", "xlm-roberta-xl", "camembert", "mpnet", "longformer", "esm")
"""Families whose first positions are left to padding: of 514 they read 512."""


def check_model_limits(values: Params, sources: Mapping[str, Source]) -> None:
    """Check layer, lengths and the words of the tasks against configurations and tokenizers of the models.

    Args:
        values: All parameters.
        sources: Model → its files.

    Raises:
        ConfigurationError: A length, or a layer that is read or updated, is not in the model, an answer changes the
            tokens of its anchor, or two labels are the same answer.
    """
    sender = values.encode.sender
    config = _read_config(sources[sender].folder)
    _check_layer(sender, config, values.encode.layer)
    _check_length(sender, config, "encode.max_tokens", values.encode.max_tokens, 0)
    _check_room_for_text(sources[sender], values.encode.max_tokens)
    for name in values.receivers:
        config, lengths = _read_config(sources[name].folder), _lengths_for(name, values)
        for task, layout in task_layouts(values, sources[name]).items():
            _check_answers(name, task, list(values.tasks[task].labels), layout.answers)
            answer = max(*map(len, layout.answers), values.evaluate.samples.tokens)
            around = len(layout.bos) + len(layout.primer) + len(layout.anchor) + answer
            for key, length in lengths.items():
                _check_length(name, config, key, length, around, f" in task {task}")
        _check_updated_layers(values, sources[name])


def check_shown_examples(receiver: Receiver, shots: int, max_tokens: int) -> None:
    """Check that a text still fits after the solved examples that a receiver is shown before it.

    Raises:
        ConfigurationError: The longest prompt has more positions than the model reads.
    """
    parts, positions = receiver.layout, _count_positions(receiver.config)
    before, after = len(parts.bos) + len(parts.primer), len(parts.anchor) + max(map(len, parts.answers))
    if positions is not None and before + max_tokens + after > positions:
        raise ConfigurationError(
            f"baseline.shots is {shots}: with those examples a prompt of {receiver.name} has {before} positions before "
            f"a text of up to {max_tokens} and {after} after it, but the model reads {positions}. Next: lower "
            "baseline.shots or baseline.max_tokens in params.yaml, or leave out `few_shot`."
        )


def _check_room_for_text(sender: Source, length: int) -> None:
    """Every text would be the same marks, and nothing could be learned from it."""
    marks = load_tokenizer(sender)[0].num_special_tokens_to_add()
    if length <= marks:
        raise ConfigurationError(
            f"encode.max_tokens is {length}, but {sender.name} puts {marks} marks around a text, so none of it would "
            f"be read. Next: raise it to {marks + 1} or more in params.yaml."
        )


def _check_answers(name: str, task: str, labels: Sequence[str], answers: Sequence[Sequence[int]]) -> None:
    """Words that differ may not: a space more is none, and a tokenizer has one token for all that it does not know."""
    first: dict[tuple[int, ...], str] = {}
    for label, answer in zip(labels, answers, strict=True):
        other = first.setdefault(tuple(answer), label)
        if other != label:
            raise ConfigurationError(
                f"Labels {other!r} and {label!r} of task {task} are the same answer for {name}, tokens {list(answer)}, "
                f"so its scores could not tell them apart. Next: say them differently in tasks.{task}.labels in "
                "params.yaml."
            )


def _lengths_for(receiver: str, values: Params) -> dict[str, int]:
    """Key of params.yaml → most positions that it puts between primer and anchor of a receiver."""
    trained = [name for name in values.train.all_methods if receiver in values.methods[name].receivers]
    text = values.baseline.max_tokens
    own = {
        f"methods.{name}.{key}": length
        for name in (*trained, values.baseline.budget_of)
        for key, length in values.methods[name].positions(text).items()
    }
    return {"baseline.max_tokens": text, **own}


def _check_updated_layers(values: Params, source: Source) -> None:
    trained = (values.methods[name] for name in values.train.all_methods)
    asked = {layer for method in trained if source.name in method.receivers for layer in method.updated_layers}
    if asked:
        find_linear_layers(source.name, build_without_weights(source, "causal", torch.float32), sorted(asked))


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


def _check_length(name: str, config: PretrainedConfig, key: str, length: int, around: int, where: str = "") -> None:
    positions = _count_positions(config)
    if positions is not None and length + around > positions:
        taken = f", and primer, anchor and answer take {around} of them{where}" if around else ""
        raise ConfigurationError(
            f"{key} is {length}, but {name} reads {positions} positions at most{taken}. Next: lower it to "
            f"{max(0, positions - around)} in params.yaml{', or shorten the words of the task' if around else ''}."
        )


def _count_positions(config: PretrainedConfig) -> int | None:
    """Positions that a model reads; None without positions of its own, as with ALiBi: it has no longest text."""
    positions: int | None = getattr(config, "max_position_embeddings", None)
    counted_from_padding = positions is not None and config.model_type in _COUNTED_FROM_PADDING
    return positions - 1 - (config.pad_token_id or 0) if positions and counted_from_padding else positions
