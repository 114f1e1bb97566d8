"""What is restored stays the object that others hold, and what its values do not say comes back too."""

from __future__ import annotations

from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.support import toy_training
from unbroken.checkpoint.state import capture_state, restore_state
from unbroken.checkpoint.traits import TRAITS, LiveState
from unbroken.errors import CheckpointError
from unbroken.exact.randomness import seed_all
from unbroken.preemption import Preempted, StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

STEPS = 9
Step = Callable[[int], float]
Build = Callable[[], tuple[dict[str, Any], Step]]


def train(build: Build, folder: Path, stop_at: int | None = None) -> dict[str, bytes]:
    seed_all(1)
    state, step = build()
    stop = StopFlag()
    settings = {"every": 2, "report": lambda _: None, "files": toy_training.Unsynced()}
    with Run(folder / "run", identity=Identity({}), state=state, stop=stop, **settings) as run:
        for number in run.steps(STEPS):
            run.log(loss=step(number))
            if number == stop_at:
                stop.set("SIGTERM")
        run.export(folder / "export")
    return toy_training.contents(folder / "export")


def assert_resumes_exactly(build: Build, folder: Path, stops: tuple[int, ...] = (1, 4, 5, 8)) -> dict[str, bytes]:
    expected = train(build, folder / "undisturbed")
    for number in stops:
        with pytest.raises(Preempted):
            train(build, folder / "stopped", number)
    assert train(build, folder / "stopped") == expected
    return expected


def descend(loss: torch.Tensor, optimizer: torch.optim.Optimizer, set_to_none: bool = True) -> float:
    optimizer.zero_grad(set_to_none=set_to_none)
    loss.backward()
    optimizer.step()
    return float(loss.detach())


def inputs(step: int, *shape: int) -> torch.Tensor:
    return torch.sin(torch.arange(float(np.prod(shape))) * step).reshape(shape)


def plain_dict() -> tuple[dict[str, Any], Step]:
    weights = {"w": torch.randn(3, 2, requires_grad=True), "layers": [torch.randn(2, requires_grad=True)]}
    optimizer = torch.optim.SGD([weights["w"], weights["layers"][0]], lr=0.1, momentum=0.9)

    def step(number: int) -> float:
        return descend((inputs(number, 4, 3) @ weights["w"] + weights["layers"][0]).square().mean(), optimizer)

    return {"weights": weights, "optimizer": optimizer}, step


def views() -> tuple[dict[str, Any], Step]:
    flat = torch.randn(8)
    box = {"flat": flat, "head": flat[:3], "square": flat[4:].view(2, 2), "array": flat.numpy()}

    def step(number: int) -> float:
        box["head"] += number
        box["square"].t()[0] *= 0.5
        box["array"][7] += 1
        return float(flat.sum())

    return {"box": box}, step


def views_made_in_the_loop() -> tuple[dict[str, Any], Step]:
    box: dict[str, Any] = {"flat": torch.randn(8), "a": torch.zeros(2), "tail": torch.zeros(2), "log": []}

    def step(number: int) -> float:
        if number == 3:
            box["a"] = box["flat"][2:8:2]
            box["tail"] = box["flat"][6:]
            box["twin"] = box["flat"]
            box["log"].append(box["log"])
            box["log"].clear()
            box["again"] = box["log"]
        if number == 7:
            box["tail"] = box["tail"].clone()
            box["twin"] = box["twin"].clone()
        box["a"] += number
        box["log"].append(number)
        box["flat"] *= 1.5
        return float(box["tail"].sum() + box.get("twin", box["flat"]).sum() + len(box.get("again", ())))

    return {"box": box}, step


def tied() -> tuple[dict[str, Any], Step]:
    model = torch.nn.ModuleDict({"in": torch.nn.Linear(3, 3), "out": torch.nn.Linear(3, 3)})
    model["out"].weight = model["in"].weight
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    extra = {"copy": model["in"].weight, "bias": model["in"].bias}

    def step(number: int) -> float:
        loss = model["out"](model["in"](inputs(number, 2, 3)).tanh()).square().mean() + extra["copy"].square().sum()
        return descend(loss, optimizer)

    return {"model": model, "optimizer": optimizer, "extra": extra}, step


def tied_in_the_loop() -> tuple[dict[str, Any], Step]:
    model = torch.nn.ModuleDict({"in": torch.nn.Linear(3, 3), "out": torch.nn.Linear(3, 3)})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(number: int) -> float:
        if number == 3:
            model["out"].weight = model["in"].weight
        if number == 7:
            model["out"].weight = torch.nn.Parameter(model["in"].weight.detach().clone())
        return descend(model["out"](model["in"](inputs(number, 2, 3)).tanh()).square().mean(), optimizer)

    return {"model": model, "optimizer": optimizer}, step


def channels_last() -> tuple[dict[str, Any], Step]:
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 3))
    model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)

    def step(number: int) -> float:
        images = inputs(number, 2, 3, 8, 8).to(memory_format=torch.channels_last)
        loss = model(images).square().mean()
        order = [tuple(state["exp_avg"].stride()) for state in optimizer.state.values()]
        return descend(loss, optimizer) + sum(sum(strides) for strides in order)

    return {"model": model, "optimizer": optimizer}, step


def channels_last_in_the_loop() -> tuple[dict[str, Any], Step]:
    model = torch.nn.Conv2d(3, 4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)

    def step(number: int) -> float:
        if number == 3:
            model.to(memory_format=torch.channels_last)
        loss = descend(model(inputs(number, 2, 3, 8, 8)).square().mean(), optimizer)
        return loss + sum(model.weight.stride())

    return {"model": model, "optimizer": optimizer}, step


def frozen_midway(set_to_none: bool = True, in_module: bool = True) -> tuple[dict[str, Any], Step]:
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.1)

    def step(number: int) -> float:
        if number in (3, 8):  # frozen, and trained again
            model[0].requires_grad_(number == 8)
            model[1].train(number == 8)
        return descend(model(inputs(number, 6, 3)).square().mean(), optimizer, set_to_none)

    weights = {name: parameter.data for name, parameter in model.state_dict().items()}
    return {"model": model if in_module else weights, "optimizer": optimizer}, step


def evaluated(always: bool = False) -> tuple[dict[str, Any], Step]:
    model = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, 1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)

    def step(number: int) -> float:
        if always:
            model.train()
        loss = descend(model(inputs(number, 6, 3)).square().mean(), optimizer)
        if number in (4, STEPS):  # and nobody sets it back
            model.eval()
        return loss

    return {"model": model, "optimizer": optimizer}, step


def frozen_in_a_dict() -> tuple[dict[str, Any], Step]:
    weights: dict[str, Any] = {"a": torch.ones(2, requires_grad=True), "b": torch.ones(2, requires_grad=True)}
    optimizer = torch.optim.SGD(weights.values(), lr=0.1, weight_decay=0.1)

    def step(number: int) -> float:
        if number == 4:
            weights["a"].requires_grad_(False)
            weights["late"] = torch.nn.Parameter(torch.ones(2))
            optimizer.param_groups[0]["lr"] = 0.2
        loss = ((weights["a"] + weights["b"]) * inputs(number, 2)).square().sum()
        if "late" in weights:
            (gradient,) = torch.autograd.grad((weights["late"] * 3).sum(), [weights["late"]])
            weights["late"].data -= 0.1 * gradient
        return descend(loss, optimizer, set_to_none=False)

    return {"weights": weights, "optimizer": optimizer}, step


Point = namedtuple("Point", "x y")


def containers() -> tuple[dict[str, Any], Step]:
    masked = np.ma.MaskedArray(np.arange(4.0), mask=[0, 1, 0, 0], fill_value=-1.0, hard_mask=True)
    box: dict[str, Any] = {
        "recent": deque(maxlen=3), "all": deque(), "masked": masked, "plain": np.ma.MaskedArray([1.0, 2.0]),
        "counts": Counter(), "groups": defaultdict(list), "order": OrderedDict(), "seen": set(),
        "pair": (np.zeros(2), 1), "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "half": np.zeros(2, dtype=np.float16),
    }  # fmt: skip
    held = dict(box)

    def step(number: int) -> float:
        for key in ("recent", "all"):
            held[key].append(number)
        held["masked"][number % 4] = number
        held["masked"].soften_mask() if number == 5 else None
        held["counts"][number % 2] += 1
        held["groups"][number % 3].append(number)
        held["order"][number] = None
        held["order"].move_to_end(number, last=False)
        held["seen"].add(number % 4)
        held["pair"][0][:] += number
        held["fortran"] += number
        held["half"] += number
        if number == 3:
            box["late"] = {"fortran": np.asfortranarray(np.ones((2, 3))), "recent": deque([1], maxlen=2)}
        layout = sum(held["fortran"].strides) + sum(box.get("late", box)["fortran"].strides)
        return float(held["masked"].sum() + len(held["recent"]) + layout + sum(box.get("late", held)["recent"]))

    return {"box": box}, step


LOOPS: list[Build] = [
    plain_dict, views, views_made_in_the_loop, tied, tied_in_the_loop, channels_last, channels_last_in_the_loop,
    frozen_midway, frozen_in_a_dict, evaluated, containers,
]  # fmt: skip


@pytest.mark.parametrize("build", LOOPS, ids=lambda build: build.__name__)
def test_a_resumed_loop_ends_in_the_bytes_of_an_undisturbed_one(build: Build, tmp_path: Path) -> None:
    assert_resumes_exactly(build, tmp_path)


def test_a_gradient_that_is_left_in_a_frozen_parameter_comes_back(tmp_path: Path) -> None:
    assert_resumes_exactly(lambda: frozen_midway(set_to_none=False), tmp_path)


def test_a_run_that_changes_none_of_this_stores_nothing_of_it(tmp_path: Path) -> None:
    for build in (plain_dict, lambda: evaluated(always=True)):
        folder = tmp_path / build.__name__
        assert TRAITS.encode() not in assert_resumes_exactly(build, folder)["manifest.json"]


def held_by_others() -> dict[str, Any]:
    base = torch.zeros(4)
    return {
        "tensor": base, "view": base[1:3], "parameter": torch.nn.Parameter(torch.zeros(2)), "list": [torch.zeros(1)],
        "dict": {"array": np.zeros(3)}, "deque": deque([0], maxlen=2), "set": {1}, "tuple": (torch.zeros(1), [1]),
        "masked": np.ma.MaskedArray(np.zeros(2), mask=[True, False]), "counter": Counter(a=1),
        "default": defaultdict(int, a=1), "ordered": OrderedDict(a=1),
    }  # fmt: skip


def test_every_object_that_fits_stays_the_one_that_others_hold() -> None:
    stored = held_by_others()
    stored["tensor"] += torch.arange(4.0)
    stored["dict"]["array"] += 3
    kept = capture_state(LiveState(box=stored))
    box = held_by_others()
    before = {**box, "inner": box["list"][0], "array": box["dict"]["array"], "items": list(box["tuple"])}
    restore_state(kept, LiveState(box=box))
    assert all(box[name] is before[name] for name in box)
    assert box["list"][0] is before["inner"]
    assert box["dict"]["array"] is before["array"]
    assert box["view"].tolist() == [1.0, 2.0]
    before["tensor"][1] = 9
    assert box["view"][0] == 9
    assert before["array"].tolist() == [3, 3, 3]


def test_another_shape_or_dtype_is_taken_from_the_checkpoint() -> None:
    kept = capture_state(LiveState(box={"a": torch.ones(3), "b": np.ones(2, dtype=np.int8), "c": torch.ones(2)}))
    box: dict[str, Any] = {"a": torch.zeros(2), "b": np.zeros(2), "c": torch.zeros(1).expand(2)}
    restore_state(kept, LiveState(box=box))
    assert box["a"].tolist() == [1, 1, 1]
    assert box["b"].dtype == np.int8
    assert box["c"].tolist() == [1, 1]


def endless() -> list[Any]:
    endless_list: list[Any] = []
    endless_list.append(endless_list)
    return endless_list


@pytest.mark.parametrize(
    ("value", "place"),
    [
        (Point(1, 2), "box/it"),
        (np.rec.array([(1,)], dtype=[("a", "i4")]), "box/it"),
        (np.zeros(2, dtype=[("a", "i4")]), "box/it"),
        (defaultdict(lambda: 1), "box/it"),
        (endless(), "The state box contains itself"),
        (torch.nn.LazyLinear(2).weight, "box/it"),
        (torch.ones(2).to("meta"), "box/it"),
    ],
    ids=["namedtuple", "records", "structured", "factory", "cycle", "lazy", "meta"],
)
def test_what_cannot_come_back_is_refused_before_the_first_step(value: Any, place: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=rf"{place}\b.*Next: "):
        train(lambda: ({"box": {"it": value}}, lambda _: 0.0), tmp_path)


def test_a_trait_that_cannot_be_restored_is_an_error_that_names_it() -> None:
    def build() -> dict[str, Any]:
        return {"array": np.arange(4.0), "part": np.zeros(2)}

    box = build()
    state = LiveState(box=box)
    capture_state(state)
    box["twin"] = box["array"]
    kept = capture_state(state)
    kept.tree[TRAITS]["items"][0][1]["items"][0][1]["items"][0][1] = "box/nothing"  # type: ignore[index,call-overload]
    with pytest.raises(CheckpointError, match=r"value box/twin same \('box/nothing' became None\)"):
        restore_state(kept, LiveState(box=build()))
