"""The code that DVC recorded for a stage against the code that runs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from latentwire.errors import ConfigurationError
from latentwire.result_code import FOLDER, STAGES, check_recorded_code, result_code, result_code_text

pytestmark = pytest.mark.long


@pytest.mark.parametrize("stage", STAGES)
def test_the_recorded_code_of_a_stage_is_checked_where_there_is_one(stage: str, tmp_path: Path) -> None:
    check_recorded_code(stage, tmp_path)
    recorded = tmp_path / FOLDER / f"{stage}.json"
    recorded.parent.mkdir(parents=True)
    recorded.write_bytes(result_code_text(stage))
    check_recorded_code(stage, tmp_path)
    recorded.write_text(json.dumps({**result_code(stage), "latentwire.training.gone": "0" * 64}, indent=1))
    with pytest.raises(
        ConfigurationError, match=rf"{stage}\.json is not of the code that runs here.*Next: `dvc repro code`"
    ):
        check_recorded_code(stage, tmp_path)
