"""What a save does not do twice: it takes the interpreter, and the disk, from the loop."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pytest
import torch

from unbroken.checkpoint import own_manifests
from unbroken.checkpoint.manifest import parse_manifest
from unbroken.checkpoint.state import Snapshot, capture_state
from unbroken.checkpoint.store import CheckpointStore
from unbroken.checkpoint.tensorfile import TensorLayout
from unbroken.filesystem import FileSystem

T = TypeVar("T")
IDENTITY = "a" * 64


class Counting(FileSystem):
    """Counts the calls for each name of a file."""

    def __init__(self) -> None:
        self.calls: Counter[tuple[str, str]] = Counter()
        self.order: list[tuple[str, str]] = []

    def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
        self.calls[name, path.name] += 1
        self.order.append((name, path.name))
        return action()


def many_tensors(count: int) -> Snapshot:
    """Tensors of 4 to 400 bytes, one of them large."""
    state: dict[str, Any] = {f"t{index}": torch.full((1 + index % 100,), float(index)) for index in range(count)}
    return capture_state({"state": {**state, "large": torch.arange(100_000), "t5/large": torch.arange(50_000.0)}})


def test_the_header_of_a_save_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    make = TensorLayout.header.func

    def count(layout: TensorLayout) -> bytes:
        made.append(1)
        return make(layout)

    header = cached_property(count)
    header.__set_name__(TensorLayout, "header")
    monkeypatch.setattr(TensorLayout, "header", header)
    CheckpointStore(tmp_path).save(1, many_tensors(9), IDENTITY)
    assert made == [1]


def test_small_tensors_share_a_call(tmp_path: Path) -> None:
    files, snapshot = Counting(), many_tensors(500)
    store = CheckpointStore(tmp_path, files=files)
    store.save(1, snapshot, IDENTITY)
    assert files.calls["write", "tensors.safetensors"] <= 8
    assert files.calls["read", "tensors.safetensors"] <= 4
    loaded = store.load(1, IDENTITY).snapshot.tensors
    assert loaded.keys() == snapshot.tensors.keys()
    assert all(torch.equal(loaded[name], tensor) for name, tensor in snapshot.tensors.items())


def test_both_files_are_written_before_the_first_is_synced(tmp_path: Path) -> None:
    """So one commit of the file system's journal holds them both."""
    files = Counting()
    CheckpointStore(tmp_path, files=files).save(1, many_tensors(9), IDENTITY, verify=False)
    calls = [call for call in files.order if call[0] in ("write", "fsync")]
    last_write = max(index for index, (name, _) in enumerate(calls) if name == "write")
    synced = ["tensors.safetensors", "manifest.json", ".tmp-step-00000001", tmp_path.name]
    assert calls[last_write + 1 :] == [("fsync", name) for name in synced]


def test_a_manifest_that_was_written_is_not_parsed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parsed: list[str] = []
    monkeypatch.setattr(own_manifests, "parse_manifest", lambda text, where: parsed.append(where))
    store = CheckpointStore(tmp_path, keep=2)
    for step in range(1, 8):
        store.save(step, many_tensors(2), IDENTITY)
    assert store.steps() == [6, 7]
    assert parsed == []


@pytest.mark.parametrize("change", ["pinned", "damaged", "of another run"])
def test_a_manifest_that_somebody_has_changed_is_noticed(change: str, tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=1)
    store.save(1, many_tensors(2), IDENTITY)
    path = store.path(1) / "manifest.json"
    manifest = parse_manifest(path.read_bytes(), "")
    texts = {
        "pinned": replace(manifest, pinned=True).text(),
        "damaged": manifest.text()[:-9],
        "of another run": replace(manifest, identity="b" * 64).text(),
    }
    path.write_bytes(texts[change])
    for step in (2, 3):
        store.save(step, many_tensors(2), IDENTITY)
    assert store.steps() == [1, 3]


def test_what_is_no_longer_there_is_forgotten(tmp_path: Path) -> None:
    """A run of weeks saves many thousand times."""
    store = CheckpointStore(tmp_path, keep=2)
    for step in range(1, 12):
        store.save(step, many_tensors(1), IDENTITY)
    assert len(store._manifests._known) <= 4
