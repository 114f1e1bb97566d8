"""The identity of a text, and the file of examples."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Literal

from hypothesis import given
from hypothesis import strategies as st

from latentwire.tasks.examples import (
    Example,
    clean_text,
    digest_examples,
    example_id,
    read_examples,
    split_position,
    write_examples,
)

TEXTS = st.text(max_size=60)


def test_an_id_is_known() -> None:
    # sha256("a b") begins so; a change here would move every example of every task.
    assert example_id(" A\n\tb ") == "c8687a08aa5d6ed2"


@given(TEXTS, st.sampled_from(("NFC", "NFD")))
def test_trivial_variants_of_a_text_are_one_example(text: str, form: Literal["NFC", "NFD"]) -> None:
    variant = "  " + unicodedata.normalize(form, text).replace(" ", "\n\t ") + "\n"
    assert example_id(variant) == example_id(text)
    assert example_id(clean_text(text)) == example_id(text)
    assert clean_text(clean_text(text)) == clean_text(text)


@given(TEXTS)
def test_a_position_is_in_the_unit_interval(text: str) -> None:
    assert 0 <= split_position(example_id(text)) < 1
    assert 0 <= split_position("f" * 16) < 1


def test_examples_come_back_as_written_and_in_the_same_bytes(tmp_path: Path) -> None:
    examples = [Example("0" * 16, "train", "naïve 'text'", "a"), Example("1" * 16, "test", "two,\ttabs", "b")]
    write_examples(examples, tmp_path / "one.parquet")
    write_examples(examples, tmp_path / "two.parquet")
    assert read_examples(tmp_path / "one.parquet") == examples
    assert (tmp_path / "one.parquet").read_bytes() == (tmp_path / "two.parquet").read_bytes()


def test_the_digest_sees_every_field_and_the_order() -> None:
    base = [Example("0" * 16, "train", "x", "a"), Example("1" * 16, "test", "y", "b")]
    others = [
        [Example("2" * 16, "train", "x", "a"), base[1]],
        [Example("0" * 16, "validation", "x", "a"), base[1]],
        [Example("0" * 16, "train", "z", "a"), base[1]],
        [Example("0" * 16, "train", "x", "b"), base[1]],
        base[::-1],
        base[:1],
    ]
    assert len({digest_examples(base), *map(digest_examples, others)}) == 7
