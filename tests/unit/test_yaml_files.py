"""One dialect of YAML for us and for DVC: what is computed with is what `dvc.lock` records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from dvc.utils.serialize import parse_yaml as parse_as_dvc

from latentwire.errors import ConfigurationError
from latentwire.params.load import load_params
from latentwire.yaml_files import parse_yaml, read_yaml

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("012345", 12345),
        ("010", 10),
        ("0o10", 8),
        ("1:30", "1:30"),
        ("no", "no"),
        ("on", "on"),
        ("1e-3", 0.001),
        ("1_000", 1000),
        ("~", None),
        (".inf", float("inf")),
        ("'07'", "07"),
    ],
)
def test_a_value_is_what_dvc_takes_it_for(written: str, value: Any) -> None:
    text = f"key: {written}\n"
    parsed = parse_yaml(text.encode(), "f")
    assert parsed == parse_as_dvc(text, "f")
    assert (parsed["key"], type(parsed["key"])) == (value, type(value))


@pytest.mark.parametrize("name", ["params.yaml", "dvc.yaml", "dvc.lock", "CITATION.cff"])
def test_our_own_files_read_alike(name: str) -> None:
    assert read_yaml(ROOT / name) == parse_as_dvc((ROOT / name).read_text(encoding="utf-8"), name)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"a: 1\nb: 2\na: 3\n", r"f is not YAML 1.2: line 3, column 1: found duplicate key"),
        (b"train:\n  lr: 1\n  lr: 2\n", r"line 3, column 3: found duplicate key"),
        (b"a: [1\n", r"f is not YAML 1.2: line \d"),
        (b"a: 1\nb: caf\xe9\n", r"f, line 2, is not UTF-8 .*Next: save the file as UTF-8"),
        (b"a: \x00\n", r"f is not YAML 1.2"),
        (b"a: " + b"[" * 5000 + b"]" * 5000, r"f is not YAML 1.2: maximum recursion depth"),
        (b"!!python/object/apply:os.system [true]", r"f is not YAML 1.2"),
        (b"a: !!bool maybe", r"f is not YAML 1.2: KeyError\('maybe'\)"),
        (b"a: !!int ''", r"f is not YAML 1.2: "),
        (b"a: !!int '-'", r"f is not YAML 1.2: "),
        (b"a: !!float ''", r"f is not YAML 1.2: "),
        (b"a: !!timestamp noon", r"f is not YAML 1.2: "),
    ],
)
def test_what_cannot_be_read_is_a_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        parse_yaml(data, "f")


def test_a_byte_order_mark_and_other_line_ends_change_nothing() -> None:
    assert parse_yaml("\ufeffa: é\r\nb: 2\r\n".encode(), "f") == {"a": "é", "b": 2}


def test_the_parameters_say_it_too(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    (tmp_path / "params.yaml").write_text(text + "train: {}\n", encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"found duplicate key .train"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_bytes(text.replace("Review", "Kritik für").encode("latin-1"))
    with pytest.raises(ConfigurationError, match=r"params.yaml, line \d+, is not UTF-8"):
        load_params(tmp_path / "params.yaml")
