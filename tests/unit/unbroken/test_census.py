"""A census sees numbers wherever a program may hold them, and two of them tell what has been lost."""

from __future__ import annotations

import array
import asyncio
import collections
import contextvars
import ctypes
import dataclasses
import functools
import gc
import io
import itertools
import mmap
import queue
import random
import sys
import threading
import types
import weakref
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from tests.support.forks import list_strangers
from unbroken.prove.beside import LostObject, find_lost_objects
from unbroken.prove.census import Census, take_census
from unbroken.prove.members import list_members
from unbroken.prove.roots import find_namespaces

Case = tuple[Callable[[], Any], Callable[[Any], object]]


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A census walks through no other test."""
    for name in list_strangers():
        if name != __name__:
            monkeypatch.delitem(sys.modules, name)
    gc.freeze()
    yield
    gc.unfreeze()


def take_census_with(held: Any) -> Census:
    """A census to which this object comes first, so that nothing else gives names to what is in it."""
    return take_census({"held": held}, [])


def digests(held: Any) -> dict[str, str]:
    entries = take_census_with(held).entries
    return {path: entry[-1] for path, entry in entries.items() if path.startswith("held")}


def find_lost(make: Callable[[], tuple[Any, Any]]) -> list[LostObject]:
    """What is named when a program ends with the second object where it ended with the first if undisturbed."""
    ends = [{"step": 9, "begun": 5, "final": True, **asdict(take_census_with(make()[place]))} for place in (0, 1)]
    return [each for each in find_lost_objects(ends[:1], ends[1:]) if each.has_failed]


class Pair(NamedTuple):
    mean: torch.Tensor
    count: int


@dataclasses.dataclass(slots=True)
class Slots:
    mean: torch.Tensor


class Sums(list[int]):
    """A list with something of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = torch.zeros(2)


class Key:
    """Of a weak dictionary."""


VARIABLE: contextvars.ContextVar[torch.Tensor] = contextvars.ContextVar("VARIABLE")
KEYS = [Key()]


def set_variable() -> contextvars.ContextVar[torch.Tensor]:
    VARIABLE.set(torch.zeros(2))
    return VARIABLE


def make_local() -> threading.local:
    local = threading.local()
    local.mean = torch.zeros(2)
    return local


def fill_queue() -> queue.Queue[torch.Tensor]:
    filled: queue.Queue[torch.Tensor] = queue.Queue()
    filled.put(torch.zeros(2))
    return filled


async def collect() -> None:
    mean = torch.zeros(2)
    while True:
        await asyncio.sleep(0)
        mean += 1


def begin_coroutine() -> Any:
    coroutine = collect()
    coroutine.send(None)
    return coroutine


@functools.lru_cache(maxsize=4)
def remember(_name: str, *, size: int) -> torch.Tensor:
    return torch.zeros(size)


@functools.cache
def remember_all(_name: str) -> torch.Tensor:
    return torch.zeros(2)


def fill_memo(memo: Any, **options: int) -> Any:
    memo.cache_clear()
    memo("x", **options)
    return memo


def make_parameter() -> torch.nn.Parameter:
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.average = torch.zeros(2)  # type: ignore[attr-defined]
    return parameter


def make_mapped(mode: str) -> mmap.mmap:
    return mmap.mmap(-1, 16, access=getattr(mmap, mode))


def add(tensor: torch.Tensor) -> object:
    return tensor.add_(1)


def store(buffer: Any) -> None:
    buffer[0] = 1


CASES: dict[str, Case] = {
    "array": (lambda: array.array("d", [0.0]), store),
    "bytearray": (lambda: bytearray(16), store),
    "memoryview": (lambda: memoryview(bytearray(16)), store),
    "mmap": (lambda: make_mapped("ACCESS_WRITE"), store),
    "ctypes": (lambda: (ctypes.c_double * 3)(), store),
    "io.BytesIO": (io.BytesIO, lambda file: file.write(b"x")),
    "storage": (lambda: torch.zeros(2).untyped_storage(), store),
    "structured array": (lambda: np.zeros(2, np.dtype([("x", "f8"), ("n", "i4")])), lambda held: store(held["x"])),
    "array of objects": (lambda: np.array([np.zeros(2), None], object), lambda held: store(held[0])),
    "array of dates": (lambda: np.zeros(2, "datetime64[s]"), lambda held: held.__setitem__(0, np.datetime64(5, "s"))),
    "mask": (lambda: np.ma.masked_array([1.0, 2.0], [False, False]), lambda held: store(np.ma.getmaskarray(held))),
    "sparse": (lambda: torch.eye(2).to_sparse(), lambda held: add(held.values())),
    "sparse rows": (lambda: torch.eye(2).to_sparse_csr(), lambda held: add(held.values())),
    "nested": (lambda: torch.nested.nested_tensor([torch.zeros(1)]), lambda held: add(held.unbind()[0])),
    "attribute of a parameter": (make_parameter, lambda held: add(held.average)),
    "attribute of a list": (Sums, lambda held: add(held.sum)),
    "context variable": (set_variable, lambda held: add(held.get())),
    "context": (lambda: (set_variable(), contextvars.copy_context())[1], lambda held: add(held[VARIABLE])),
    "thread-local": (make_local, lambda held: add(held.mean)),
    "weak keys": (lambda: weakref.WeakKeyDictionary({KEYS[0]: torch.zeros(2)}), lambda held: add(held[KEYS[0]])),
    "slots": (lambda: Slots(torch.zeros(2)), lambda held: add(held.mean)),
    "named tuple": (lambda: Pair(torch.zeros(2), 0), lambda held: add(held.mean)),
    "UserDict": (lambda: collections.UserDict(x=torch.zeros(2)), lambda held: add(held["x"])),
    "UserList": (lambda: collections.UserList([torch.zeros(2)]), lambda held: add(held[0])),
    "ChainMap": (lambda: collections.ChainMap({"x": torch.zeros(2)}), lambda held: add(held["x"])),
    "read-only view": (lambda: types.MappingProxyType({"x": torch.zeros(2)}), lambda held: add(held["x"])),
    "set": (lambda: {torch.zeros(2), torch.ones(2)}, lambda held: add(next(iter(held)))),
    "queue": (fill_queue, lambda held: add(held.queue[0])),
    "iterator": (lambda: itertools.repeat(torch.zeros(2)), lambda held: add(next(held))),
    "coroutine": (begin_coroutine, lambda held: held.send(None)),
    "cached result": (lambda: fill_memo(remember, size=2), lambda held: add(held("x", size=2))),
    "result that is kept for ever": (lambda: fill_memo(remember_all), lambda held: add(held("x"))),
    "random": (lambda: random.Random(3), lambda held: held.random()),
}


@pytest.mark.filterwarnings("ignore:.*(beta|prototype):UserWarning")
def test_a_census_of_what_no_case_changes_is_steady() -> None:
    held = [make() for make, _ in CASES.values()]
    assert digests(held) == digests(held)


@pytest.mark.filterwarnings("ignore:.*(beta|prototype):UserWarning")
@pytest.mark.parametrize("case", CASES)
def test_numbers_are_seen_wherever_they_are(case: str) -> None:
    make, change = CASES[case]
    held = make()
    before = digests(held)
    change(held)
    after = digests(held)
    assert before.keys() == after.keys(), case
    assert before != after


def test_numbers_in_a_file_that_is_mapped_are_seen_if_they_can_change(tmp_path: Path) -> None:
    made = np.memmap(tmp_path / "x", mode="w+", dtype=np.float64, shape=(2,))
    before = digests(made)
    made += 1
    assert before != digests(made)
    assert digests(np.memmap(tmp_path / "x", mode="r", dtype=np.float64)) == {}


def test_objects_are_found_behind_weak_references() -> None:
    target = torch.zeros(2)
    for holder in (weakref.ref(target), next(iter(weakref.WeakValueDictionary({"x": target}).valuerefs()))):
        members = list_members(holder)
        assert members is not None
        assert members[0][1] is target
    gone = weakref.ref(Key())
    assert list_members(gone) == []


def test_a_table_of_pandas_is_seen() -> None:
    pandas = pytest.importorskip("pandas")
    first, second = (pandas.DataFrame({"x": [1.0, number]}) for number in (2.0, 3.0))
    assert digests(first) != digests(second)


def test_addresses_are_no_names() -> None:
    class Plain:
        pass

    one, other = ({id(key): torch.zeros(2)} for key in (Plain(), [Plain()]))
    assert digests(one) == digests(other)


class Attributes:
    """Whoever reads what it lacks is told so."""

    def __init__(self, **values: torch.Tensor) -> None:
        vars(self).update(values)


X, Y = torch.zeros(2), torch.ones(2)
LOST: dict[str, Callable[[], tuple[Any, Any]]] = {
    "key": lambda: ({"weights": [X], "error": 1.0}, {"error": 1.0}),
    "all keys": lambda: ({"weights": [X]}, {}),
    "other key": lambda: ({"step 3": [X]}, {"step 9": [X]}),
    "deep key": lambda: ([{"best": {"weights": X.clone()}, "x": 1}], [{"best": {}, "x": 1}]),
    "entries": lambda: ([X.clone(), Y.clone()], [Y.clone()]),
    "tuple": lambda: ((X.clone(), Y.clone()), (Y.clone(),)),
    "one more": lambda: ([X.clone()], [X.clone(), Y.clone()]),
    "not consumed": lambda: ([], [X.clone()]),
    "set": lambda: ({X.clone(), Y.clone()}, {X.clone()}),
    "deque": lambda: (collections.deque([X.clone(), Y.clone()]), collections.deque([Y.clone()])),
    "namespace": lambda: (types.SimpleNamespace(best=X.clone()), types.SimpleNamespace()),
    "placeholder": lambda: (X.clone(), float("nan")),
    "false": lambda: ([X.clone(), False], [False, False]),
    "single number": lambda: ({"loss": X[0].clone(), "x": 1}, {"x": 1}),
    "rows": lambda: ([Pair(X.clone(), 1), Pair(Y.clone(), 2)], [Pair(Y.clone(), 2)]),
}
KEPT: dict[str, Callable[[], tuple[Any, Any]]] = {
    "single numbers in a list": lambda: ([X[0].clone(), Y[0].clone()], [Y[0].clone()]),
    "numbers of Python": lambda: ([1.0, 2.0], [2.0]),
    "texts": lambda: ({"a": "b", "c": "d"}, {"a": "b"}),
    "order of keys": lambda: ({"a": X.clone(), "b": Y.clone()}, {"b": Y.clone(), "a": X.clone()}),
    "attribute": lambda: (Attributes(best=X.clone()), Attributes()),
}


@pytest.mark.parametrize("case", LOST)
def test_an_entry_that_is_lost_is_named(case: str) -> None:
    (lost,) = find_lost(LOST[case])
    assert lost.path.startswith("held")
    assert lost.matches("held")


@pytest.mark.parametrize("case", KEPT)
def test_what_no_resume_needs_is_not_named(case: str) -> None:
    assert find_lost(KEPT[case]) == []


def test_a_container_whose_content_has_a_name_of_its_own_is_compared() -> None:
    def make() -> tuple[Any, Any]:
        weights = {"bias": X.clone()}
        return {"weights": weights, "best": {"weights": weights, "error": 1.0}}, {
            "weights": weights,
            "best": {"error": 1.0},
        }

    assert [each.path for each in find_lost(make)] == ["held['best']"]


def test_keys_that_differ_between_two_starts_are_left_out() -> None:
    def line(step: int, begun: int, name: str) -> dict[str, Any]:
        held = {name: X.clone()}
        return {"step": step, "begun": begun, "final": step == 9, **asdict(take_census_with(held))}

    reference = [line(1, 0, "pid 1"), line(9, 0, "pid 1")]
    assert find_lost_objects(reference, [line(1, 0, "pid 2"), line(9, 5, "pid 3")]) == []
    assert find_lost_objects(reference, [line(1, 0, "pid 1"), line(9, 5, "pid 3")]) != []


def test_the_variables_of_an_xdist_worker_are_not_the_programs() -> None:
    """They lead to every test of the session, and a census of each took seconds."""
    worker: dict[str, Any] = {"__name__": "__channelexec__"}
    exec("def work(look):\n    session = [1]\n    return look()", worker)
    prefixes = worker["work"](lambda: [prefix for prefix, _ in find_namespaces()])
    assert "work." not in prefixes
    assert f"{test_the_variables_of_an_xdist_worker_are_not_the_programs.__name__}." in prefixes


def test_of_what_torch_makes_of_a_module_the_values_count_and_not_its_notes() -> None:
    """What torch.compile notes in a start depends on when it was asked, and nobody could do anything about it."""

    def make(notes: int, weight: float) -> Any:
        made = torch.fx.symbolic_trace(torch.nn.Sequential(torch.nn.Linear(2, 1, bias=False), torch.nn.ReLU()))
        torch.nn.init.constant_(made.get_parameter("0.weight"), weight)
        made.meta.update({f"note {number}": [np.ones(number)] for number in range(notes)})
        made.register_buffer("mask", torch.ones(2))
        made._tensor_constant0 = torch.full((3,), weight)
        return made

    assert sorted(digests(make(2, 1.0))) == ["held.0.weight", "held._tensor_constant0", "held.mask"]
    assert digests(make(2, 1.0)) == digests(make(3, 1.0)) != digests(make(2, 2.0))
