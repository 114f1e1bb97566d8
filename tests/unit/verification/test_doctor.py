"""The doctor: what is missing is said with the command that mends it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from latentwire.doctor import checks as doctor
from latentwire.doctor.checks import Check, State

ROOT = Path(__file__).parents[3]
LOCKED = "torch==2.13.0 \\\n    --hash=sha256:aa\nPyYAML==6.0.2 \\\n    --hash=sha256:bb\n# note==1.0\n"


def test_pins_of_a_lock_file() -> None:
    assert doctor.parse_pins(LOCKED) == {"torch": "2.13.0", "pyyaml": "6.0.2"}


def test_other_versions_are_named_and_builds_are_not() -> None:
    installed = {"torch": "2.13.0+cpu", "pyyaml": "5.4"}
    assert doctor.find_unlike_pins(doctor.parse_pins(LOCKED), installed.get) == ["pyyaml 5.4 (locked 6.0.2)"]
    assert doctor.find_unlike_pins({"absent": "1"}, installed.get) == ["absent absent (locked 1)"]


def test_only_what_is_needed_fails() -> None:
    fine = [Check("a", State.OK, ""), Check("b", State.OPTIONAL, "", "install b")]
    assert doctor.doctor_exit_code(fine) == 0
    assert doctor.doctor_exit_code([*fine, Check("c", State.MISSING, "")]) == 1


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository without models, data and DVC."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    for name in ("params.yaml", "assets.lock"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "requirements.lock").write_text("pyyaml==0.0.1\n")
    (tmp_path / "mlflow.db").write_bytes(b"this is no database" * 100)
    return tmp_path


def test_what_is_missing_is_said_with_what_to_do(place: Path) -> None:
    checks = {check.name: check for check in doctor.examine_machine(place)}
    assert checks["models and data"].state is State.MISSING
    assert checks["models and data"].advice == "make assets"
    assert checks["packages"].advice == "make environment"
    assert "(locked 0.0.1)" in checks["packages"].found
    assert checks["MLflow"].state is State.MISSING
    assert "not a whole database" in checks["MLflow"].found
    assert checks["DVC repository"].state is State.MISSING
    assert checks["Python"].state is State.OK


def test_wrong_parameters_are_quoted(place: Path) -> None:
    (place / "params.yaml").write_text("trian: 3\n")
    (broken,) = [check for check in doctor.examine_machine(place) if check.name == "params.yaml"]
    assert "did you mean `train`?" in broken.found


def test_the_answer_for_programs_and_for_people(place: Path) -> None:
    checks = doctor.examine_machine(place)
    parsed = json.loads(json.dumps(doctor.checks_as_json(checks)))
    assert {"name", "state", "found", "advice"} == set(parsed[0])
    assert any(line.startswith("missing   models and data: ") for line in doctor.format_checks(checks))
    assert doctor.checks_table(checks).row_count == len(checks)
