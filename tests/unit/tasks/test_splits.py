"""Splits: no text in two of them, decided by content alone, and counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from latentwire.errors import ConfigurationError
from latentwire.params.sections import Prepare
from latentwire.tasks.examples import Example, example_id
from latentwire.tasks.splits import Dropped, check_splits, count_labels, distinct_texts, split_examples
from latentwire.tasks.tables import Row

WORDS = st.sampled_from(["red", "Red", "green", "blue", "sky", "sea", "deep", "é", "e\u0301"])
ROWS = st.lists(
    st.tuples(
        st.lists(WORDS, max_size=4).flatmap(lambda w: st.sampled_from([" ", "  ", "\n"]).map(lambda s: s.join(w))),
        st.sampled_from("ab"),
    ),
    max_size=40,
)


def prepared(
    validation: float = 0.2, test: float = 0.3, train_n: int = 10**6, validation_n: int = 10**6, test_n: int = 10**6
) -> Prepare:
    return Prepare.model_validate(
        {
            "tasks": ["t"],
            "fractions": {"validation": validation, "test": test},
            "limits": {"train": train_n, "validation": validation_n, "test": test_n},
        }
    )


def numbered(n: int, prefix: str = "text") -> list[Row]:
    return [(f"{prefix} {i}", "ab"[i % 2]) for i in range(n)]


def where(examples: list[Example]) -> dict[str, str]:
    return {example.text: example.split for example in examples}


@given(ROWS, st.none() | ROWS, st.integers(1, 6))
def test_no_text_leaks_from_one_split_to_another(train: list[Row], test: list[Row] | None, limit: int) -> None:
    examples, _ = split_examples(train, test, prepared(train_n=limit))
    ids = [example.example_id for example in examples]
    assert len(set(ids)) == len(ids)
    assert all(example.example_id == example_id(example.text) for example in examples)
    if test is not None:
        in_train = {example_id(text) for text, _ in train}
        in_test = {example_id(text) for text, _ in test}
        assert all(e.example_id not in (in_train if e.split == "test" else in_test) for e in examples)


@given(ROWS, st.none() | ROWS)
def test_every_row_is_an_example_or_counted(train: list[Row], test: list[Row] | None) -> None:
    examples, dropped = split_examples(train, test, prepared())
    shared = {example_id(t) for t, _ in train if t.strip()} & {example_id(t) for t, _ in test or [] if t.strip()}
    rows = [text for text, _ in [*train, *(test or [])] if example_id(text) not in shared]
    assert dropped.in_both_splits == len(shared)
    assert len(rows) == len(examples) + dropped.empty + dropped.duplicates + dropped.conflicting


@given(ROWS, st.none() | ROWS, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(train: list[Row], test: list[Row] | None, dice: object) -> None:
    mixed = train[:]
    dice.shuffle(mixed)  # type: ignore[attr-defined]
    first, dropped = split_examples(train, test, prepared())
    second, dropped_mixed = split_examples(mixed, test, prepared())
    assert [(e.example_id, e.split, e.label) for e in first] == [(e.example_id, e.split, e.label) for e in second]
    assert dropped == dropped_mixed


def test_added_rows_move_no_other_text() -> None:
    few, many = (
        where(split_examples(numbered(200), None, prepared())[0]),
        where(split_examples(numbered(400), None, prepared())[0]),
    )
    assert few.items() < many.items()


def test_larger_limits_only_add_examples() -> None:
    small, _ = split_examples(numbered(500), None, prepared(train_n=20, validation_n=10, test_n=15))
    large, _ = split_examples(numbered(500), None, prepared(train_n=40, validation_n=20, test_n=30))
    assert [sum(e.split == part for e in small) for part in ("train", "validation", "test")] == [20, 10, 15]
    assert where(small).items() < where(large).items()


def test_fractions_are_met_and_examples_stand_in_order() -> None:
    examples, _ = split_examples(numbered(4000), None, prepared(validation=0.1, test=0.25))
    share = {part: sum(e.split == part for e in examples) / 4000 for part in ("train", "validation", "test")}
    assert share["test"] == pytest.approx(0.25, abs=0.03)
    assert share["validation"] == pytest.approx(0.1, abs=0.02)
    order = [(["train", "validation", "test"].index(e.split), e.example_id) for e in examples]
    assert order == sorted(order)


def test_an_official_test_file_is_the_test_split_and_shared_texts_leave_both() -> None:
    train, test = [*numbered(50), ("Shared  Text", "a")], [*numbered(20, "official"), ("shared text", "a")]
    examples, dropped = split_examples(train, test, prepared())
    assert {e.text for e in examples if e.split == "test"} == {text for text, _ in numbered(20, "official")}
    assert dropped == Dropped(in_both_splits=1)
    assert not any(e.text.casefold() == "shared text" for e in examples)


def test_equal_texts_become_one_and_contradicting_ones_none() -> None:
    rows = [("One", "a"), ("one ", "a"), ("ONE", "a"), ("two", "a"), ("Two", "b"), (" \n", "a"), ("three", "b")]
    texts, dropped = distinct_texts(rows)
    assert list(texts.values()) == [("One", "a"), ("three", "b")]
    assert dropped == Dropped(empty=1, duplicates=2, conflicting=2)


def test_labels_are_counted_in_every_split() -> None:
    examples = [Example("0" * 16, "test", "x", "a"), Example("1" * 16, "train", "y", "b")]
    counted = count_labels(examples, ["a", "b"])
    assert counted == {"train": {"a": 0, "b": 1}, "validation": {"a": 0, "b": 0}, "test": {"a": 1, "b": 0}}


@pytest.mark.parametrize(
    ("train", "validation", "test", "sentence"),
    [
        (
            (1, 1),
            (1, 0),
            (1, 0),
            r"test split of task t \(1 examples\) has none of 'b'; .*raise prepare.limits.test",
        ),
        ((3, 0), (1, 0), (1, 1), r"train split of task t \(3 examples\) has none of 'b'; .*raise prepare.limits.train"),
        ((1, 1), (0, 0), (1, 1), r"validation split of task t \(0 examples\) is empty; .*prepare.fractions.validation"),
        ((0, 0), (1, 0), (1, 1), r"train split of task t \(0 examples\) is empty; .*change prepare.fractions,"),
    ],
)
def test_a_split_that_a_later_stage_could_not_use_is_refused(
    train: tuple[int, int], validation: tuple[int, int], test: tuple[int, int], sentence: str
) -> None:
    parts = {"train": train, "validation": validation, "test": test}
    counted = {part: dict(zip("ab", counts, strict=True)) for part, counts in parts.items()}
    with pytest.raises(ConfigurationError, match=sentence):
        check_splits("t", counted, prepared())
    counted = {part: {"a": 1, "b": int(part != "validation")} for part in parts}
    check_splits("t", counted, prepared())
