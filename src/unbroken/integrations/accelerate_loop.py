"""A loop with accelerate, exact under interruptions.

with UnbrokenLoop(accelerator, loader, folder, identity=identity, stop=stop, every=100) as loop:
    for epoch in loop.epochs(3):
        for batch in loop.batches():
            with accelerator.accumulate(model):
                ...

A step is an optimizer step: all batches that `accumulate` gathers. It lasts until the next one begins, so an evaluation
after an epoch belongs to it, and nothing of a step is lost or done twice when a run goes on after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from accelerate import Accelerator

from unbroken.checkpoint.state import Holder
from unbroken.ending import find_exit_code
from unbroken.errors import UnbrokenError
from unbroken.exact.randomness import get_global_state, set_global_state
from unbroken.integrations.replayed_loader import ReplayedLoader
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity


class UnbrokenLoop:
    """Keeps a loop in a run folder: what the accelerator has prepared, the data and the generators."""

    def __init__(
        self,
        accelerator: Accelerator,
        loader: Any,
        folder: Path,
        *,
        identity: Identity,
        stop: StopFlag,
        state: Mapping[str, Holder] | None = None,
        **options: Any,
    ) -> None:
        """Describe the run; nothing is touched before `with`.

        Args:
            accelerator: That has prepared all models, optimizers and schedules.
            loader: The training data, prepared or not.
            folder: As for `Run`.
            identity: As for `Run`.
            stop: As for `Run`.
            state: What else changes from step to step, such as an average of the weights.
            options: More arguments of `Run`, such as `every`.

        Raises:
            UnbrokenError: There are several processes.
        """
        if accelerator.num_processes > 1:
            raise UnbrokenError(
                f"A loop with accelerate is exact in one process, found {accelerator.num_processes}. Next: accelerate "
                "launch --num_processes 1, or the loop for several processes in unbroken's README."
            )
        self._position = _Position(accelerator)
        self._loader = ReplayedLoader(loader)
        known = {**list_prepared(accelerator), "loop": self._position, "loader": self._loader}
        self.run = Run(folder, identity=identity, stop=stop, state={**known, **(state or {})}, **options)
        """For `log`, `export` and the number of the `step`."""
        self._accelerator = accelerator
        self._in_step = False
        self._resumed: dict[str, Any] | None = None

    def __enter__(self) -> UnbrokenLoop:
        self.run.__enter__()
        if self.run.step:
            self._resumed = get_global_state()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._in_step and (error is None or find_exit_code(error) == 0):
                self._end_left_loop()
        except BaseException as failure:
            self.run.__exit__(type(failure), failure, failure.__traceback__)
            raise
        self.run.__exit__(kind, error, trace)

    def _end_left_loop(self) -> None:
        # After `break` the step counts, and is the last. It may have been meant for a stop: then it is repeated.
        self.run.obey_stop_in_step()
        self._position.has_ended = True
        self._finish()

    def epochs(self, total: int) -> Iterator[int]:
        """The epochs that are left of `total`, from 0, the one inside which the run goes on included.

        At its end the last step is durable and final. After a `break` out of it there are none left.

        Raises:
            StorageError: The final save failed.
        """
        while self._position.epoch < total and not self._position.has_ended:
            yield self._position.epoch
            self._position.epoch += 1
        self._finish()

    def batches(self) -> Iterator[Any]:
        """The batches of the epoch, or those that are left of it. Between two steps it saves, and leaves on a stop.

        Raises:
            Preempted: A stop was asked for, and the state is saved (exit code 75).
        """
        for batch in self._loader:
            self._turn()
            yield batch
            self._loader.used += 1

    def _turn(self) -> None:
        if self._in_step and not self._accelerator.sync_gradients:
            return
        if self._resumed is not None:
            set_global_state(self._resumed)  # what the program has drawn on its way here it had drawn before
            self._resumed = None
        self._end_step()
        self.run.begin_step()
        self._in_step = True

    def _end_step(self, is_last: bool = False) -> None:
        if self._in_step:
            self._in_step = False
            self.run.end_step(is_last)

    def _finish(self) -> None:
        self._end_step(is_last=True)
        self.run.finish()


class _Position:
    """The epoch, and how many batches `accumulate` has counted."""

    def __init__(self, accelerator: Accelerator) -> None:
        self.epoch = 0
        self.has_ended = False
        self._accelerator = accelerator

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "has_ended": self.has_ended, "accumulated": self._accelerator.step}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch, self.has_ended = state["epoch"], state["has_ended"]
        self._accelerator.step = state["accumulated"]


def list_prepared(accelerator: Accelerator) -> dict[str, Holder]:
    """Name -> what the accelerator has prepared, unwrapped, and what was registered with it for checkpoints."""
    kinds: dict[str, list[Any]] = {
        "model": [accelerator.unwrap_model(model) for model in accelerator._models],
        "optimizer": [optimizer.optimizer for optimizer in accelerator._optimizers],
        "schedule": [schedule.scheduler for schedule in accelerator._schedulers],
        "custom": list(accelerator._custom_objects),
        "scaler": [] if accelerator.scaler is None else [accelerator.scaler],
    }
    return {f"{kind}{number or ''}": part for kind, parts in kinds.items() for number, part in enumerate(parts)}
