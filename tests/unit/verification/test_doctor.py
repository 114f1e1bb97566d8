"""The doctor: what is missing is said with the command that mends it."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from latentwire.doctor import checks as doctor
from latentwire.doctor.checks import Check, State
from latentwire.tracking.store import TrackingError, locate_store, open_experiment

ROOT = Path(__file__).parents[3]
LOCKED = "torch==2.13.0 \\\n    --hash=sha256:aa\nPyYAML==6.0.2 \\\n    --hash=sha256:bb\n# note==1.0\n"


def test_pins_of_a_lock_file() -> None:
    assert doctor.parse_pins(LOCKED) == {"torch": "2.13.0", "pyyaml": "6.0.2"}


def test_pins_for_other_machines_are_left_out() -> None:
    text = "a==1 ; platform_machine == 'no such' \\\n    --hash=sha256:aa\nb==2 ; sys_platform == 'linux' \\\n"
    assert doctor.parse_pins(text) == {"b": "2"}


@pytest.mark.parametrize(
    ("version", "state"), [("3.11.2", "ok"), ("3.13.0", "ok"), ("3.10.9", "missing"), ("3.14.0", "missing")]
)
def test_the_pythons_of_the_lock_file(
    version: str, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.python_version", lambda: version)
    check = doctor.examine_machine(tmp_path)[0]
    assert (check.name, check.state.value, check.found) == ("Python", state, version)
    assert check.advice == ("" if state == "ok" else "install Python 3.11, 3.12 or 3.13, then make setup")


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


def ask_mlflow(place: Path) -> Check:
    (found,) = [check for check in doctor.examine_machine(place) if check.name == "MLflow"]
    return found


def test_a_database_that_somebody_holds_is_not_called_broken(place: Path) -> None:
    (place / "mlflow.db").unlink()
    with closing(sqlite3.connect(place / "mlflow.db")) as holder:
        holder.execute("create table runs (x)")
        holder.commit()
        holder.execute("begin exclusive")
        found = ask_mlflow(place)
        holder.rollback()
    assert found.found == "mlflow.db cannot be read now (database is locked)"
    assert "mv" not in str(found.advice)
    assert ask_mlflow(place).state is State.OK


def test_a_database_with_damaged_pages_is_called_broken(place: Path) -> None:
    (place / "mlflow.db").unlink()
    with closing(sqlite3.connect(place / "mlflow.db")) as connection:
        connection.execute("create table runs (x)")
        connection.executemany("insert into runs values (?)", [["x" * 3000]] * 50)
        connection.commit()
    data = bytearray((place / "mlflow.db").read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    (place / "mlflow.db").write_bytes(data)
    assert "is not a whole database (database disk image is malformed)" in ask_mlflow(place).found


@pytest.mark.parametrize("uri", ["sqlite:", "sqlite:/x.db"])
def test_an_address_that_is_none_ends_nothing(uri: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert ask_mlflow(place).found == f"{uri} (not asked)"
    with pytest.raises(TrackingError, match=f"MLflow at {uri} failed"):
        open_experiment(locate_store(place), "x")


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


def find_check(root: Path, name: str) -> Check | None:
    return next((check for check in doctor.examine_machine(root) if check.name == name), None)


def test_a_shell_that_runs_nothing_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """DVC, called by hand, runs stages by SHELL: service accounts have nologin."""
    for shell in ("/bin/sh", ""):
        monkeypatch.setenv("SHELL", shell)
        assert find_check(place, "shell") is None
    for shell, why in {"/bin/false": "false failed: exit code 1", "/nowhere/fish": "no fish"}.items():
        monkeypatch.setenv("SHELL", shell)
        found = find_check(place, "shell")
        assert found is not None
        assert found.found == f"SHELL is {shell}, by which dvc runs stages ({why})"
        assert "export SHELL=/bin/sh" in found.advice


def test_a_program_that_fails_is_not_called_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def check(content: str, mode: int = 0o755) -> Check:
        (tmp_path / "sinfo").write_text(content)
        (tmp_path / "sinfo").chmod(mode)
        return doctor.check_program("SLURM", ("sinfo", "--version"), "install it")

    monkeypatch.setenv("PATH", str(tmp_path))
    assert doctor.check_program("SLURM", ("sinfo",), "install it") == Check(
        "SLURM", State.OPTIONAL, "no sinfo", "install it"
    )
    failed = check("#!/bin/sh\necho 'sinfo: error: a' >&2; echo 'sinfo: fatal: no controller' >&2; exit 1\n")
    assert (failed.found, failed.advice) == ("sinfo failed: fatal: no controller", "`sinfo --version` says more")
    assert check("\x7fELF of another machine").found == "sinfo cannot be started: Exec format error"
    assert check("", 0o644).found == "sinfo cannot be started: Permission denied"


def test_a_folder_without_git_is_one_in_which_dvc_does_not_run(place: Path) -> None:
    found = find_check(place, "git repository")
    assert found is not None
    assert found.state is State.MISSING
    assert "`git init` here" in found.advice


def test_a_dvc_that_fails_is_not_taken_for_one_without_remotes(place: Path) -> None:
    (place / ".dvc").mkdir()
    (place / ".dvc/config").write_text("[core\n")
    found = find_check(place, "DVC remote")
    assert found is not None
    assert found.state is State.MISSING
    assert found.found.startswith("DVC does not say: python")
