"""From rows to examples without leakage: one example per text, one split per text, decided by its content alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from latentwire.errors import ConfigurationError
from latentwire.params.sections import Prepare
from latentwire.tasks.examples import SPLITS, Example, Split, clean_text, example_id, split_position
from latentwire.tasks.tables import Row

Texts = dict[str, Row]
"""Example id → cleaned text and label key."""


@dataclass(frozen=True)
class Dropped:
    """Rows or texts that became no example."""

    empty: int = 0
    """Rows without text."""
    duplicates: int = 0
    """Rows that repeat an earlier row's text with the same label."""
    conflicting: int = 0
    """Rows of texts that stand under several labels."""
    in_both_splits: int = 0
    """Texts that stand in the train file and in the official test file."""

    def __add__(self, other: Dropped) -> Dropped:
        return Dropped(**{field: value + vars(other)[field] for field, value in vars(self).items()})


def distinct_texts(rows: Iterable[Row], without: Set[str] = frozenset()) -> tuple[Texts, Dropped]:
    """One entry per text; of equal texts the first is kept, and none if their labels differ.

    Args:
        rows: Texts and label keys.
        without: Ids of texts that are left out and not counted.
    """
    groups: dict[str, list[Row]] = {}
    empty = 0
    for text, label in rows:
        if clean_text(text):
            groups.setdefault(example_id(text), []).append((clean_text(text), label))
        else:
            empty += 1
    groups = {key: group for key, group in groups.items() if key not in without}
    clear = {key: group for key, group in groups.items() if len({label for _, label in group}) == 1}
    dropped = Dropped(
        empty=empty,
        duplicates=sum(len(group) - 1 for group in clear.values()),
        conflicting=sum(len(group) for key, group in groups.items() if key not in clear),
    )
    return {key: group[0] for key, group in clear.items()}, dropped


def split_examples(train: Sequence[Row], test: Sequence[Row] | None, prepare: Prepare) -> tuple[list[Example], Dropped]:
    """Cut the splits and apply the limits.

    With a test file, its texts are the test split and texts of both files are dropped from both; without one, the
    test split is cut from the train file. A text's split depends on its id and the fractions only, so added rows
    move no other text; a larger limit only adds examples.

    Returns:
        Examples ordered by split (train, validation, test) and id, and what was dropped.
    """
    if test is None:
        texts, dropped = distinct_texts(train)
        return _apply_limits(texts, {key: _split_from_one_file(key, prepare) for key in texts}, prepare), dropped
    # Determined before anything else is dropped: a text that contradicts itself in one file still stands there.
    both = _list_ids(train) & _list_ids(test)
    texts, dropped = distinct_texts(train, both)
    official, dropped_there = distinct_texts(test, both)
    chosen: dict[str, Split] = {key: _split_from_train_file(key, prepare) for key in texts}
    chosen.update(dict.fromkeys(official, "test"))
    return _apply_limits(texts | official, chosen, prepare), dropped + dropped_there + Dropped(in_both_splits=len(both))


def count_labels(examples: Iterable[Example], labels: Iterable[str]) -> dict[str, dict[str, int]]:
    """Split → label key → examples, zeros included."""
    counted = Counter((example.split, example.label) for example in examples)
    keys = list(labels)
    return {part: {label: counted[part, label] for label in keys} for part in SPLITS}


def check_splits(task: str, counted: Mapping[str, Mapping[str, int]], prepare: Prepare) -> None:
    """Refuse splits that a later stage could not use, or whose numbers would not speak of every label.

    Raises:
        ConfigurationError: A split is empty, or training or test split lack a label.
    """
    for part, counts in counted.items():
        total, absent = sum(counts.values()), [label for label, n in counts.items() if n == 0]
        if total and (part == "validation" or not absent):
            continue
        lack = f"has none of {', '.join(map(repr, absent))}" if total else "is empty"
        limit = getattr(prepare.limits, part)
        fraction = "prepare.fractions" if part == "train" else f"prepare.fractions.{part}"
        raise ConfigurationError(
            f"The {part} split of task {task} ({total} examples) {lack}; expected every label of tasks.{task}.labels "
            f"in training and test split, and some example in validation. Next: raise prepare.limits.{part} (now "
            f"{limit}), change {fraction}, or take the label out of params.yaml."
        )


def _list_ids(rows: Iterable[Row]) -> set[str]:
    return {example_id(text) for text, _ in rows if clean_text(text)}


def _split_from_one_file(identity: str, prepare: Prepare) -> Split:
    at = split_position(identity) - prepare.fractions.test
    return "test" if at < 0 else "validation" if at < prepare.fractions.validation else "train"


def _split_from_train_file(identity: str, prepare: Prepare) -> Split:
    return "validation" if split_position(identity) < prepare.fractions.validation else "train"


def _apply_limits(texts: Texts, chosen: Mapping[str, Split], prepare: Prepare) -> list[Example]:
    examples: list[Example] = []
    for part in SPLITS:
        keys = sorted(key for key in chosen if chosen[key] == part)
        examples += [Example(key, part, *texts[key]) for key in keys[: getattr(prepare.limits, part)]]
    return examples
