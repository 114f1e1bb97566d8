"""States whose keys are not those that this version of torch, or of the program, has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import toy_training
from unbroken.checkpoint.state import capture_state, restore_state
from unbroken.checkpoint.traits import LiveState
from unbroken.errors import CheckpointError
from unbroken.preemption import Preempted, StopFlag
from unbroken.run import Run
from unbroken.run_folder.events import read_events
from unbroken.run_folder.identity import Identity


class OlderAdam(torch.optim.Adam):
    """Adam of a version that does not know of `decoupled_weight_decay`, and of which another key is gone now."""

    def __init__(self, parameters: Any, gone: bool = False) -> None:
        super().__init__(parameters, lr=0.1)
        for group in self.param_groups:
            del group["decoupled_weight_decay"]
            if gone:
                group["gone"] = 0.5

    def step(self, closure: Any = None) -> Any:
        self.param_groups[0]["decoupled_weight_decay"] = False
        done = super().step(closure)
        del self.param_groups[0]["decoupled_weight_decay"]
        return done


def build(optimizer: Callable[..., torch.optim.Optimizer]) -> LiveState:
    torch.manual_seed(1)
    model = torch.nn.Linear(3, 2)
    return LiveState(model=model, optimizer=optimizer(model.parameters()))


def trained(optimizer: Callable[..., torch.optim.Optimizer]) -> LiveState:
    state = build(optimizer)
    state["model"](torch.ones(1, 3)).sum().backward()
    state["optimizer"].step()
    return state


def adam(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, lr=0.1)


def test_a_key_that_the_checkpoint_lacks_stays_as_built() -> None:
    state = build(adam)
    restore_state(capture_state(trained(OlderAdam)), state)
    assert state.gained == ["optimizer/param_groups/0/decoupled_weight_decay"]
    assert state["optimizer"].param_groups[0]["decoupled_weight_decay"] is False


def run(folder: Path, optimizer: Callable[..., torch.optim.Optimizer], said: list[str], stop_at: int = 0) -> None:
    state, stop = build(optimizer), StopFlag()
    settings = {"every": 2, "report": said.append, "files": toy_training.Unsynced()}
    with Run(folder, identity=Identity({}), state=dict(state), stop=stop, **settings) as entered:
        for step in entered.steps(6):
            state["optimizer"].zero_grad()
            state["model"](torch.ones(1, 3)).sum().backward()
            state["optimizer"].step()
            if step == stop_at:
                stop.set("SIGTERM")


def test_a_run_goes_on_with_it_and_says_so_once(tmp_path: Path) -> None:
    said: list[str] = []
    with pytest.raises(Preempted):
        run(tmp_path, OlderAdam, said, 3)
    with pytest.raises(Preempted):
        run(tmp_path, adam, said, 5)
    run(tmp_path, adam, said)
    about = [sentence for sentence in said if "lacks optimizer/param_groups/0/decoupled_weight_decay" in sentence]
    assert len(about) == 1
    assert len(about[0]) < 300
    notes = [event for event in read_events(tmp_path / "events.jsonl") if event["event"] == "representation"]
    assert [(note["step"], note["gained"]) for note in notes] == [
        (3, "optimizer/param_groups/0/decoupled_weight_decay")
    ]


def test_a_key_that_is_gone_is_refused_with_the_right_advice() -> None:
    class Newer(torch.optim.Adam):
        def load_state_dict(self, state: dict[str, Any]) -> None:
            super().load_state_dict(state)
            self.param_groups[0].pop("gone", None)

    with pytest.raises(CheckpointError) as caught:
        restore_state(
            capture_state(trained(lambda parameters: OlderAdam(parameters, gone=True))),
            build(lambda parameters: Newer(parameters, lr=0.1)),
        )
    assert "value optimizer/param_groups/0/gone (0.5 is gone)." in str(caught.value)
    assert str(caught.value).endswith("Next: use the version of torch, or of your code, that wrote the checkpoint: it "
    "still has what is gone.")  # fmt: skip
    assert len(str(caught.value)) < 400


class Box:
    """An object of which a later version has more keys."""

    def __init__(self, **values: Any) -> None:
        self.values = values

    def state_dict(self) -> dict[str, Any]:
        return dict(self.values)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.values.update(state)


def test_any_object_may_have_a_key_more() -> None:
    state = LiveState(box=Box(a=0, new={"b": [1, 2]}, cut="x" * 9))
    restore_state(capture_state({"box": Box(a=1, cut="y")}), state)
    assert (state.gained, state["box"].values["a"]) == (["box/new"], 1)


class Moves(Box):
    """Loading changes the new key too, so that nobody knows what it should be."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.values["new"] += 1


def test_a_new_key_whose_value_is_not_as_built_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"value box/new \(2 is new\)\..*Next: use the version of torch, or"):
        restore_state(capture_state({"box": Box(a=1)}), LiveState(box=Moves(a=0, new=1)))


def test_a_new_key_does_not_excuse_another_value() -> None:
    class Forgets(Box):
        def load_state_dict(self, state: dict[str, Any]) -> None:
            """Restores nothing."""

    with pytest.raises(CheckpointError, match=r"stored: value box/a \(1 became 0\)\. .*put back all"):
        restore_state(capture_state({"box": Box(a=1)}), LiveState(box=Forgets(a=0, new=5)))


def test_a_new_tensor_is_refused() -> None:
    with pytest.raises(CheckpointError, match=r"tensor box/new, value box/new.*Next: use the version"):
        restore_state(capture_state({"box": Box(a=1)}), LiveState(box=Box(a=0, new=torch.ones(2))))


@pytest.mark.parametrize("kind", ["one long value", "many values", "many tensors", "unlike shapes", "nested"])
def test_no_message_grows_with_the_state(kind: str) -> None:
    class Forgets(Box):
        def load_state_dict(self, state: dict[str, Any]) -> None:
            """Restores nothing."""

    many = range(20_000)
    states: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
        "one long value": ({"a": "x" * 50_000}, {"a": list(many)}),
        "many values": ({str(n): n for n in many}, {}),
        "many tensors": ({f"{n}": torch.ones(1) for n in many[:2000]}, {}),
        "unlike shapes": ({"a": [[list(many)] * 3] * 3}, {"a": {str(n): list(many[:9]) for n in many[:99]}}),
        "nested": ({"a": {("k" * 9_000, 2): {"b" * 5_000: 1}}}, {"a": {}}),
    }
    stored, built = states[kind]
    with pytest.raises(CheckpointError) as caught:
        restore_state(capture_state({"box": Box(**stored)}), {"box": Forgets(**built)})
    assert len(str(caught.value)) < 1200
    assert "\n" not in str(caught.value)


def test_a_module_with_a_thousand_other_shapes_is_refused_in_a_sentence() -> None:
    stored = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(500))
    built = torch.nn.ModuleList(torch.nn.Linear(3, 2) for _ in range(500))
    with pytest.raises(CheckpointError, match=r"`model` refused its stored state: .*size mismatch") as caught:
        restore_state(capture_state({"model": stored}), {"model": built})
    assert len(str(caught.value)) < 600


def test_names_that_do_not_fit_are_not_all_listed() -> None:
    with pytest.raises(CheckpointError, match=r"holds a0, a1, a10 and 197 more, which this run does not") as caught:
        restore_state(capture_state({f"a{n}": {} for n in range(200)}), {})
    assert len(str(caught.value)) < 400
