"""Who a run is, what differs, and which code it runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from unbroken.errors import IdentityError, UnbrokenError
from unbroken.filesystem import FileSystem
from unbroken.run_folder.code_digest import code_digest
from unbroken.run_folder.identity import Identity, check_or_write_identity, open_run_folder

ONE = Identity({"train": {"lr": 0.001, "layers": [1, 2]}, "seed": 0})
TWO = Identity({"train": {"lr": 0.002, "layers": [1, 2], "new": None}, "seed": 0})


def test_equal_parts_have_one_digest_whatever_their_order() -> None:
    assert Identity({"seed": 0, "train": {"layers": [1, 2], "lr": 0.001}}) == ONE
    assert len(ONE.digest) == 64
    assert ONE.short == ONE.digest[:12]
    assert ONE != TWO


def test_difference_names_nested_keys() -> None:
    assert ONE.difference(TWO) == ["train.lr: 0.001 -> 0.002", "train.new: (absent) -> null"]
    assert ONE.difference(ONE) == []


def test_only_json_is_an_identity() -> None:
    with pytest.raises((TypeError, ValueError)):
        Identity({"lr": float("nan")})


def test_open_folder_says_why_an_old_state_is_not_used(tmp_path: Path) -> None:
    old = open_run_folder(tmp_path, "wire-0", ONE, pytest.fail)
    check_or_write_identity(old, ONE, FileSystem(), pytest.fail)
    (old / "precious").write_text("kept")
    open_run_folder(tmp_path, "wire-00", ONE, pytest.fail)
    reports: list[str] = []
    new = open_run_folder(tmp_path, "wire-0", TWO, reports.append)
    assert new == tmp_path / f"wire-0-{TWO.short}"
    assert new != old
    assert reports == [
        f"The state in {old} is not used for {new.name}, because train.lr: 0.001 -> 0.002; "
        f"train.new: (absent) -> null. It is kept; remove it with `rm -r {old}`."
    ]
    assert (old / "precious").exists()
    assert open_run_folder(tmp_path, "wire-0", TWO, lambda _: None) == new
    assert list(new.iterdir()) == [], "many processes are here, and only the one with the lock may write"


def test_a_folder_of_another_identity_is_refused(tmp_path: Path) -> None:
    check_or_write_identity(tmp_path, ONE, FileSystem(), pytest.fail)
    with pytest.raises(IdentityError, match=r"train\.lr: 0\.001 -> 0\.002.*Nothing was changed.*Next") as error:
        check_or_write_identity(tmp_path, TWO, FileSystem(), pytest.fail)
    assert error.value.exit_code == 2


def test_a_damaged_identity_file_is_written_anew(tmp_path: Path) -> None:
    (tmp_path / "identity.json").write_text("{")
    reports: list[str] = []
    check_or_write_identity(tmp_path, ONE, FileSystem(), reports.append)
    assert Identity.read(tmp_path / "identity.json") == ONE
    assert len(reports) == 1


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    files = {
        "alpha/__init__.py": "",
        "alpha/main.py": "import os\nfrom . import near\nfrom .deep.leaf import value\nimport beta.used\n",
        "alpha/near.py": "def later():\n    from alpha.lazy import thing\n",
        "alpha/lazy.py": "thing = 1\n",
        "alpha/unused.py": "raise RuntimeError('imported')\n",
        "alpha/deep/__init__.py": "from ..sibling import x\n",
        "alpha/deep/leaf.py": "raise RuntimeError('imported')\n",
        "alpha/sibling.py": "x = 1\n",
        "beta/__init__.py": "",
        "beta/used.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "alpha"


def test_code_digest_is_the_static_closure(package: Path) -> None:
    found = code_digest(["alpha.main"], ["alpha"])
    assert list(found) == [
        "alpha", "alpha.deep", "alpha.deep.leaf", "alpha.lazy", "alpha.main", "alpha.near", "alpha.sibling",
    ]  # fmt: skip
    assert "beta.used" in code_digest(["alpha.main"], ["alpha", "beta"])
    (package / "unused.py").write_text("changed")
    assert code_digest(["alpha.main"], ["alpha"]) == found
    (package / "lazy.py").write_text("thing = 2\n")
    assert code_digest(["alpha.main"], ["alpha"]) != found


@pytest.mark.usefixtures("package")
def test_code_digest_of_a_missing_module() -> None:
    with pytest.raises(UnbrokenError, match=r"Module alpha\.nothing was not found"):
        code_digest(["alpha.nothing"], ["alpha"])


def test_an_identity_whose_bit_has_flipped_is_not_one(tmp_path: Path) -> None:
    data = ONE.text()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        (tmp_path / "identity.json").write_bytes(damaged)
        assert Identity.read(tmp_path / "identity.json") is None
