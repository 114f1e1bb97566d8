"""Random mutations of checkpoint files: none is accepted, none ends in anything but this package's own error."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.journals import journal_part
from unbroken.checkpoint.state import capture_state
from unbroken.checkpoint.store import CHECKPOINT_FILES, CheckpointStore
from unbroken.errors import UnbrokenError
from unbroken.filesystem import FileSystem

IDENTITY = "a" * 64


class Memory(FileSystem):
    """A folder of files in memory, so that a mutation costs no disk."""

    def __init__(self, contents: dict[str, bytes]) -> None:
        self.contents = contents
        self._open: dict[int, tuple[bytes, list[int]]] = {}

    def open(self, path: Path) -> int:
        if path.name not in self.contents:
            raise FileNotFoundError(2, "No such file or directory", str(path))
        descriptor = 1000 + len(self._open)
        self._open[descriptor] = (self.contents[path.name], [0])
        return descriptor

    def names(self, _path: Path) -> list[str]:
        return sorted(self.contents)

    def read_at(self, descriptor: int, _path: Path, target: memoryview, offset: int) -> int:
        part = self._open[descriptor][0][offset : offset + len(target)]
        target[: len(part)] = part
        return len(part)

    def size(self, descriptor: int, _path: Path) -> int:
        return len(self._open[descriptor][0])

    def read_into(self, descriptor: int, _path: Path, target: memoryview) -> int:
        data, position = self._open[descriptor]
        part = data[position[0] : position[0] + len(target)]
        target[: len(part)] = part
        position[0] += len(part)
        return len(part)

    def close(self, descriptor: int, _path: Path) -> None:
        del self._open[descriptor]


@pytest.fixture
def stored(tmp_path: Path) -> dict[str, bytes]:
    store = CheckpointStore(tmp_path)
    model = torch.nn.Linear(3, 2, dtype=torch.bfloat16)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(3, dtype=torch.bfloat16)).sum().backward()
    optimizer.step()
    state = {"model": model, "optimizer": optimizer, "cursor": {"at": 3, "words": {"a", "b"}, "none": None}}
    history = b'{"step": 1}\n' * 5
    path = store.save(5, capture_state(state), IDENTITY, journal_part(tmp_path, history))
    (path / "journal.jsonl").write_bytes(history)  # then it stands alone, like an export
    return {name: (path / name).read_bytes() for name in CHECKPOINT_FILES}


def flip(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def remove(data: bytearray, chance: random.Random) -> None:
    begin = chance.randrange(len(data))
    del data[begin : begin + chance.randint(1, 9)]


def insert(data: bytearray, chance: random.Random) -> None:
    begin = chance.randrange(len(data) + 1)
    data[begin:begin] = chance.randbytes(chance.randint(1, 9))


def overwrite(data: bytearray, chance: random.Random) -> None:
    begin = chance.randrange(len(data))
    length = min(chance.randint(1, 64), len(data) - begin)
    data[begin : begin + length] = chance.choice([bytes(length), chance.randbytes(length)])


def move(data: bytearray, chance: random.Random) -> None:
    begin, target = chance.randrange(len(data)), chance.randrange(len(data))
    part = data[begin : begin + 16]
    data[target : target + len(part)] = part


MUTATIONS: list[Callable[[bytearray, random.Random], None]] = [flip, flip, cut, remove, insert, overwrite, move]


def mutated(original: dict[str, bytes], chance: random.Random) -> dict[str, bytes]:
    """One file, seldom two, changed once or more."""
    contents = dict(original)
    for name in chance.sample(CHECKPOINT_FILES, chance.choice([1, 1, 1, 2])):
        data = bytearray(contents[name])
        for _ in range(chance.choice([1, 1, 2, 5])):
            if data:
                chance.choice(MUTATIONS)(data, chance)
        contents[name] = bytes(data)
    return contents


@pytest.mark.parametrize("count", [3000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_no_mutation_is_accepted(count: int, stored: dict[str, bytes]) -> None:
    chance = random.Random(count)
    files = Memory(stored)
    store = CheckpointStore.__new__(CheckpointStore)  # without a folder: nothing but `load` is used
    store.folder, store._files = Path("memory"), files
    assert store.load(5, IDENTITY).step == 5
    refused = 0
    for _ in range(count):
        files.contents = mutated(stored, chance)
        if files.contents == stored:
            continue
        with pytest.raises(UnbrokenError):
            store.load(5, IDENTITY)
        refused += 1
    assert refused > 0.95 * count


def shuffled(value: object, chance: random.Random) -> object:
    """A JSON value with one leaf replaced by a hostile one."""
    if isinstance(value, dict) and value:
        key = chance.choice(sorted(value))
        return {**value, key: shuffled(value[key], chance)}
    if isinstance(value, list) and value:
        index = chance.randrange(len(value))
        return [*value[:index], shuffled(value[index], chance), *value[index + 1 :]]
    return chance.choice([None, True, -1, 10**30, 0.5, "", "rng/torch", [], {}, [[]], {"$": "tensor"}, "NaN"])


@pytest.mark.parametrize("count", [1000, pytest.param(20_000, marks=pytest.mark.slow)])
def test_a_forged_manifest_with_a_right_seal_ends_in_our_own_error(count: int, stored: dict[str, bytes]) -> None:
    """Not damage but malice: whoever can seal may lie, yet he gets no crash, no code run, and no other tensors."""
    chance = random.Random(count)
    files = Memory(stored)
    store = CheckpointStore.__new__(CheckpointStore)
    store.folder, store._files = Path("memory"), files
    honest = store.load(5, IDENTITY).snapshot.digests()
    for _ in range(count):
        fields = json.loads(stored["manifest.json"])
        del fields["seal"]
        body = json.dumps(shuffled(fields, chance), sort_keys=True, separators=(",", ":")).encode()[:-1]
        seal = b',"seal":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n'
        files.contents = {**stored, "manifest.json": body + seal}
        try:
            loaded = store.load(5, IDENTITY)
        except UnbrokenError:
            continue
        assert loaded.snapshot.digests() == honest
