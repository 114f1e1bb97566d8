"""What the report says of each kind of trained method: a kind that is not among them is described by its settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from latentwire.reporting.document import Text
from latentwire.reporting.number_format import count_of
from latentwire.reporting.report_data import Record


@dataclass(frozen=True)
class KindWords:
    """Sentences with places for names, and what is trained from the settings."""

    introduction: str
    """Of the abstract: `method`, `receivers` and `read`."""
    method: str
    """Of the section on methods, where receivers read the text: `methods`."""
    trained: Callable[[Record], Text]
    """Settings of the method → the row of the set-up."""


def _describe_prompt(about: Record) -> Text:
    return (
        f"{count_of(about['length'], 'vector')} between primer and text, at the start embeddings of tokens that are "
        "drawn from the vocabulary",
    )


def _describe_updates(about: Record) -> Text:
    return (
        f"updates of rank {about['rank']:,} of the layers {', '.join(about['targets'])}, times {about['alpha']:g} / "
        f"{about['rank']:,}, 0 at the start",
    )


def _list_settings(about: Record) -> Text:
    kept = {key: value for key, value in about.items() if key not in ("receivers", "trained")}
    return (", ".join(f"{key} {value}" for key, value in kept.items()),)


WIRE_INTRODUCTION = (
    "{method} turns the features of a frozen sender into a few latent vectors that {receivers} {read}; the "
    "language models are frozen.\n"
)
OTHER = KindWords(
    "{method} is trained for {receivers}, which {read} its message.\n",
    "In {methods}, what is trained is of another kind, whose settings are among what was set.",
    _list_settings,
)
KINDS = {
    "prompt_tuning": KindWords(
        "{method} trains vectors before the text that {receivers} {read}; the language models are frozen.\n",
        "In {methods}, a frozen receiver reads the text itself after trained vectors of its own, prompt tuning (Lester "
        "et al. 2021).",
        _describe_prompt,
    ),
    "lora": KindWords(
        "{method} trains low-rank updates inside {receivers}, which then {read} the text.\n",
        "In {methods}, a receiver reads the text itself with trained low-rank updates of its layers (Hu et al. 2022).",
        _describe_updates,
    ),
}
"""Kinds beside the wire, which has a figure and rows of its own."""
