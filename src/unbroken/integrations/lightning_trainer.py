"""The Trainer of Lightning, exact under interruptions.

trainer = Trainer(max_epochs=3, callbacks=[UnbrokenFit(folder, identity=identity, stop=stop, every=100)])
trainer.fit(model, loader)

A step is an optimizer step. It lasts until the next one begins: its validation, checkpoints and the end of an epoch
belong to it. So nothing of a step is lost or done twice when a run goes on after it. Where the module optimizes by
hand, a step ends with the batch in which one of its optimizers, or several, have stepped: batches before that leave
gradients, which no checkpoint has.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unbroken.checkpoint.state import Holder
from unbroken.exact.randomness import get_global_state, set_global_state
from unbroken.integrations.lightning_progress import FitProgress, check_fit, has_reached_limit
from unbroken.integrations.patches import Patches
from unbroken.integrations.replayed_loader import ReplayedLoader
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

# Lightning is published under two names, and a program uses one of them.
_HAS_LONG_NAME = "pytorch_lightning" in sys.modules or importlib.util.find_spec("lightning") is None
_Callback: Any = importlib.import_module("pytorch_lightning" if _HAS_LONG_NAME else "lightning.pytorch").Callback


class UnbrokenFit(_Callback):  # type: ignore[misc]
    """Keeps `Trainer.fit` in a run folder. One object is for one call of `fit`."""

    def __init__(
        self,
        folder: Path,
        *,
        identity: Identity,
        stop: StopFlag,
        state: Mapping[str, Holder] | None = None,
        **options: Any,
    ) -> None:
        """Describe the run; nothing is touched before `fit`.

        Args:
            folder: As for `Run`.
            identity: As for `Run`.
            stop: As for `Run`. Lightning's own handlers of signals, such as the requeue of SLURM, are not installed.
            state: What else changes from step to step. The module and its metrics, optimizers, schedules, precision,
                data module, loops, logged means, the order of the data and callbacks with a `state_dict` are known.
            options: More arguments of `Run`, such as `every`.
        """
        self.run: Run | None = None
        """Once the training has begun."""
        self._new_run = lambda state: Run(folder, identity=identity, stop=stop, state=state, **options)
        self._more = dict(state or {})
        self._patches = Patches()
        self._resumed: tuple[dict[str, Any], dict[str, Any]] | None = None
        self._in_step = self._is_complete = self._has_stepped = False
        self._hooks: list[Any] = []

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Refuse what cannot be exact.

        Raises:
            UnbrokenError: An option of the trainer, which is named.
        """
        check_fit(trainer)

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Go back to where the run was stopped."""
        self._progress = FitProgress(trainer, self)
        self._patches.replace(trainer._signal_connector, "register_signal_handlers", lambda: None)
        self._patches.replace(trainer.strategy, "process_dataloader", lambda loader: self._wrap(trainer, loader))
        self._hooks = [optimizer.register_step_post_hook(self._note_step) for optimizer in trainer.optimizers]
        run = self._new_run(self._state(trainer))
        run.__enter__()
        self.run = run
        if self._progress.is_restored:
            # What begins an epoch, or the training, is done once more; the first step undoes it.
            self._resumed = self._progress.state_dict(), get_global_state()

    def _wrap(self, trainer: Any, loader: Any) -> Any:
        # Those of a validation, too: workers that live on would not draw a seed each time.
        wrapped = ReplayedLoader(self._patches.original("process_dataloader")(loader), in_flight=2)
        return self._progress.take_loader(wrapped) if trainer.training else wrapped

    def _state(self, trainer: Any) -> dict[str, Holder]:
        schedules = [config.scheduler for config in trainer.lr_scheduler_configs]
        state: dict[str, Holder] = {
            "model": trainer.lightning_module,
            "precision": trainer.precision_plugin,
            "fit": self._progress,
            **{f"optimizer{number or ''}": optimizer for number, optimizer in enumerate(trainer.optimizers)},
            **{f"schedule{number or ''}": schedule for number, schedule in enumerate(schedules)},
        }
        return {**state, **({} if trainer.datamodule is None else {"data": trainer.datamodule}), **self._more}

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """The loaders are known now.

        Raises:
            UnbrokenError: Of several, one has no length.
        """
        self._progress.check_loaders()

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Between two steps: end the one before, which may save it or stop here, and begin the next.

        Raises:
            Preempted: A stop was asked for, and the state is saved (exit code 75).
        """
        if self._resumed is not None:
            self._progress.put_back(self._resumed[0])
            set_global_state(self._resumed[1])
            self._resumed = None
        if self._in_step and not self._is_complete:
            return
        self._end_step(trainer)
        self._entered_run.begin_step()
        self._in_step, self._is_complete, self._has_stepped = True, False, False

    def _note_step(self, *_: Any) -> None:
        self._has_stepped = True

    @property
    def _entered_run(self) -> Run:
        assert self.run is not None
        return self.run

    def _end_step(self, trainer: Any, is_last: bool = False) -> None:
        if self._in_step:
            self._in_step = False
            self._progress.mark_used()
            self._entered_run.log(**{k: v for k, v in trainer.callback_metrics.items() if k not in ("step", "crc")})
            self._entered_run.end_step(is_last)

    def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A step ends with the batch after which the optimizer has stepped."""
        if pl_module.automatic_optimization:
            self._is_complete = not trainer.fit_loop._should_accumulate()
        else:
            self._is_complete = self._has_stepped or not trainer.optimizers

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        """The last step is final.

        Raises:
            Preempted: The fit ended early while a stop was asked for, which may have been the cause.
            StorageError: The final save failed.
        """
        if self._in_step and not has_reached_limit(trainer):
            self._entered_run.obey_stop_in_step()
        self._end_step(trainer, is_last=True)
        self._entered_run.finish()

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """The run ends with the error, or with the stop."""
        self._leave(exception)

    def teardown(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """The training is over."""
        self._leave(None)

    def _leave(self, error: BaseException | None) -> None:
        self._patches.undo()
        while self._hooks:
            self._hooks.pop().remove()
        run, self.run = self.run, None
        if run is not None:
            run.__exit__(None if error is None else type(error), error, None if error is None else error.__traceback__)
