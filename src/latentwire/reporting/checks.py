"""What must never be printed: a number that is none, and LaTeX whose braces do not match."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from latentwire.errors import ConfigurationError, EvidenceError
from latentwire.reporting.document import BUG, Block, Quote, iterate_texts, plain_text

PLACEHOLDER = re.compile(r"\b(nan|inf|None|Undefined)\b")
"""How Python prints what is not a number or was not given."""


def check_blocks(blocks: Iterable[Block], where: str, given_words: Sequence[str] = ()) -> None:
    """Refuse texts that would print a placeholder.

    Args:
        blocks: What is printed.
        where: The file, for the message.
        given_words: Names and other words that are not ours, and may be `None` or `nan` themselves.

    Raises:
        EvidenceError: Names the placeholder.
    """
    words = sorted((word for word in given_words if PLACEHOLDER.search(word)), key=len, reverse=True)
    given = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in words) or "(?!)")
    for block in blocks:
        for text in iterate_texts(block):
            ours = tuple(piece for piece in text if not isinstance(piece, Quote))
            bad = PLACEHOLDER.search(given.sub("", plain_text(ours)))
            if bad:
                raise EvidenceError(f"{where} would print {bad.group()!r}, expected a number or a dash. {BUG}")


def check_braces(latex: str, where: str) -> None:
    """Refuse LaTeX that would compile in silence to something else than was meant.

    Raises:
        EvidenceError: There are more braces of one kind than of the other.
    """
    plain = re.sub(r"\\[{}\\]", "", re.sub(r"(?<!\\)%.*", "", latex))
    if plain.count("{") != plain.count("}"):
        raise EvidenceError(f"{where} has {plain.count('{')} opening and {plain.count('}')} closing braces. {BUG}")


def check_told_apart(names: Mapping[str, str]) -> None:
    """Refuse two rows of one printed name: a derived one, as of a control, may be what somebody calls another method.

    Args:
        names: Key of a method, task or model → its printed name.

    Raises:
        ConfigurationError: Names the keys.
    """
    for name in names.values():
        keys = sorted(key for key, other in names.items() if other == name)
        if len(keys) > 1:
            raise ConfigurationError(
                f"params.yaml: the report would print {name!r} for {' and '.join(keys)}, expected a name for each. "
                f"Next: give `report.names.{keys[-1]}` another one, then `dvc repro report`."
            )
