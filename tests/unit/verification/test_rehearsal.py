"""The rehearsal on tiny models: its parameters are valid, and what goes wrong is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from latentwire.errors import LatentWireError
from latentwire.exits import exit_code_of
from latentwire.params.load import load_params
from latentwire.rehearsal import run as rehearsal
from latentwire.rehearsal.run import ITEM_NAME, STEPS, DifferenceError

ROOT = Path(__file__).parents[3]


def test_its_parameters_are_valid_and_tiny(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(rehearsal.tiny_params(values, tmp_path / "inputs")))
    tiny = load_params(tmp_path / "params.yaml")
    assert (tiny.train.steps, tiny.prepare.tasks, set(tiny.models)) == (STEPS, ("tiny",), {"sender", "llama"})


def test_a_difference_is_named_and_exits_with_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stage(folder: Path, stage: str, *arguments: str, **_: object) -> None:
        if stage == "train":
            results = folder / arguments[-1] / ITEM_NAME
            results.mkdir(parents=True, exist_ok=True)
            (results / "journal.jsonl").write_text("same")
            (results / "model.safetensors").write_text(arguments[-1])

    monkeypatch.setattr(rehearsal, "run_stage_process", stage)
    with pytest.raises(
        DifferenceError, match=r"from the undisturbed one in model\.safetensors\. Next: `latentwire prov"
    ):
        rehearsal.rehearse_stages(tmp_path)
    assert exit_code_of(lambda _: rehearsal.rehearse_stages(tmp_path)) == 3


@pytest.mark.long
def test_a_stage_that_fails_is_quoted(tmp_path: Path) -> None:
    with pytest.raises(
        LatentWireError, match=r"(?s)stage prepare ended with 2, expected 0. It printed:.*No params\.yaml"
    ):
        rehearsal.run_stage_process(tmp_path, "prepare")


@pytest.mark.slow
def test_it_passes_here(capsys: pytest.CaptureFixture[str]) -> None:
    rehearsal.main([str(ROOT / "params.yaml")])
    assert "every byte as in the undisturbed run" in capsys.readouterr().out
