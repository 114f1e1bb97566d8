"""The Trainer of Hugging Face's transformers, exact under interruptions.

with UnbrokenCallback(trainer, folder, identity=identity, stop=stop, every=100):
    trainer.train()

A step is an optimizer step, and it lasts until the next one begins: its logging, evaluation and saving, and the end of
an epoch, belong to it. So nothing of a step is lost or done twice when a run goes on after it.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers import trainer as trainer_module

from unbroken.checkpoint.state import Holder
from unbroken.errors import UnbrokenError
from unbroken.exact.randomness import get_global_state, set_global_state
from unbroken.integrations.hf_progress import TrainerProgress, check_trainer, list_results
from unbroken.integrations.patches import Patches
from unbroken.integrations.replayed_loader import ReplayedLoader
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

_RESUMED = "unbroken"
"""Stands where the Trainer wants the folder that it resumes from; it reads nothing there."""


class UnbrokenCallback(TrainerCallback):
    """Keeps the training of a Trainer in a run folder. One `with` is one call of `trainer.train()`."""

    def __init__(
        self,
        trainer: Trainer,
        folder: Path,
        *,
        identity: Identity,
        stop: StopFlag,
        state: Mapping[str, Holder] | None = None,
        **options: Any,
    ) -> None:
        """Describe the run; nothing is touched before `with`, and the folder not before the training begins.

        Args:
            trainer: What trains: one process, with at most one GPU.
            folder: As for `Run`.
            identity: As for `Run`.
            stop: As for `Run`.
            state: What else changes from step to step, such as the objects of your own callbacks. The model, the
                optimizer, the schedule, the scaler, the Trainer's own counters and losses, the order of the data and
                callbacks that are `ExportableState` (EarlyStoppingCallback is) are known.
            options: More arguments of `Run`, such as `every`.

        Raises:
            UnbrokenError: The trainer is set up in a way that cannot be exact.
        """
        check_trainer(trainer)
        self.trainer = trainer
        self.run: Run | None = None
        """Once the training has begun."""
        self._new_run = lambda state: Run(folder, identity=identity, stop=stop, state=state, **options)
        self._more = dict(state or {})
        self._patches = Patches()
        self._resumed: tuple[dict[str, Any], dict[str, Any]] | None = None
        self._in_step = self._is_complete = False

    def __enter__(self) -> UnbrokenCallback:
        """Take part in the next training."""
        self._progress = TrainerProgress(self.trainer, self)
        self.trainer.callback_handler.callbacks.insert(0, self)
        replace = self._patches.replace
        replace(self.trainer, "get_train_dataloader", self._get_train_dataloader)
        replace(self.trainer, "get_eval_dataloader", self._get_eval_dataloader)
        replace(self.trainer, "_init_training_state", self._init_training_state)
        replace(self.trainer, "_load_rng_state", lambda _checkpoint: None)
        replace(self.trainer, "_run_epoch", self._run_epoch)
        replace(trainer_module, "skip_first_batches", self._skip_first_batches)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._patches.undo()
        self.trainer.callback_handler.callbacks.remove(self)
        if self.run is not None:
            self.run.__exit__(kind, error, trace)

    def _get_train_dataloader(self) -> ReplayedLoader:
        loader = self._patches.original("get_train_dataloader")()
        self._loader = ReplayedLoader(loader, self.trainer.args.gradient_accumulation_steps)
        return self._loader

    def _get_eval_dataloader(self, *dataset: Any) -> ReplayedLoader:
        # Its workers, too, are shielded, and made anew: those that live on would not draw a seed each time.
        return ReplayedLoader(self._patches.original("get_eval_dataloader")(*dataset))

    def _init_training_state(
        self, max_steps: int, steps_per_epoch: int, epochs: int, resume_from_checkpoint: object, trial: object
    ) -> tuple[object, int]:
        if resume_from_checkpoint is not None or trial is not None or self.run is not None:
            raise UnbrokenError(
                "A run of unbroken goes on by itself, found `resume_from_checkpoint`, a search of hyperparameters or a "
                "second training in one `with`. Next: call `trainer.train()` once, without arguments."
            )
        self._patches.original("_init_training_state")(max_steps, steps_per_epoch, epochs, None, None)
        return _FirstEpoch(self._progress), 0

    def on_train_begin(self, *_: Any, **__: Any) -> None:
        """Go back to where the run was stopped."""
        run = self._new_run(self._state())
        run.__enter__()
        self.run = run
        if self._progress.is_restored:
            self._progress.check_step(run.step)
            # What begins an epoch, or the training, is done once more; the first step undoes it.
            self._resumed = self._progress.state_dict(), get_global_state()

    def _state(self) -> dict[str, Holder]:
        trainer = self.trainer
        scaler = getattr(trainer.accelerator, "scaler", None)
        known: dict[str, Any] = {
            "model": trainer.model,
            "optimizer": getattr(trainer.optimizer, "optimizer", trainer.optimizer),
            "schedule": trainer.lr_scheduler,
            "trainer": self._progress,
            "loader": self._loader,
        }
        return {**known, **({} if scaler is None else {"scaler": scaler}), **self._more}

    def _run_epoch(self, **arguments: Any) -> None:
        if self._resumed is not None:
            arguments["resume_from_checkpoint"] = _RESUMED
            arguments["epochs_trained"] = arguments["epoch"]
            arguments["steps_trained_in_current_epoch"] = self._loader.used
        else:
            self._progress.begin_epoch(arguments["epoch"])
        self._patches.original("_run_epoch")(**arguments)

    def _skip_first_batches(self, loader: Any, batches: int = 0) -> Any:
        return loader if loader is self._loader else self._patches.original("skip_first_batches")(loader, batches)

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """End the step before, which may save it or stop here, and begin the next.

        Raises:
            Preempted: A stop was asked for, and the state is saved (exit code 75).
        """
        run = self._entered_run
        if self._resumed is not None:
            self._progress.load_state_dict(self._resumed[0])
            set_global_state(self._resumed[1])
            self._resumed = None
        if self._in_step and not self._is_complete:
            return  # a stream ended inside an accumulation, which goes on with its next pass
        self._end_step()
        run.begin_step()
        self._in_step, self._is_complete = True, False

    @property
    def _entered_run(self) -> Run:
        assert self.run is not None
        return self.run

    def on_substep_end(self, *_: Any, **__: Any) -> None:
        """A batch was used, and more belong to the step."""
        self._loader.used += 1

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """The last batch of a step was used."""
        self._loader.used += 1
        self._is_complete = True

    def _end_step(self, is_last: bool = False) -> None:
        if self._in_step:
            self._in_step = False
            self._entered_run.end_step(is_last)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """What the Trainer logs is in the journal, but for what a clock says."""
        if self._in_step:
            self._entered_run.log(**list_results(logs or {}))

    def on_train_end(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """The last step is final.

        Raises:
            Preempted: The training ended early while a stop was asked for, which may have been the cause.
            StorageError: The final save failed.
        """
        if self._in_step and state.global_step < state.max_steps:
            self._entered_run.obey_stop_in_step()
        self._progress.has_ended = True
        self._end_step(is_last=True)
        self._entered_run.finish()


class _FirstEpoch:
    """Where the Trainer's `range` of epochs begins: known once the run is restored, which is before it asks."""

    def __init__(self, progress: TrainerProgress) -> None:
        self._progress = progress

    def __index__(self) -> int:
        return sys.maxsize if self._progress.has_ended else self._progress.epoch

    def __eq__(self, other: object) -> bool:
        return other == self._progress.epoch

    __hash__ = None  # type: ignore[assignment]
