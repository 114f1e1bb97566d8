"""Gradients that are carried over the end of a step are part of the state; those that were used cost nothing."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.support.forks import in_child
from tests.support.interruptions import KilledError, finish_training, interrupt_training, read_result
from tests.support.thread_group import run_on_threads
from tests.support.toy_training import Unsynced
from unbroken.errors import CheckpointError, UnbrokenError
from unbroken.exact.group import Group
from unbroken.exact.randomness import seed_all
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

STEPS = 11
State = dict[str, Any]
pytestmark = pytest.mark.usefixtures("one_thread")


def build() -> State:
    seed_all(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    return {"model": model, "optimizer": torch.optim.AdamW(model.parameters(), lr=0.1)}


def backward(state: State, name: str = "model") -> None:
    state[name](torch.randn(5, 3)).square().mean().backward()


def zero_after(state: State, step: int) -> None:
    backward(state)
    if step % 3 == 0:
        state["optimizer"].step()
        state["optimizer"].zero_grad()


def zero_before(state: State, step: int) -> None:
    if step % 3 == 1:
        state["optimizer"].zero_grad()
    backward(state)
    if step % 3 == 0:
        state["optimizer"].step()


def zero_in_place(state: State, step: int) -> None:
    backward(state)
    if step % 3 == 0:
        state["optimizer"].step()
        state["optimizer"].zero_grad(set_to_none=False)


def zero_by_hand(state: State, step: int) -> None:
    backward(state)
    if step % 3 == 2:
        state["optimizer"].step()
        for parameter in state["model"].parameters():
            parameter.grad.zero_()


def step_first(state: State, _step: int) -> None:
    """The optimizer steps in each step, with the gradients of the step before."""
    state["optimizer"].step()
    state["optimizer"].zero_grad()
    backward(state)


def in_turn(state: State, step: int) -> None:
    """Neither model is detached: each adds to the gradients of the other, which are zeroed before they are used."""
    fake = state["model"](torch.randn(5, 3))
    state["critic-optimizer"].zero_grad()
    (state["critic"](fake).mean() - state["critic"](torch.randn(5, 1)).mean()).backward()
    state["critic-optimizer"].step()
    if step % 5 == 0:
        state["optimizer"].zero_grad()
        state["critic"](state["model"](torch.randn(5, 3))).mean().neg().backward()
        state["optimizer"].step()


def build_two() -> State:
    state = build()
    critic = nn.Linear(1, 1)
    return {**state, "critic": critic, "critic-optimizer": torch.optim.Adam(critic.parameters(), lr=0.1)}


def scaled(state: State, step: int) -> None:
    """The scaler skips the fourth step."""
    state["optimizer"].zero_grad()
    loss = state["model"](torch.randn(5, 3)).square().mean()
    state["scaler"].scale(loss * (float("inf") if step == 4 else 1.0)).backward()
    state["scaler"].step(state["optimizer"])
    state["scaler"].update()


def build_scaled() -> State:
    return {**build(), "scaler": torch.amp.GradScaler("cpu", init_scale=8.0)}


def unreached(state: State, step: int) -> None:
    """Gradients of zero and no gradients are not the same for a parameter that a step does not reach."""
    model = state["model"][0] if step % 2 == 0 else state["model"]
    model(torch.randn(5, 3)).square().mean().backward()
    state["optimizer"].step()
    state["optimizer"].zero_grad(set_to_none=False)


def images(state: State, step: int) -> None:
    state["model"](torch.randn(2, 3, 5, 5)).float().square().mean().backward()
    if step % 3 == 0:
        nn.utils.clip_grad_norm_(state["model"].parameters(), 0.5)
        state["optimizer"].step()
        state["optimizer"].zero_grad()


def build_images() -> State:
    seed_all(0)
    convolution = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    model = nn.Sequential(nn.Upsample(scale_factor=2.0), convolution)
    return {"model": model, "optimizer": torch.optim.AdamW(model.parameters(), lr=0.1)}


def share(state: State, step: int) -> None:
    """Both optimizers train one model: what one has used, the other has not."""
    backward(state)
    if step % 2 == 0:
        state["optimizer"].step()
    if step % 4 == 0:
        state["other"].step()
        state["model"].zero_grad()


def build_shared() -> State:
    state = build()
    return {**state, "other": torch.optim.SGD(state["model"].parameters(), lr=0.1, momentum=0.9)}


def build_loose() -> State:
    """The parameters stand in a dict of the state; one is frozen."""
    state = build()
    model = state.pop("model")
    weights = {name.replace(".", "-"): parameter for name, parameter in model.named_parameters()}
    weights["0-bias"].requires_grad_(False)
    return {"weights": weights, **state}


def loose(state: State, step: int) -> None:
    weights = state["weights"]
    hidden = torch.tanh(nn.functional.linear(torch.randn(5, 3), weights["0-weight"], weights["0-bias"]))
    nn.functional.linear(hidden, weights["2-weight"], weights["2-bias"]).square().mean().backward()
    if step % 3 == 0:
        state["optimizer"].step()
        state["optimizer"].zero_grad()


def by_hand(state: State, step: int) -> None:
    """The program trains by itself: no optimizer is in the state."""
    backward(state)
    if step % 3 == 0:
        with torch.no_grad():
            for parameter in state["model"].parameters():
                parameter -= 0.1 * parameter.grad
                parameter.grad = None


def build_alone() -> State:
    return {"model": build()["model"]}


def left_out(state: State, step: int) -> None:
    """SGD has nothing to remember, so it is not in the state. The bias is trained by hand."""
    backward(state)
    if step % 3 == 0:
        optimizer = torch.optim.SGD([state["model"][0].weight, state["model"][2].weight], lr=0.1)
        optimizer.step()
        optimizer.zero_grad()
    if step % 4 == 0:
        with torch.no_grad():
            state["model"][0].bias -= 0.1 * state["model"][0].bias.grad
        state["model"][0].bias.grad.zero_()


def build_partly() -> State:
    """An optimizer of the state trains a part of a module whose weights are tied; the other module is frozen."""
    state = build()
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 1))
    model[1].weight = model[0].weight
    frozen = nn.Linear(1, 1).requires_grad_(False)
    return {
        "model": model,
        "again": model[2],
        "frozen": frozen,
        "optimizer": torch.optim.SGD(model[1].parameters()),
    } | {"untouched": state["model"]}


def partly(state: State, step: int) -> None:
    state["frozen"](state["model"](torch.randn(5, 3))).square().mean().backward()
    if step % 3 == 0:
        state["optimizer"].step()
        state["optimizer"].zero_grad()
    if step % 4 == 0:
        with torch.no_grad():
            for module in (state["model"][0], state["again"]):
                module.bias -= 0.1 * module.bias.grad
                module.bias.grad = None


LOOPS: dict[str, tuple[Callable[[], State], Callable[[State, int], None]]] = {
    "zero after": (build, zero_after),
    "zero before": (build, zero_before),
    "zero in place": (build, zero_in_place),
    "zero by hand": (build, zero_by_hand),
    "step first": (build, step_first),
    "in turn": (build_two, in_turn),
    "scaled": (build_scaled, scaled),
    "unreached": (build, unreached),
    "images": (build_images, images),
    "share": (build_shared, share),
    "loose": (build_loose, loose),
    "by hand": (build_alone, by_hand),
    "left out": (build_alone, left_out),
    "partly": (build_partly, partly),
}


def train(
    folder: Path,
    stop: StopFlag,
    reach: Callable[[int], None],
    loop: str | tuple[Callable[[], State], Callable[[State, int], None]],
    group: Group | None = None,
) -> None:
    made, body = LOOPS[loop] if isinstance(loop, str) else loop
    state = made()
    settings: dict[str, Any] = {
        "every": 1,
        "keep": 99,
        "report": lambda _: None,
        "files": Unsynced(),
        "background": False,
    }
    with Run(folder, identity=Identity({"a": 1}), state=state, stop=stop, group=group, **settings) as run:
        for step in run.steps(STEPS):
            body(state, step)
            reach(step)


def carried_after(folder: Path) -> dict[int, set[str]]:
    """Step -> names of the gradients in its checkpoint."""
    manifests = sorted((folder / "checkpoints").glob("step-*/manifest.json"))
    tensors = {int(path.parent.name.removeprefix("step-")): json.loads(path.read_text()) for path in manifests}
    return {step: {name for name in manifest["tensors"] if "/grad/" in name} for step, manifest in tensors.items()}


@pytest.mark.long
@pytest.mark.parametrize("name", ["TERM", "KILL"])
def test_stopped_or_killed_in_any_step(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    finish_training(train, tmp_path / "whole", loop="zero after")
    whole = read_result(tmp_path / "whole")
    for step in range(1, STEPS):
        folder = tmp_path / str(step)

        def start(folder: Path = folder) -> None:
            train(folder, StopFlag.install(), lambda _: None, "zero after")

        monkeypatch.setenv("UNBROKEN_INTERRUPT", f"{name}@{step + (name == 'KILL')}")
        assert in_child(start) == (75 if name == "TERM" else -signal.SIGKILL)
        monkeypatch.delenv("UNBROKEN_INTERRUPT")
        finish_training(train, folder, loop="zero after")
        assert read_result(folder) == whole, f"{name} after step {step}"


@pytest.mark.parametrize("loop", LOOPS)
def test_interrupted_after_any_step_it_ends_in_the_same_bytes(loop: str, tmp_path: Path) -> None:
    finish_training(train, tmp_path / "whole", loop=loop)
    whole = read_result(tmp_path / "whole")
    for step in range(1, STEPS):
        interrupt_training(train, tmp_path / str(step), [step], loop=loop)
        assert read_result(tmp_path / str(step)) == whole, f"after step {step}"


def ordinary(state: State, _step: int) -> None:
    state["optimizer"].zero_grad()
    backward(state)
    state["optimizer"].step()


def with_closure(state: State, _step: int) -> None:
    def loss() -> torch.Tensor:
        state["optimizer"].zero_grad()
        value: torch.Tensor = state["model"](torch.ones(5, 3)).square().mean()
        value.backward()
        return value

    state["optimizer"].step(loss)


def build_lbfgs() -> State:
    state = build()
    return {**state, "optimizer": torch.optim.LBFGS(state["model"].parameters(), max_iter=2)}


class Wrapper(torch.optim.Optimizer):
    """An optimizer around another, whose own `step` nobody calls."""

    def __init__(self, inner: torch.optim.Optimizer) -> None:
        super().__init__(inner.param_groups, inner.defaults)
        self.inner = inner

    def second_step(self) -> None:
        self.inner.step()


def wrapped(state: State, _step: int) -> None:
    state["optimizer"].zero_grad()
    backward(state)
    state["optimizer"].second_step()


def build_wrapped() -> State:
    state = build()
    return {**state, "optimizer": Wrapper(state["optimizer"])}


def without_its_optimizer(state: State, _step: int) -> None:
    optimizer = torch.optim.SGD(state["model"].parameters(), lr=0.1)
    optimizer.zero_grad()
    backward(state)
    optimizer.step()


@pytest.mark.parametrize(
    "loop",
    [
        (build, ordinary),
        (build_lbfgs, with_closure),
        (build_wrapped, wrapped),
        (build_two, ordinary),
        (build_alone, without_its_optimizer),
    ],
)
def test_gradients_that_were_used_are_in_no_checkpoint(loop: Any, tmp_path: Path) -> None:
    finish_training(train, tmp_path, loop=loop)
    assert carried_after(tmp_path) == {step: set() for step in range(1, STEPS + 1)}
    manifests = (tmp_path / "checkpoints").glob("step-*/manifest.json")
    assert not any("$traits" in path.read_text() for path in manifests)


def test_only_the_steps_that_carry_gradients_store_them(tmp_path: Path) -> None:
    finish_training(train, tmp_path / "added", loop="zero after")
    assert [step for step, names in carried_after(tmp_path / "added").items() if not names] == [3, 6, 9]
    finish_training(train, tmp_path / "scaled", loop="scaled")
    assert [step for step, names in carried_after(tmp_path / "scaled").items() if names] == [4, 5]


def test_a_gradient_keeps_its_memory_layout(tmp_path: Path) -> None:
    strides: list[tuple[int, ...]] = []

    def body(state: State, step: int) -> None:
        gradient = state["model"][1].weight.grad
        strides.extend([] if gradient is None else [gradient.stride()])
        images(state, step)
        if step == 2 and len(strides) == 1:
            raise KilledError

    with pytest.raises(KilledError):
        finish_training(train, tmp_path, loop=(build_images, body))
    finish_training(train, tmp_path, loop=(build_images, body))
    assert strides[0] == strides[1] == torch.empty(4, 3, 3, 3).to(memory_format=torch.channels_last).stride()


def build_sparse() -> State:
    seed_all(0)
    model = nn.Embedding(7, 2, sparse=True)
    return {"model": model, "optimizer": torch.optim.SparseAdam(model.parameters(), lr=0.1)}


def test_a_sparse_gradient_is_refused_only_where_it_is_carried(tmp_path: Path) -> None:
    def body(state: State, step: int) -> None:
        state["optimizer"].zero_grad()
        state["model"](torch.tensor([step % 7])).sum().backward()
        if not body.skips or step != 5:  # type: ignore[attr-defined]
            state["optimizer"].step()

    body.skips = False  # type: ignore[attr-defined]
    finish_training(train, tmp_path / "used", loop=(build_sparse, body))
    body.skips = True  # type: ignore[attr-defined]
    with pytest.raises(
        CheckpointError, match=r"gradient of model/weight that `optimizer` has not used.*sparse_coo.*Next:"
    ):
        finish_training(train, tmp_path / "carried", loop=(build_sparse, body))


def build_alike() -> State:
    """As `build`, without the global generators, which the threads of a test have in common."""
    model = nn.Linear(3, 1)
    nn.init.constant_(model.weight, 0.5)
    nn.init.constant_(model.bias, 0.5)
    return {"model": model, "optimizer": torch.optim.AdamW(model.parameters(), lr=0.1)}


def train_on_ranks(folder: Path, shift: float) -> list[str]:
    """What each of two ranks says, whose inputs differ by `shift`."""

    def on_rank(group: Group) -> str:
        def body(state: State, step: int) -> None:
            state["model"](torch.ones(5, 3) + group.rank * shift).square().mean().backward()
            if step % 3 == 0:
                state["optimizer"].step()
                state["optimizer"].zero_grad()

        try:
            train(folder, StopFlag(), lambda _: None, (build_alike, body), group)
        except UnbrokenError as error:
            return str(error)
        return ""

    return run_on_threads(2, on_rank)


def test_ranks_may_carry_the_same_gradients_only(tmp_path: Path) -> None:
    assert train_on_ranks(tmp_path / "same", 0.0) == ["", ""]
    assert carried_after(tmp_path / "same")[STEPS]
    first, second = train_on_ranks(tmp_path / "others", 1.0)
    assert first == second
    assert re.search(r"Rank 0 ends step 1 with the gradients .* rank 1 .*Next: let an optimizer step", first), first
    assert carried_after(tmp_path / "others") == {}
