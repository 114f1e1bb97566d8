"""The mistakes that must be impossible: each is refused with a sentence that names it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from latentwire.errors import ConfigurationError, EvidenceError
from latentwire.statistics.comparisons import StatsRecord
from latentwire.statistics.exact import count_discordant, sign_flip_p
from latentwire.statistics.multiplicity import adjust_p_values
from latentwire.statistics.scores import Scores, pair_scores
from latentwire.statistics.summary import round_floats
from latentwire.statistics.twoway import estimate_mean
from tests.support.synthetic_predictions import aggregate

WIRE = "results/evaluate/wire-r8-1/predictions.parquet"
TEXT = "results/baseline/rotten_tomatoes/text/predictions.parquet"


def _rewrite(root: Path, path: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    change(pd.read_parquet(root / path)).to_parquet(root / path, index=False)


def _refused(root: Path, *words: str) -> None:
    with pytest.raises(EvidenceError) as caught:
        aggregate(root)
    sentence = str(caught.value)
    for word in (*words, "expected", "Next: "):
        assert word in sentence
    assert not (root / "results/aggregate/stats.json").exists()


def test_a_missing_seed_is_no_smaller_sample(repository: Path) -> None:
    (repository / WIRE).unlink()
    _refused(repository, "1 of 40 files are missing", WIRE)


def test_a_missing_baseline_is_no_zero(repository: Path) -> None:
    (repository / TEXT).unlink()
    _refused(repository, TEXT)


def test_a_run_cannot_be_counted_twice(repository: Path) -> None:
    _rewrite(repository, WIRE, lambda frame: pd.concat([frame, frame.head(5)]))
    _refused(repository, WIRE, "5 rows twice", "wire")


def test_another_seeds_predictions_in_its_place(repository: Path) -> None:
    (repository / WIRE).write_bytes((repository / WIRE.replace("-1/", "-2/")).read_bytes())
    _refused(repository, WIRE, "seeds 2, expected 1")


def test_other_examples(repository: Path) -> None:
    def swap(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(example_id=frame["example_id"].replace(frame["example_id"].iloc[0], "f" * 16))

    _rewrite(repository, TEXT, swap)
    _refused(repository, TEXT, "120 examples", "1 are missing, 1 are not in it")


def test_fewer_examples(repository: Path) -> None:
    _rewrite(repository, TEXT, lambda frame: frame.drop(index=frame.index[3]))
    _refused(repository, TEXT, "119 examples", "expected the 120")


def test_a_prediction_edited_by_hand(repository: Path) -> None:
    def edit(frame: pd.DataFrame) -> pd.DataFrame:
        flipped = {"0": "1", "1": "0"}[frame["prediction"].iloc[7]]
        return frame.assign(prediction=[*frame["prediction"][:7], flipped, *frame["prediction"][8:]])

    example = str(pd.read_parquet(repository / TEXT)["example_id"].iloc[7])
    _rewrite(repository, TEXT, edit)
    _refused(repository, TEXT, example, "another label has the highest score")


def test_scores_that_are_not_numbers(repository: Path) -> None:
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        frame.at[3, "scores"] = np.array([np.nan, 0.0])
        return frame

    _rewrite(repository, TEXT, spoil)
    _refused(repository, TEXT, "1 rows without 2 scores that are numbers")


def test_no_prediction(repository: Path) -> None:
    _rewrite(repository, TEXT, lambda f: f.assign(prediction=[None, *f["prediction"][1:]]))
    _refused(repository, TEXT, "no prediction for example")


def test_a_prediction_that_is_no_label(repository: Path) -> None:
    _rewrite(repository, TEXT, lambda f: f.assign(prediction=["maybe", *f["prediction"][1:]]))
    _refused(repository, TEXT, "'maybe'")


def test_gold_labels_beside_predictions(repository: Path) -> None:
    _rewrite(repository, TEXT, lambda frame: frame.assign(gold="1"))
    _refused(repository, TEXT, "columns", "gold")


def test_a_receiver_is_missing(repository: Path) -> None:
    _rewrite(repository, WIRE, lambda frame: frame[frame["model"] != "gemma3"])
    _refused(repository, WIRE, "by smollm2, expected gemma3, smollm2")


def test_a_control_is_missing(repository: Path) -> None:
    _rewrite(repository, WIRE, lambda frame: frame[frame["method"] == "wire"])
    _refused(repository, WIRE, "methods wire, expected wire, wire-noise, wire-probe, wire-shuffled, wire-unseen-1")


def test_predictions_made_from_other_data(repository: Path) -> None:
    path = repository / WIRE.replace("predictions.parquet", "meta.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"data_digest": "0" * 64}))
    _refused(repository, WIRE, "data_digest", "0" * 64)


def test_predictions_that_do_not_say_what_was_seen(repository: Path) -> None:
    path = repository / WIRE.replace("predictions.parquet", "meta.json")
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "sees"}))
    _refused(repository, WIRE, "a meta.json without sees")


def test_predictions_of_other_weights(repository: Path) -> None:
    path = repository / "results/train/wire-r8-1/manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"state": "0" * 64}))
    _refused(repository, WIRE, "made with the weights", "those of results/train/wire-r8-1, 000000000000")


def test_a_run_without_its_manifest(repository: Path) -> None:
    (repository / "results/train/wire-r8-1/manifest.json").unlink()
    _refused(repository, "results/train/wire-r8-1/manifest.json is missing", "a finished run")


def test_costs_that_differ_by_seed(repository: Path) -> None:
    path = repository / WIRE.replace("predictions.parquet", "meta.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"bytes_per_example": 1.0}))
    _refused(repository, "bytes_per_example of wire on r8 is [1.0, 3072.0]")


def test_a_slice_of_one_class(repository: Path) -> None:
    def only(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(label="1")

    _rewrite(repository, "results/prepare/rotten_tomatoes/examples.parquet", only)
    _refused(repository, "rotten_tomatoes", "the classes ['1']", "at least two")


def test_an_example_twice_in_the_test_split(repository: Path) -> None:
    _rewrite(repository, "results/prepare/r8/examples.parquet", lambda frame: pd.concat([frame, frame.tail(1)]))
    _refused(repository, "is twice in the test split of r8")


def test_a_gold_label_edited_by_hand(repository: Path) -> None:
    def edit(frame: pd.DataFrame) -> pd.DataFrame:
        return frame.assign(label=[*frame["label"][:-1], {"0": "1", "1": "0"}[frame["label"].iloc[-1]]])

    _rewrite(repository, "results/prepare/rotten_tomatoes/examples.parquet", edit)
    _refused(repository, "rotten_tomatoes/examples.parquet", "changed after `prepare` wrote them")


def test_a_model_without_facts(repository: Path) -> None:
    path = repository / "results/prepare/models.json"
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != "gemma3"}))
    _refused(repository, "models.json lacks gemma3")


def test_an_unfinished_journal(repository: Path) -> None:
    path = repository / "results/train/wire-r8-0/journal.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    _refused(repository, "has 59 steps, expected 60")


@pytest.mark.long
def test_one_answer_more_moves_the_numbers(computed: StatsRecord, repository: Path) -> None:
    golds = pd.read_parquet(repository / "results/prepare/rotten_tomatoes/examples.parquet").set_index("example_id")

    def correct(frame: pd.DataFrame) -> pd.DataFrame:
        wrong = frame.index[frame["prediction"] != golds.loc[frame["example_id"], "label"].to_numpy()][0]
        frame.at[wrong, "prediction"] = {"0": "1", "1": "0"}[frame.at[wrong, "prediction"]]
        frame.at[wrong, "scores"] = frame.at[wrong, "scores"][::-1]
        return frame

    _rewrite(repository, TEXT, correct)
    after = aggregate(repository)
    key = "rotten_tomatoes/smollm2/text/accuracy"
    assert after["cells"][key]["value"] - computed["cells"][key]["value"] == pytest.approx(1 / 120)
    source = computed["cells"][key]["sources"][0]
    assert after["sources"][source]["sha256"] != computed["sources"][source]["sha256"]


def test_chance_must_be_measured(repository: Path) -> None:
    path = repository / "params.yaml"
    path.write_text(path.read_text().replace("  - majority\n", "", 1))
    with pytest.raises(ConfigurationError, match="expected majority among them"):
        aggregate(repository)


def test_scores_of_different_examples_are_not_paired() -> None:
    a = Scores("a", np.array([[1.0, 0.0]]), ("x", "y"), None)
    with pytest.raises(EvidenceError, match="1 only in a, 1 only in b"):
        pair_scores(a, Scores("b", a.values, ("x", "z"), None))
    with pytest.raises(EvidenceError, match="in another order"):
        pair_scores(a, Scores("b", a.values, ("y", "x"), None))


@pytest.mark.parametrize("values", [np.ones(6), np.ones((1, 1))])
def test_a_flat_vector_or_a_single_example_is_refused(values: np.ndarray) -> None:
    with pytest.raises(EvidenceError, match="expected at least 1 seed × 2 examples"):
        estimate_mean(values)


def test_a_seed_twice_and_scores_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(EvidenceError, match="seed 3 more than once"):
        Scores("a", np.ones((2, 2)), ("x", "y"), (3, 3))
    with pytest.raises(EvidenceError, match="1 scores that are not numbers"):
        Scores("a", np.array([[1.0, np.nan]]), ("x", "y"), None)
    with pytest.raises(EvidenceError, match="3 seeds × 2 examples"):
        Scores("a", np.ones((1, 2)), ("x", "y"), (0, 1, 2))


def test_mcnemar_does_not_pool_seeds() -> None:
    with pytest.raises(EvidenceError, match="expected one seed each"):
        count_discordant(np.ones((3, 50)), np.zeros((3, 50)))


def test_a_sign_test_over_three_values_is_refused() -> None:
    with pytest.raises(EvidenceError, match=r"over 3 examples, expected at least 6: .* 0\.25"):
        sign_flip_p(np.ones((1, 3)), 100, 0)


def test_a_correction_that_does_not_exist_is_not_claimed() -> None:
    with pytest.raises(ConfigurationError, match="'bonferoni' was asked for, expected one of holm, bh"):
        adjust_p_values({"x": 0.01}, "bonferoni")


def test_nothing_that_is_no_number_reaches_the_file() -> None:
    with pytest.raises(EvidenceError, match="came out as nan"):
        round_floats({"x": [1.0, float("nan")]})
