"""Where a Trainer of transformers stands: what it keeps in itself and in none of its parts."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from transformers import Trainer, TrainerCallback
from transformers.trainer_callback import ExportableState

from unbroken.errors import UnbrokenError

_STATE = ("global_step", "epoch", "total_flos", "num_input_tokens_seen", "best_metric", "best_global_step")
_TRAINER = {"loss_sum": "_total_loss_scalar", "logged_step": "_globalstep_last_logged", "flos": "current_flos"}
_PRIVATE = ("_init_training_state", "_run_epoch", "_load_rng_state")
_CLOCK = re.compile(r"(^|_)(runtime|(samples|steps|tokens)_per_second|model_preparation_time)$|_mem_")


def list_results(logs: Mapping[str, Any]) -> dict[str, Any]:
    """The numbers among what a Trainer logs, without those that a clock or the memory of this machine says."""
    return {
        name: value
        for name, value in logs.items()
        if isinstance(value, int | float | torch.Tensor) and not _CLOCK.search(name)
    }


def check_trainer(trainer: Trainer) -> None:
    """Refuse at the start what cannot be exact.

    Raises:
        UnbrokenError: An option, or the version of transformers, which is named.
    """
    missing = [name for name in _PRIVATE if not hasattr(trainer, name)]
    if missing:
        raise UnbrokenError(
            f"This version of transformers has no Trainer.{missing[0]}, on which the callback relies. Next: "
            "pip install 'unbroken[transformers]'."
        )
    for found, instead in _list_refused(trainer):
        raise UnbrokenError(f"The Trainer cannot be resumed exactly with {found}. Next: {instead}.")


def _list_refused(trainer: Trainer) -> Iterator[tuple[str, str]]:
    args = trainer.args
    if args.world_size > 1 or args.n_gpu > 1:
        yield (
            f"{args.world_size} processes and {args.n_gpu} GPUs in each",
            "start one process, and show it one GPU with CUDA_VISIBLE_DEVICES=0",
        )
    if trainer.is_deepspeed_enabled or trainer.is_fsdp_enabled:
        yield "DeepSpeed or FSDP", "train the model in one process without them"
    if args.ignore_data_skip:
        yield "ignore_data_skip=True", "leave it out; skipping reads the data of this epoch once more"
    if args.auto_find_batch_size:
        yield "auto_find_batch_size=True", "leave it out, and set per_device_train_batch_size"
    if getattr(args, "enable_jit_checkpoint", False):
        yield "enable_jit_checkpoint=True", "leave it out; a stop saves the run anyway"


class TrainerProgress:
    """The Trainer's counters, losses and history, and the states of its callbacks."""

    def __init__(self, trainer: Trainer, owner: TrainerCallback) -> None:
        """`owner`: the callback that has no state of its own."""
        self.epoch = 0
        """Number of the epoch, from 0."""
        self.has_ended = False
        """Is this the end of the training?"""
        self.is_restored = False
        """Does the training go on, as a checkpoint says?"""
        self._trainer, self._owner = trainer, owner

    def begin_epoch(self, epoch: int) -> None:
        """The epoch of the next step."""
        self.epoch = epoch

    def check_step(self, step: int) -> None:
        """The Trainer and the run count alike.

        Raises:
            UnbrokenError: They do not.
        """
        if self._trainer.state.global_step != step:
            raise UnbrokenError(
                f"The Trainer is at step {self._trainer.state.global_step}, and the run at step {step}. Next: start in "
                "another folder."
            )

    def state_dict(self) -> dict[str, Any]:
        """Without clocks, and without the name of the output folder."""
        trainer = self._trainer
        return {
            **{name: getattr(trainer.state, name) for name in _STATE},
            **{name: getattr(trainer, attribute) for name, attribute in _TRAINER.items()},
            "epoch_number": self.epoch,
            "has_ended": self.has_ended,
            "loss": trainer._tr_loss,
            "history": [list_results(entry) for entry in trainer.state.log_history],
            "best_checkpoint": self._relative_best(),
            "callbacks": {name: callback.state()["attributes"] for name, callback in self._callbacks()},
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Put it into the Trainer, which has just begun to train."""
        trainer, self.is_restored = self._trainer, True
        for name in _STATE:
            setattr(trainer.state, name, state[name])
        for name, attribute in _TRAINER.items():
            setattr(trainer, attribute, state[name])
        self.epoch, self.has_ended = state["epoch_number"], state["has_ended"]
        trainer._initial_global_step = 0  # the mean loss at the end is that of all steps
        trainer._tr_loss = state["loss"].clone().to(trainer.args.device)
        trainer.state.log_history = [dict(entry) for entry in state["history"]]
        best = state["best_checkpoint"]
        trainer.state.best_model_checkpoint = None if best is None else os.path.join(str(trainer.args.output_dir), best)
        for name, callback in self._callbacks():
            for attribute, value in state["callbacks"].get(name, {}).items():
                setattr(callback, attribute, value)

    def _relative_best(self) -> str | None:
        best = self._trainer.state.best_model_checkpoint
        return None if best is None else os.path.relpath(best, self._trainer.args.output_dir)

    def _callbacks(self) -> Iterator[tuple[str, Any]]:
        callbacks = [callback for callback in self._trainer.callback_handler.callbacks if callback is not self._owner]
        for number, callback in enumerate(callbacks):
            if isinstance(callback, ExportableState):
                yield f"{number}-{type(callback).__name__}", callback
