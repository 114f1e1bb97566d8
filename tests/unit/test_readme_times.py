"""README says what the published stages took, from what they left where they ran."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from latentwire.stage_times import (
    PUBLISHED,
    PublishedTimes,
    StageTime,
    keep_stage_time,
    read_published_times,
    write_published_times,
)
from tools import readme

ROOT = Path(__file__).parents[2]
STAGES = {
    "prepare": StageTime(60.0, 66.0),
    "train@a": StageTime(120.0, 240.0),
    "train_ablation@b": StageTime(30.0, 60.0),
}


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    (tmp_path / "dvc.lock").write_text(json.dumps({"schema": "2.0", "stages": dict.fromkeys(STAGES)}))
    monkeypatch.setattr(readme, "probe_seconds", lambda _: 0.25)
    monkeypatch.setattr(readme, "usable_cores", lambda: 2)
    return tmp_path


def test_what_all_stages_took_here_is_published(repository: Path) -> None:
    for stage, took in STAGES.items():
        keep_stage_time(repository, stage, took)
    keep_stage_time(repository, "of-another-pipeline", StageTime(1.0, 1.0))
    readme.publish_times(repository)
    assert read_published_times(repository) == PublishedTimes(2, 0.25, STAGES)


def test_where_a_stage_did_not_run_what_is_published_stays(repository: Path) -> None:
    write_published_times(repository, PublishedTimes(64, 0.1, STAGES))
    before = (repository / PUBLISHED).read_bytes()
    keep_stage_time(repository, "prepare", StageTime(1.0, 1.0))
    readme.publish_times(repository)
    assert (repository / PUBLISHED).read_bytes() == before


def test_the_kinds_of_stages_stand_in_the_order_of_their_cost() -> None:
    lines = readme.times_markdown(PublishedTimes(2, 0.25, STAGES)).splitlines()
    assert lines[2:] == [
        "| train | 2 | 2.5 | 5.0 |",
        "| prepare | 1 | 1.0 | 1.1 |",
        "| all, on 2 cores | 3 | 3.5 | 6.1 |",
    ]


def test_without_published_times_it_says_what_comes_first(repository: Path) -> None:
    with pytest.raises(SystemExit, match=r"No reports/stage-times\.json\. Next: `make repro`"):
        readme.write_pages(repository)


def test_a_page_that_is_gone_is_named_and_no_other_is_written(repository: Path) -> None:
    write_published_times(repository, PublishedTimes(2, 0.25, STAGES))
    shutil.copytree(ROOT / "results/aggregate", repository / "results/aggregate")
    text = "".join(f"{readme.BEGINNINGS[name]}<!-- end of the {name} -->\n" for name in readme.PAGES["README.md"])
    (repository / "README.md").write_text(text)
    with pytest.raises(SystemExit, match=r"No docs/results\.md, the place of the main table"):
        readme.write_pages(repository)
    assert (repository / "README.md").read_text() == text
