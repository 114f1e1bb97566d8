"""What packages hold is converted once, and the cache is whole, verified and shared."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from safetensors.torch import load_file

from latentwire.assets import Assets
from latentwire.digests import sha256_of
from latentwire.errors import ConfigurationError
from latentwire.models import gguf
from latentwire.models.loading import load_model
from latentwire.models.sources import materialise_model
from latentwire.models.weights import tensors_digest
from latentwire.params.sources import LocalModel, PackagedModel
from latentwire.rehearsal.tiny import tiny_encoder_model
from tests.support.tiny_files import tiny_gguf, tiny_wheel


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def packaged(tmp_path: Path) -> tuple[PackagedModel, Assets]:
    """A GGUF file that two wheels hold in two parts."""
    sha256 = tiny_gguf(tmp_path / "whole.gguf")
    data = (tmp_path / "whole.gguf").read_bytes()
    lines = [
        tiny_wheel(tmp_path / "assets", f"tiny-part{i}", "1.0", {f"tiny_part{i}/data/tiny.gguf.part0{i}": part})
        for i, part in enumerate((data[:1000], data[1000:]))
    ]
    (tmp_path / "assets.lock").write_text("\n".join(lines))
    spec = PackagedModel(package=("tiny-part0", "tiny-part1"), path="tiny.gguf", sha256=sha256)
    return spec, Assets(tmp_path / "assets", tmp_path / "assets.lock")


@pytest.fixture
def conversions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that were really converted."""
    done: list[str] = []
    real = gguf.convert_gguf

    def convert(name: str, source: Path, folder: Path) -> str | None:
        done.append(name)
        return real(name, source, folder)

    monkeypatch.setattr(gguf, "convert_gguf", convert)
    return done


def test_a_file_is_read_once_and_its_slices_are_plain_arrays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A vocabulary is millions of slices, and `transformers` alone makes three readers of a file."""
    tiny_gguf(tmp_path / "whole.gguf")
    library, readers = gguf.gguf.GGUFReader, []
    honest = library._build_fields

    def recorded(self: Any, *given: Any) -> int:
        readers.append(type(self.data))
        return honest(self, *given)

    monkeypatch.setattr(library, "_build_fields", recorded)
    (tmp_path / "converted").mkdir()
    gguf.convert_gguf("tiny", tmp_path / "whole.gguf", tmp_path / "converted")
    assert readers == [np.ndarray]
    assert gguf.gguf.GGUFReader is library


def test_parts_in_packages_and_a_local_file_become_the_same_model(
    packaged: tuple[PackagedModel, Assets], tmp_path: Path, cache: Path
) -> None:
    spec, assets = packaged
    from_parts = load_model("tiny", spec, cache_dir=cache, assets=assets)
    from_file = load_model("tiny", LocalModel(local=str(tmp_path / "whole.gguf")), cache_dir=tmp_path / "other")
    assert from_parts.digest == from_file.digest
    assert from_parts.family == "llama"
    assert from_parts.tokenizer("ab").input_ids == [8]
    source = materialise_model("tiny", spec, cache=cache, assets=assets)
    assert source.license == "mit"
    assert {t.dtype for t in load_file(source.folder / "model.safetensors").values()} == {torch.bfloat16}


def test_a_conversion_is_done_once_and_then_needs_no_wheel(
    packaged: tuple[PackagedModel, Assets], cache: Path, conversions: list[str]
) -> None:
    spec, assets = packaged
    first = load_model("tiny", spec, cache_dir=cache, assets=assets)
    shutil.rmtree(assets.folder)
    assert load_model("tiny", spec, cache_dir=cache, assets=assets).digest == first.digest
    assert conversions == ["tiny"]


def test_a_killed_conversion_leaves_nothing_that_is_used(
    packaged: tuple[PackagedModel, Assets], cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, assets = packaged
    whole = materialise_model("tiny", spec, cache=cache, assets=assets)
    # What SIGKILL leaves: a folder under its temporary name, with files that are cut off.
    partial = whole.folder.rename(whole.folder.with_name(whole.folder.name + ".partial"))
    (partial / "model.safetensors").write_bytes(b"cut")
    (partial / "stray").write_bytes(b"")
    again = materialise_model("tiny", spec, cache=cache, assets=assets, verify=True)
    assert again == whole
    assert not (again.folder / "stray").exists()
    assert not partial.exists()


def test_a_failed_conversion_leaves_no_folder(packaged: tuple[PackagedModel, Assets], cache: Path) -> None:
    spec, assets = packaged
    other = spec.model_copy(update={"sha256": "0" * 64})
    sentence = (
        rf"weights of model tiny have SHA-256 {spec.sha256}; models.tiny.sha256 .* pins 0{{64}}. Next: get the pinned"
    )
    with pytest.raises(ConfigurationError, match=sentence):
        materialise_model("tiny", other, cache=cache, assets=assets)
    assert [path.suffix for path in cache.iterdir()] == [".lock"]


def test_who_finds_a_conversion_under_way_waits_for_it(
    packaged: tuple[PackagedModel, Assets], cache: Path, conversions: list[str]
) -> None:
    spec, assets = packaged
    whole = materialise_model("tiny", spec, cache=cache, assets=assets)
    hidden = whole.folder.rename(cache / "hidden")
    with ThreadPoolExecutor(1) as pool:
        with FileLock(f"{whole.folder}.lock"):
            waiting = pool.submit(materialise_model, "tiny", spec, cache=cache, assets=assets)
            time.sleep(0.2)
            assert not waiting.done()
            hidden.rename(whole.folder)
        assert waiting.result(timeout=20) == whole
    assert conversions == ["tiny"]


@pytest.mark.parametrize(
    ("name", "damage", "verify", "said"),
    [
        ("model.safetensors", lambda data: data[:-1], False, "does not have [0-9]+ bytes"),
        ("model.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1]), True, "does not have SHA-256"),
        ("tokenizer.json", lambda data: data.replace(b"ab", b"ba"), False, "does not have SHA-256"),
        ("config.json", None, False, "is missing"),
        ("latentwire.json", lambda data: data[:10], False, "unreadable"),
    ],
)
def test_a_damaged_cache_is_refused_with_the_command_that_mends_it(
    packaged: tuple[PackagedModel, Assets],
    cache: Path,
    name: str,
    damage: Callable[[bytes], bytes] | None,
    verify: bool,
    said: str,
) -> None:
    spec, assets = packaged
    folder = materialise_model("tiny", spec, cache=cache, assets=assets).folder
    path = folder / name
    if damage is None:
        path.unlink()
    else:
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ConfigurationError, match=rf"{name} .*{said}.*Next: `rm -r {folder}`"):
        materialise_model("tiny", spec, cache=cache, assets=assets, verify=verify)


def test_a_packaged_folder_is_unpacked(tmp_path: Path, cache: Path) -> None:
    tiny_encoder_model(tmp_path / "m")
    (tmp_path / "m/README.md").write_text("---\ntags: [a]\nlicense: apache-2.0\n---\n# A card\n")
    files = {f"pack/model/{path.name}": path.read_bytes() for path in (tmp_path / "m").iterdir()}
    line = tiny_wheel(tmp_path / "assets", "pack", "1.0", {**files, "pack/model/sub/x.json": b"", "pack/code.py": b""})
    (tmp_path / "assets.lock").write_text(line)
    spec = PackagedModel(package=("pack",), path="pack/model", sha256=sha256_of(tmp_path / "m/model.safetensors"))
    assets = Assets(tmp_path / "assets", tmp_path / "assets.lock")
    source = materialise_model("m", spec, cache=cache, assets=assets)
    assert {p.name for p in source.folder.iterdir()} == {p.name for p in (tmp_path / "m").iterdir()} | {
        "latentwire.json"
    }
    assert source.license == "apache-2.0"
    assert source.digest == tensors_digest(tmp_path / "m")
    with pytest.raises(ConfigurationError, match=r"models.m.sha256 in params.yaml pins 0{64}"):
        materialise_model("m", spec.model_copy(update={"sha256": "0" * 64}), cache=cache, assets=assets)


@pytest.mark.parametrize("data", [b"junk", b"cut"])
def test_a_file_that_is_no_whole_gguf_is_said(tmp_path: Path, cache: Path, data: bytes) -> None:
    path = tmp_path / "m.gguf"
    tiny_gguf(path)
    path.write_bytes(path.read_bytes()[:600] if data == b"cut" else data)
    with pytest.raises(ConfigurationError, match=r"Model m: m.gguf cannot be converted: .*Expected a whole GGUF file"):
        load_model("m", LocalModel(local=str(path)), cache_dir=cache)
