"""Where a fit of Lightning stands: what the Trainer, its loops and its callbacks keep in themselves."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

from unbroken.errors import UnbrokenError
from unbroken.integrations.lightning_metrics import MetricStates
from unbroken.integrations.replayed_loader import ReplayedLoader

_LOGGED = ("_callback_metrics", "_logged_metrics", "_progress_bar_metrics")
_ADDED = ("state_dict", "epoch", "global_step")


def check_fit(trainer: Any) -> None:
    """Refuse at the start what cannot be exact.

    Raises:
        UnbrokenError: An option of the trainer, which is named.
    """
    for found, instead in _list_refused(trainer):
        raise UnbrokenError(f"This Trainer cannot be resumed exactly with {found}. Next: {instead}.")


def _list_refused(trainer: Any) -> Iterator[tuple[str, str]]:
    if trainer.world_size > 1:
        yield f"{trainer.world_size} processes", "Trainer(devices=1, num_nodes=1)"
    if trainer.ckpt_path is not None:
        yield "a checkpoint of its own (`ckpt_path`)", "call `fit` without it; the run goes on by itself"
    if trainer._val_check_time_interval is not None:
        yield "validation by the clock", "count batches in `val_check_interval`"
    for callback in trainer.callbacks:
        name = type(callback).__name__
        if name == "Timer":
            yield "an end by the clock (`max_time`, Timer)", "set `max_epochs`"
        if name == "ModelCheckpoint" and callback.dirpath is None:
            yield (
                "a ModelCheckpoint without `dirpath`, which writes to another folder at each start",
                "ModelCheckpoint(dirpath=…), or Trainer(enable_checkpointing=False)",
            )


def has_reached_limit(trainer: Any) -> bool:
    """Has the fit made all the epochs or steps that it was asked for?"""
    done = (trainer.fit_loop.epoch_progress.current.processed, trainer.global_step)
    return any(limit not in (-1, None) and at >= limit for at, limit in zip(done, _limits(trainer), strict=True))


def _limits(trainer: Any) -> tuple[int | None, int]:
    return trainer.max_epochs, trainer.max_steps


class FitProgress:
    """Loops, flags, logged values, callbacks, the module's hooks and the loaders, as one state."""

    def __init__(self, trainer: Any, owner: Any) -> None:
        """`owner`: the callback that has no state of its own."""
        self.is_restored = False
        """Does the fit go on, as a checkpoint says?"""
        self._trainer, self._owner = trainer, owner
        self._metrics = MetricStates(trainer)
        self._loaders: list[ReplayedLoader] = []
        self._stored_loaders: list[dict[str, Any]] = []

    def take_loader(self, loader: ReplayedLoader) -> ReplayedLoader:
        """Take a training loader in; the states that were stored go to the first ones, in order."""
        if self._stored_loaders:
            loader.load_state_dict(self._stored_loaders.pop(0))
        elif self._trainer.fit_loop._combined_loader is not None:
            self._loaders.clear()  # the loaders are made anew
        self._loaders.append(loader)
        return loader

    def check_loaders(self) -> None:
        """Whose batches were used can be told.

        Raises:
            UnbrokenError: It cannot.
        """
        if len(self._loaders) > 1 and self._trainer.fit_loop._data_fetcher.length is None:
            raise UnbrokenError(
                f"Of {len(self._loaders)} training loaders one has no length, so Lightning reads them ahead. Next: "
                "give each a `__len__`, or join them into one loader."
            )

    def mark_used(self) -> None:
        """Between two steps: one batch of each loader was taken for the next, and of a stream without length two."""
        completed = self._trainer.fit_loop.epoch_loop.batch_progress.current.completed
        for loader in self._loaders:
            loader.used = completed if len(self._loaders) == 1 else loader.fetched - 1

    def state_dict(self) -> dict[str, Any]:
        """Between two steps, without paths that another start would not have."""
        trainer, logger = self._trainer, self._trainer._logger_connector
        loops = copy.deepcopy(trainer.fit_loop.state_dict())
        loops["state_dict"].pop("combined_loader", None)
        loops["epoch_loop.batch_progress"]["is_last_batch"] = False  # of the batch that is fetched anew
        return {
            "loops": loops,
            "should_stop": trainer.should_stop,
            "loaded_in": trainer.fit_loop._last_train_dl_reload_epoch,
            "logged": {name: dict(getattr(logger, name)) for name in _LOGGED},
            "logging": [logger._first_loop_iter, logger._current_fx],
            "metrics": self._metrics.state_dict(),
            "module": self._read_module(),
            "callbacks": {name: _relocate(c.state_dict(), _folder_of(c), "$") for name, c in self._callbacks()},
            "loaders": self._stored_loaders or [loader.state_dict() for loader in self._loaders],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it into a trainer whose `fit` has not begun: its loops restart there."""
        self._load(state)
        self.is_restored = True
        self._stored_loaders = list(state["loaders"])

    def put_back(self, state: dict[str, Any]) -> None:
        """Undo what a trainer does to itself on the way to the first step after a restart."""
        epoch_loop = self._trainer.fit_loop.epoch_loop
        is_last_batch = epoch_loop.batch_progress.is_last_batch
        self._load(state)
        epoch_loop.batch_progress.is_last_batch = is_last_batch
        self._trainer.fit_loop._combined_loader_states_to_load = []
        for loop in (self._trainer.fit_loop, epoch_loop, epoch_loop.val_loop):
            loop.on_iteration_done()
        for loop in (epoch_loop.automatic_optimization, epoch_loop.manual_optimization):
            loop.on_iteration_done()

    def _load(self, state: dict[str, Any]) -> None:
        trainer, logger = self._trainer, self._trainer._logger_connector
        trainer.fit_loop.load_state_dict(copy.deepcopy(state["loops"]))
        trainer.should_stop = state["should_stop"]
        trainer.fit_loop._last_train_dl_reload_epoch = state["loaded_in"]
        for name in _LOGGED:
            setattr(logger, name, dict(state["logged"][name]))
        logger._first_loop_iter, logger._current_fx = state["logging"]
        self._metrics.load_state_dict(state["metrics"])
        if state["module"]:
            trainer.lightning_module.on_load_checkpoint(dict(state["module"]))
        for name, callback in self._callbacks():
            if name in state["callbacks"]:
                callback.load_state_dict(_relocate(copy.deepcopy(state["callbacks"][name]), "$", _folder_of(callback)))

    def _read_module(self) -> dict[str, Any]:
        trainer = self._trainer
        checkpoint = dict.fromkeys(_ADDED)
        checkpoint.update(epoch=trainer.current_epoch, global_step=trainer.global_step)
        checkpoint["state_dict"] = dict(trainer.lightning_module.state_dict())
        trainer.lightning_module.on_save_checkpoint(checkpoint)
        return {name: value for name, value in checkpoint.items() if name not in _ADDED}

    def _callbacks(self) -> Iterator[tuple[str, Any]]:
        callbacks = [callback for callback in self._trainer.callbacks if callback is not self._owner]
        for number, callback in enumerate(callbacks):
            if callback.state_dict():
                yield f"{number}-{type(callback).__name__}", callback


def _folder_of(callback: Any) -> str:
    return str(getattr(callback, "dirpath", None) or "$")


def _relocate(value: Any, old: str, new: str) -> Any:
    """The value with `new` instead of `old` where a text, also as a key, begins with that folder."""
    if isinstance(value, str):
        return new + value.removeprefix(old) if value == old or value.startswith(f"{old}/") else value
    if isinstance(value, dict):
        return {_relocate(key, old, new): _relocate(item, old, new) for key, item in value.items()}
    if isinstance(value, list):
        return [_relocate(item, old, new) for item in value]
    return value
