"""Epochs: a resume inside of one draws the same batches, and what a program does between two is done once."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Sized
from contextlib import closing
from numbers import Number
from typing import Any, TypeVar, cast

from unbroken.arguments import check_count
from unbroken.errors import UnbrokenError
from unbroken.loop.generators import begin_iteration, check_samplers, read_generators, repeat_iteration
from unbroken.loop.stepping import StepLoop

T = TypeVar("T")
_NOTHING = itertools.repeat(None)
"""What `steps` has for each step: the program draws its batches itself."""


class EpochLoop(StepLoop):
    """Adds loops over epochs. What is known of the present one is stored with the state."""

    def epochs(self, number: int, batches: int | Sized) -> Generator[Epoch]:
        """The epochs that are left of `number`, each of `batches` steps (or as many as a loader has batches).

        The last step of an epoch ends where the epoch ends: what the program does after its batches (validation,
        `scheduler.step()`, `run.log`, `run.pin`) belongs to that step, is in its checkpoint, and is neither lost nor
        done twice by a resume. Inside an epoch, what it does before the batches is undone on a resume, since the
        checkpoint has it. `break` out of the batches ends the epoch; out of the epochs, the run. At the end the
        last step is durable and final.

        Raises:
            ArgumentError: These are no numbers of epochs and batches.
            UnbrokenError: The checkpoint lies inside an epoch, and does not say how that began; the processes have
                epochs of different lengths; or `batches` have no length, or draw from a generator that is not in
                `state`.
            Preempted: A stop was asked for, and the state is saved (exit code 75).
            StorageError: The final save, or that of a stop, failed.
        """
        advice = "run.epochs(3, loader), or the number of its batches"
        number = check_count(number, "the number of epochs", 0, advice)
        size = batches if isinstance(batches, Number) else _count_batches(cast(Sized, batches))
        size = check_count(size, "the number of batches of an epoch", 1, advice)
        check_samplers(batches, self._state)
        plan = f"asks for {number} epochs of {size} batches"
        if not self._enter_loop(plan, number * size, self._read_epoch(size)["number"] > number):
            return
        while self._read_epoch(size)["number"] < number:
            self._obey_stop(f"begins epoch {self._read_epoch(size)['number']} after step {self.step}")
            self._is_left_between = True  # `break` closes no generator that a variable holds, so it is said beforehand
            try:
                yield Epoch(self, size)
            except GeneratorExit:  # `break`, or an exception in the loop
                self._leave_epochs()
                return
            self._is_left_between = False
            self._end_epoch()
        self._save_final()

    def _read_epoch(self, size: int) -> dict[str, Any]:
        if self._state.epoch is None:
            if self.step % size:
                raise UnbrokenError(
                    f"Step {self.step} lies inside an epoch of {size} steps, and its checkpoint does not say how that "
                    f"epoch began: the steps before were not those of run.epochs. Next: go on with run.steps up to a "
                    f"multiple of {size}, or begin in another folder."
                )
            self._state.epoch = {"number": self.step // size, "first": self.step}
        return self._state.epoch

    def _begin_batches(self, loader: object) -> dict[str, Any]:
        if self._record is not None:
            raise self._unended_step("The batches of an epoch were asked for")
        epoch = self._state.epoch or {}
        if "generators" in epoch:  # a resume inside of it
            self._replays = True
            self._end_replay()
        else:
            self._state.epoch = {**epoch, "generators": read_generators(self._state, loader)}
        return self._state.epoch or {}

    def _end_left_loop(self) -> None:
        if self._record is not None and not self._is_left and "generators" in (self._state.epoch or {}):
            self._advance_epoch()  # the program leaves `with` from inside an epoch, as by sys.exit(0)
        super()._end_left_loop()

    def _leave_epochs(self) -> None:
        self._is_left = True
        if self._record is not None:
            self._advance_epoch()

    def _end_epoch(self) -> None:
        if self._record is not None:
            self._advance_epoch()
            self._finish_step(self._loop_total)
        else:
            self._advance_epoch()

    def _advance_epoch(self) -> None:
        epoch = self._state.epoch or {}
        first = self.step + (self._record is not None)
        self._state.epoch = {"number": epoch["number"] + 1, "first": first}


def _count_batches(batches: Sized) -> int:
    try:
        return len(batches)
    except TypeError as error:  # such as of a DataLoader over an IterableDataset
        raise UnbrokenError(
            f"run.epochs was given a {type(batches).__name__} without a length ({error}), expected one that says how "
            "many batches an epoch has. Next: call run.epochs(number, batches) with that number; if nobody knows it, "
            "take `for step, batch in run.batches(stream)`, with the position of the stream in `state`."
        ) from None


class Epoch:
    """One epoch of a run."""

    def __init__(self, loop: EpochLoop, size: int) -> None:
        """`size`: how many steps it has."""
        self.number: int = loop._read_epoch(size)["number"]
        """From 0, as `set_epoch` of samplers counts."""
        self._loop, self._size = loop, size

    def steps(self) -> Iterator[int]:
        """The steps of this epoch that are left; they count on from epoch to epoch."""
        with closing(self.batches(_NOTHING)) as pairs:
            for step, _ in pairs:
                yield step

    def batches(self, loader: Iterable[T]) -> Generator[tuple[int, T]]:
        """Each step of this epoch that is left, with its batch: the same one in a run that was interrupted.

        After a resume the loader is iterated as at the epoch's start, with the generators of then, and the batches that
        were trained are drawn and dropped. So shuffling and augmentation may draw from the global generators, from
        those of the workers, and from generators in `state`; a sampler or data set that stands there itself, with a
        `state_dict`, goes back too. Other positions that the loader, the sampler or the data set keep are not known
        here. Persistent workers are started anew in each epoch.

        Raises:
            UnbrokenError: It has fewer batches than were said, or draws from a generator that is not in `state`.
            Preempted: A stop was asked for, and the state is saved (exit code 75).
        """
        loop, epoch = self._loop, self._loop._begin_batches(loader)
        last = epoch["first"] + self._size
        items: Iterator[T] | None = None
        while loop.step < last:
            loop._begin_step(in_loop=True, draws_again=loader is not _NOTHING)
            try:
                if items is None:
                    items = self._iterate(loader, epoch, loop.step - epoch["first"])
                item = next(items)
            except StopIteration:
                loop._cancel_step()
                raise self._too_few(loop.step - epoch["first"]) from None
            except BaseException:
                loop._cancel_step()
                raise
            yield loop.step + 1, item  # after `break` the step is ended with the epoch
            if loop.step + 1 == last:
                return  # so is the last one
            loop._finish_step(loop._loop_total)

    def _iterate(self, loader: Iterable[T], epoch: dict[str, Any], passed: int) -> Iterator[T]:
        if passed:
            return repeat_iteration(loader, self._loop._state, epoch["generators"], passed)
        return begin_iteration(loader, self._loop._state)

    def _too_few(self, had: int) -> UnbrokenError:
        return UnbrokenError(
            f"The loader ended after {had} batches of epoch {self.number}, expected {self._size}. Next: say how many "
            "batches an epoch has, with `run.epochs(number, len(loader))`."
        )
