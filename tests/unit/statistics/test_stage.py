"""The stage `aggregate` in a repository, and what it leaves there."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from latentwire.exits import exit_code_of
from latentwire.stages import aggregate
from latentwire.statistics.comparisons import StatsRecord
from latentwire.statistics.write import signed_entries
from latentwire.tracking import publish
from tests.support import synthetic_predictions
from tests.support.synthetic_predictions import EASE, build, digest
from unbroken.checkpoint.tree import Encoder
from unbroken.run_folder.journal import encode_record, read_journal


def test_its_files(repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(repository)
    assert exit_code_of(aggregate.main, []) == 0
    assert "38 cells and 104 differences" in capsys.readouterr().out
    folder = repository / "results/aggregate"
    assert sorted(path.name for path in folder.iterdir()) == [
        "accuracy.csv",
        "curves.csv",
        "metrics.json",
        "stats.json",
    ]
    stats = json.loads((folder / "stats.json").read_text())
    shown = json.loads((folder / "metrics.json").read_text())
    for cell in stats["cells"].values():
        assert shown[cell["task"]][cell["model"]][cell["method"]][cell["metric"]] == cell["value"]
        assert cell["signature"].endswith("|v:1")
    assert list(pd.read_csv(folder / "accuracy.csv").columns[:4]) == ["cell", "task", "model", "method"]
    assert set(pd.read_csv(folder / "curves.csv")["seed"]) == {0, 1, 2}


@pytest.mark.long
def test_families_are_corrected_as_a_whole_and_verdicts_follow(computed: StatsRecord) -> None:
    assert {name: family["m"] for name, family in computed["families"].items()} == {
        "versus_chance": 28,
        "versus_baselines": 24,
        "versus_reference": 24,
        "ablations": 12,
        "average_versus_reference": 16,
        "unseen": 12,
        "controls": 8,
    }
    for name, family in computed["families"].items():
        records = [
            (computed["comparisons"] | computed["controls"] | computed["unseen"])[key] for key in family["members"]
        ]
        oracle = multipletests([record["p"] for record in records], method="holm")[1]
        assert [record["adjusted"]["p"] for record in records] == pytest.approx(oracle, rel=1e-8)
        for record in records:
            found = record["adjusted"]
            assert found["family"] == name
            assert f"adj:holm|m:{family['m']}|" in found["signature"]
            if name == "controls":
                assert (found["verdict"] == "leak") == (found["p"] < 0.05)
                continue
            if name == "unseen":
                assert (found["verdict"] == "above chance") == (found["p"] < 0.05)
                continue
            apart = not record["low"] <= 0 <= record["high"]
            undecided = "not after correction" if apart else "not different"
            assert (found["verdict"] == undecided) == (found["p"] >= 0.05 or not apart)
            if found["verdict"] != undecided:
                assert found["verdict"] == ("better" if record["value"] > 0 else "worse")


@pytest.fixture(scope="module")
def recorded(pristine: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[StatsRecord, StatsRecord]:
    """Facts of a run whose devices changed and whose journal says less of its slots; the statistics with it."""
    root = shutil.copytree(pristine, tmp_path_factory.mktemp("recorded") / "repository")
    path = root / "results/train/wire-r8-2/manifest.json"
    facts = json.loads(path.read_text())
    segments = [{"first": first, "on": gpu} for first, gpu in ((1, "one GPU"), (17, "another"), (40, "one GPU"))]
    facts["tree"]["numerics"] = Encoder().encode({"segments": segments}, "numerics")
    path.write_text(json.dumps(facts))
    journal = root / "results/train/wire-r8-2/journal.jsonl"
    entries = [{name: v for name, v in entry.items() if "slot" not in name} for entry in read_journal(journal)]
    journal.write_bytes(b"".join(encode_record(entry.pop("step"), entry) for entry in entries))
    return facts, synthetic_predictions.aggregate(root)


def test_runs_are_recorded_with_their_weights_and_what_changed_under_them(
    recorded: tuple[StatsRecord, StatsRecord],
) -> None:
    facts, stats = recorded
    runs = stats["runs"]
    assert {run["mode"] for run in runs.values()} == {"exact"}
    assert runs["r8/wire/2/training"]["numerics_changed"] == [17, 40]
    assert runs["r8/wire/1/training"]["numerics_changed"] == []
    assert runs["r8/wire/2/training"]["checkpoint"] == facts["state"]


def test_runs_are_recorded_with_how_far_the_slots_of_their_wires_differ(
    recorded: tuple[StatsRecord, StatsRecord],
) -> None:
    runs = recorded[1]["runs"]
    assert runs["r8/wire/1/training"]["slots"] == {"cosine": 0.37, "effective_rank": 6.0}
    assert runs["r8/wire/2/training"]["slots"] == {"effective_rank": 6.0}


def test_the_mode_of_training_is_that_of_the_parameters(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = repository / "params.yaml"
    path.write_text(path.read_text().replace("mode: exact", "mode: throughput"))
    monkeypatch.chdir(repository)
    aggregate.main([])
    runs = json.loads(Path("results/aggregate/stats.json").read_text())["runs"]
    assert {run["mode"] for run in runs.values()} == {"throughput"}


@pytest.mark.long
def test_the_numerics_of_training_are_those_of_the_parameters(
    computed: StatsRecord, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {run["numerics"] for run in computed["runs"].values()} == {"portable"}
    path = repository / "params.yaml"
    path.write_text(path.read_text().replace("numerics: portable", "numerics: native"))
    monkeypatch.chdir(repository)
    aggregate.main([])
    runs = json.loads(Path("results/aggregate/stats.json").read_text())["runs"]
    assert {run["numerics"] for run in runs.values()} == {"native"}


@pytest.mark.long
def test_blocks_name_the_best_and_what_ties_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe is the best by far; where the text is answered as it answers, the two tie."""
    monkeypatch.setitem(EASE, "probe", 2.0)
    build(tmp_path, count=120)
    monkeypatch.chdir(tmp_path)
    probe = pd.read_parquet("results/baseline/rotten_tomatoes/probe/predictions.parquet")
    text = pd.read_parquet("results/baseline/rotten_tomatoes/text/predictions.parquet")
    text.loc[text["model"] == "gemma3", ["prediction", "scores"]] = probe[["prediction", "scores"]].to_numpy()
    text.to_parquet("results/baseline/rotten_tomatoes/text/predictions.parquet", index=False)
    aggregate.main([])
    stats = json.loads(Path("results/aggregate/stats.json").read_text())
    for block in stats["blocks"]:
        values = {row["method"]: stats["cells"][row["cell"]]["value"] for row in block["rows"]}
        assert values[block["best"]] == max(v for name, v in values.items() if not name.startswith("wire-"))
        same = (block["task"], block["receiver"]) == ("rotten_tomatoes", "gemma3")
        assert {block["best"], *block["tied"]} == ({"text", "probe"} if same else {"probe"})


@pytest.mark.long
def test_ten_significant_digits_and_sorted_keys(aggregated: Path) -> None:
    text = (aggregated / "results/aggregate/stats.json").read_text()
    digits = [re.sub(r"e.*|[.-]", "", n).lstrip("0") for n in re.findall(r": (-?\d[\d.e-]*)", text)]
    assert max(map(len, digits)) == 10
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def test_a_refusal_is_exit_1_with_one_sentence(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    shutil.rmtree(repository / "results/evaluate/wire-r8-2")
    assert exit_code_of(aggregate.main, []) == 1
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "2 of 40 files are missing: results/evaluate/wire-r8-2/predictions.parquet" in error


def test_damage_in_a_journal_is_named(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    path = repository / "results/train/wire-r8-0/journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"step": 7,', b'"step": 9,', 1))
    assert exit_code_of(aggregate.main, []) == 1
    assert "Line 7 of results/train/wire-r8-0/journal.jsonl" in capsys.readouterr().err


@pytest.mark.long
def test_the_same_bytes_twice(aggregated: Path, repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    aggregate.main([])
    first, second = (
        {path.name: path.read_bytes() for path in (root / "results/aggregate").iterdir()}
        for root in (aggregated, repository)
    )
    assert first == second


@pytest.mark.long
def test_folders_outside_the_grid_change_nothing(
    aggregated: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(repository)
    before = (aggregated / "results/aggregate/stats.json").read_bytes()
    shutil.copytree(repository / "results/evaluate/wire-r8-0", repository / "results/evaluate/wire-r8-77")
    aggregate.main([])
    assert (repository / "results/aggregate/stats.json").read_bytes() == before


def test_a_number_can_be_computed_again_from_its_sources(aggregated: Path, computed: StatsRecord) -> None:
    """By hand, from the files that a cell names: mean over seeds and examples, and the digests beside it."""
    golds = pd.read_parquet(aggregated / "results/prepare/r8/examples.parquet").set_index("example_id")["label"]
    cell = computed["cells"]["r8/gemma3/wire/accuracy"]
    shares = []
    for path in cell["sources"]:
        rows = pd.read_parquet(aggregated / path).query("method == 'wire' and model == 'gemma3'")
        shares.append((rows["prediction"].to_numpy() == golds.loc[rows["example_id"]].to_numpy()).mean())
        assert computed["sources"][path]["checkpoint"] == digest(Path(path).parent.name)
    assert cell["value"] == pytest.approx(sum(shares) / 3, abs=1e-9)
    assert list(cell["per_seed"].values()) == pytest.approx(shares, abs=1e-9)


@pytest.mark.long
def test_every_number_that_is_published_has_a_signature_and_sources(computed: StatsRecord) -> None:
    signed = signed_entries(computed)
    for section in set(publish.NUMBERS) - {"ranks", "blocks"}:
        assert all("|v:1" in signed[key]["signature"] for key in computed[section])
    for block in computed["blocks"]:
        assert "|v:1" in signed[f"{block['task']}/{block['receiver']}/ranks"]["signature"]
    assert {key.removesuffix("ece") for key in computed["calibration"]} == {
        key.removesuffix(cell["metric"]) for key, cell in computed["cells"].items()
    }
    assert len(computed["cells"]) == 3 * len(computed["calibration"])
    assert all(entry["sources"] for entry in computed["calibration"].values())
