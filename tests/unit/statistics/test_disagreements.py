"""Which texts a method and the reference answer differently, and which of them are shown."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from latentwire.errors import EvidenceError
from latentwire.statistics.comparisons import StatsRecord
from latentwire.statistics.disagreements import LETTERS, excerpt
from tests.support.synthetic_predictions import aggregate

KEY = "r8/gemma3/wire-vs-text/answers"


def _answers(root: Path) -> pd.DataFrame:
    """Gold, answers of the three seeds and of the text, by example in the order of the ids."""
    examples = pd.read_parquet(root / "results/prepare/r8/examples.parquet").set_index("example_id")
    columns = {"gold": examples[examples["split"] == "test"]["label"]}
    for name in ("evaluate/wire-r8-0", "evaluate/wire-r8-1", "evaluate/wire-r8-2", "baseline/r8/text"):
        rows = pd.read_parquet(root / f"results/{name}/predictions.parquet")
        own = rows[rows["method"].isin(["wire", "text"]) & (rows["model"] == "gemma3")]
        columns[name[-6:]] = own.set_index("example_id")["prediction"]
    return pd.DataFrame(columns).sort_index()


@pytest.mark.long
def test_counts_and_samples_are_those_of_the_predictions(aggregated: Path, computed: StatsRecord) -> None:
    found = computed["disagreements"][KEY]
    table = _answers(aggregated)
    gold, text = table["gold"], table["8/text"]
    agreed = (table["e-r8-0"] == table["e-r8-1"]) & (table["e-r8-1"] == table["e-r8-2"])
    wire = table["e-r8-0"]
    expected = {
        "both": agreed & (wire == gold) & (text == gold),
        "only_method": agreed & (wire == gold) & (text != gold),
        "only_reference": agreed & (wire != gold) & (text == gold),
        "same_error": agreed & (wire != gold) & (text == wire),
        "neither": agreed & (wire != gold) & (text != gold) & (text != wire),
        "seeds_differ": ~agreed,
    }
    assert found["counts"] == {kind: int(rows.sum()) for kind, rows in expected.items()}
    assert sum(found["counts"].values()) == found["N"] == len(table)
    texts = pd.read_parquet(aggregated / "results/prepare/r8/examples.parquet").set_index("example_id")["text"]
    for kind in ("only_method", "only_reference"):
        if not expected[kind].any():
            assert found["samples"][kind] is None
            continue
        first = table[expected[kind]].iloc[0]
        assert found["samples"][kind] == {
            "example_id": first.name,
            "text": texts[first.name],
            "gold": first["gold"],
            "method": first["e-r8-0"],
            "reference": first["8/text"],
        }


def test_an_excerpt_ends_with_a_word_and_says_that_it_was_cut() -> None:
    assert excerpt("short") == "short"
    assert excerpt("x" * (LETTERS + 1)) == "x" * LETTERS + "…"
    long = excerpt("word " * LETTERS)
    assert long.endswith("word…")
    assert len(long) <= LETTERS + 1


@pytest.mark.parametrize("name", ["prompts.json", "task.json"])
def test_a_missing_file_of_prepare_is_named(repository: Path, name: str) -> None:
    (repository / "results/prepare/r8" / name).unlink()
    with pytest.raises(EvidenceError, match=rf"r8/{name} is missing, expected .*Next: `dvc repro prepare"):
        aggregate(repository)


def test_the_set_up_counts_what_was_trained(aggregated: Path, computed: StatsRecord) -> None:
    setup = computed["setup"]
    assert setup["methods"]["wire"]["resampler"] == {"parameters": 8 * 192 + 192 * 384, "model_width": 384}
    assert setup["methods"]["wire"]["adapters"]["gemma3"] == {"parameters": 577 * 192 + 1, "model_width": 577}
    prompts = json.loads((aggregated / "results/prepare/r8/prompts.json").read_text(encoding="utf-8"))
    assert setup["tasks"]["r8"]["prompts"] == prompts
    assert setup["tasks"]["r8"]["splits"] == {"train": 120, "validation": 0, "test": 120}
