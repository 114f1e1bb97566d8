"""The steps of a run: each begins, ends, is recorded, and between two of them a stop is obeyed."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing, nullcontext
from pathlib import Path
from typing import TypeVar

from unbroken.arguments import check_count, wrong_argument
from unbroken.checkpoint.state import Holder
from unbroken.checkpoint.traits import LiveState
from unbroken.errors import UnbrokenError
from unbroken.exact.group import Group
from unbroken.exact.randomness import reseeded
from unbroken.loop.generators import check_stream
from unbroken.loop.meeting import MeetingPoints
from unbroken.loop.pins import check_pin_name
from unbroken.loop.positions import PositionWatch
from unbroken.preemption import StopFlag
from unbroken.processes.sync import broadcast_state, run_on_rank_zero
from unbroken.prove.drill import FaultInjector
from unbroken.run_folder.journal import to_numbers
from unbroken.run_numerics import RunNumerics

T = TypeVar("T")
_ALIKE_GRADIENTS = (
    "let an optimizer step in each step of the run, or add the gradients of all ranks, or set them to zero, before the "
    "step ends"
)
_NOTHING = itertools.repeat(None)
"""What `steps` has for each step."""


class StepLoop(MeetingPoints):
    """The part of `Run` that counts steps, whoever writes the loop."""

    _faults: FaultInjector
    _numerics: RunNumerics

    def __init__(
        self,
        folder: Path,
        state: LiveState,
        stop: StopFlag,
        group: Group,
        per_rank: Mapping[str, Holder] | None,
        reseeds: bool,
    ) -> None:
        """`reseeds`: every step starts with global generators that do not depend on what the one before has drawn."""
        super().__init__(folder, state, stop, group, per_rank)
        self._reseeds = reseeds
        self._positions = PositionWatch({**state, **self._ranks.own})
        self._in_loop = self._is_left = False
        """Whether `steps` began that step, and whether its loop was left by `break` since."""
        self._is_left_between = False
        """Whether the program is in an epoch whose first step it has not begun: it may leave the loop there."""
        self._is_unfinished = False
        """Whether there are steps of `end_step` that nobody has made final."""
        self._has_ended = False
        """Whether a loop of this start came to its end, and no step was begun since."""
        self._draws_again = False
        """Whether the batch of the step is of a loader that a resume draws again from where it began."""
        self._pin_names: set[str] = set()
        """Under which the step that is under way is to be kept."""
        self._asked: int | None = None
        self._replays = self._compared = self._has_compared_gradients = False
        """Whether an earlier start has passed the calls that the program makes now; whether ranks were compared, and
        the gradients that they carry over the end of a step."""
        self._loop_total: int | None = None

    @property
    def final(self) -> Path:
        """The folder of the final checkpoint: that of the last step.

        Raises:
            UnbrokenError: The run is not finished, or is past all the steps that were asked for; or this is not rank 0.
        """
        self._owner.check_is_this_process(self.folder)
        if self._is_left and self._group.size == 1:  # of several, one alone may ask
            self._end_left_loop()
        self._check_not_past()
        if self._is_follower and self._resumed is not None:
            raise self._not_here()
        if self._opened is None or self._opened.saver.final_step != self.step:
            raise UnbrokenError(
                f"The run in {self.folder} has no final checkpoint yet: it is at step {self.step}. "
                f"Next: let `for step in run.steps(total)` reach its end, or call `run.finish()`."
            )
        return self._opened.store.path(self.step)

    def _end_ordinarily(self) -> None:
        self._end_left_loop()
        if self._is_unfinished:
            self._obey_stop(f"ends the run after step {self.step}")
            self.finish()
        elif not self._has_ended:
            is_final = not self._is_follower and self._folder.saver.final_step == self.step
            meeting = self._meet(f"leaves the run after step {self.step}", asks=not is_final)
            if meeting.stops and meeting.asked:
                self._leave()  # the program saw that it is to stop, and made no step
        self._check_not_past()

    def _end_left_loop(self) -> None:
        # After `break` the step counts, and is the last. It may have been meant for a stop: then it is repeated.
        if self._record is None and not self._is_left_between:
            return
        self.obey_stop_in_step()
        if self._record is not None and not self._in_loop:
            raise self._unended_step("The run was left")
        self._is_unfinished = self._is_left_between = False
        if self._record is not None:
            self._finish_step(self._loop_total)
        self._ranks.gather(ended=True)
        run_on_rank_zero(self._group, lambda: self._folder.save_early_end(self.step, self._loop_total))
        self._has_ended = True

    def begin_step(self) -> int:
        """Begin a step and return its number, from 1: for a loop that is not yours to write with `steps`.

        A stop that was asked for is obeyed here. `run.step` says how many steps are done, also after a resume.

        Raises:
            Preempted: A stop was asked for, and the state is saved (exit code 75).
            UnbrokenError: The step before has not ended.
            StorageError: The save of the stop failed.
        """
        self._end_step_left_by_break(None)
        if self._record is not None:
            raise self._unended_step("run.begin_step was called")
        self._end_replay()
        self._begin_step(in_loop=False)
        return self.step + 1

    def end_step(self, is_last: bool = False) -> None:
        """End the step that `begin_step` began: it is recorded, and saved if a save is due.

        `is_last`: `finish` is next, with the one save of this step, whose bytes then depend on no schedule and no stop.

        A loop of these has its end where `finish` is called, or where `with` is left without an error: both make the
        last step durable and final, so that no step is lost at exit code 0. If `with` is left while a stop is asked
        for, without `finish`, the last step is saved and the exit code is 75.

        Raises:
            UnbrokenError: No step has begun, or `steps` began it.
        """
        if self._record is None or self._in_loop:
            raise UnbrokenError(
                f"run.end_step was called after step {self.step}, but run.begin_step has begun none. Next: call "
                "run.begin_step() before the work of each step; `for step in run.steps(…)` needs neither."
            )
        self._is_unfinished = True
        self._finish_step(self.step + 1 if is_last else None)

    def finish(self) -> None:
        """Make the current step durable and final, as at the end of `steps(total)`. More steps may follow.

        Raises:
            UnbrokenError: A step is under way.
            StorageError: The disk refused.
        """
        self._owner.check_is_this_process(self.folder)
        if self._is_left:
            self._end_left_loop()
        if self._record is not None:
            raise self._unended_step("run.finish was called")
        if not self._replays:
            self._save_final()

    def _save_final(self) -> None:
        self._is_unfinished = False  # when this fails, leaving `with` says so, and does not try again
        self._meet(f"ends the run after step {self.step}")
        self._ranks.gather(ended=True)
        run_on_rank_zero(self._group, lambda: self._folder.save_final(self.step))
        self._has_ended = True

    def _unended_step(self, what: str) -> UnbrokenError:
        return UnbrokenError(
            f"{what} inside step {self.step + 1}, which has begun and not ended; step {self.last_durable_step} is "
            f"durable. Next: end the step first, with run.end_step() or by leaving the loop of run.steps; if the step "
            f"failed, run the same command again."
        )

    def steps(self, total: int | None = None) -> Iterator[int]:
        """The steps that are left of `total`, counted from 1. Between two of them it saves, and leaves on a stop.

        At its end, step `total` is durable and final; after `break`, the step in which it was left, once the run is
        left without an error or exported. It may be called again with a larger total, such as once for
        each epoch. After a resume, the calls whose steps an earlier start has passed give no step, and what the
        program does to the state between them is undone: an earlier start has done that too.

        Without a total it has no end but `break`; `batches` ends with a stream.

        Raises:
            Preempted: A stop was asked for, and the state is saved (exit code 75).
            StorageError: The final save, or that of a stop, failed.
        """
        with closing(self.batches(_NOTHING, total)) as pairs:
            for step, _ in pairs:
                yield step

    def batches(self, source: Iterable[T], total: int | None = None) -> Generator[tuple[int, T]]:
        """As `steps`, with what `source` gives for each step. Where it ends before `total`, the run ends.

        It is asked inside the step, so that a checkpoint has the position after the step's own batch: that position is
        part of `state`. (`zip(stream, run.steps())` asks too early, and `zip(run.steps(), stream)` begins a step more.)
        A stream that keeps no position there has to begin, in each start, with the batch of step `run.step + 1`.

        Raises:
            ArgumentError: `total` is no number of steps, or `source` gives nothing.
            UnbrokenError: `source` is a DataLoader that shuffles, and nobody keeps its position; or its workers move
                a position that stands in `state`.
            Preempted: A stop was asked for, and the state is saved (exit code 75).
            StorageError: The final save, or that of a stop, failed.
        """
        if total is not None:
            total = check_count(total, "the number of steps", 0, "run.steps(1000); without a number it ends by `break`")
        if not hasattr(type(source), "__iter__"):
            raise wrong_argument("the source of run.batches", source, "what gives batches", "run.batches(loader)")
        check_stream(source, self._state)
        goal = "steps without a number" if total is None else f"{total} steps"
        if not self._enter_loop(f"asks for {goal}", total, total is not None and self.step > total):
            return
        items = self._positions.draw_batches(source)
        while total is None or self.step < total:
            self._begin_step(in_loop=True)
            try:
                item = next(items)
            except StopIteration:
                self._cancel_step()
                self._meet_in_stream(f"has no batch left after step {self.step}", has_ended=True)
                break
            except BaseException:
                self._cancel_step()
                raise
            if source is not _NOTHING:
                self._meet_in_stream(f"has a batch for step {self.step + 1}", has_ended=False)
            try:
                yield self.step + 1, item
            except GeneratorExit:  # `break`, or an exception in the loop
                self._is_left = True
                return
            self._finish_step(total)
        self._save_final()

    def _meet_in_stream(self, plan: str, has_ended: bool) -> None:
        advice = f"give every rank as many batches, or ask for {self.step} steps: run.batches(stream, {self.step})"
        self._meet(plan, asks=has_ended, advice=advice)

    def _enter_loop(self, plan: str, total: int | None, is_passed: bool) -> bool:
        """Begin the loop for this number of steps; False when an earlier start has passed it, or was left in it."""
        self._owner.check_is_this_process(self.folder)
        self._end_step_left_by_break(total)
        if self._record is not None:
            raise self._unended_step("run.steps was called")
        self._meet(plan)
        if total is not None:
            self._asked = max(total, self._asked or 0)
        self._loop_total = None if total is None else self._asked
        was_left = self._group.any_rank(not self._is_follower and self._folder.ending.meets_early_end(self.step, total))
        if is_passed:
            self._replays = self.step == self._resumed
            return False
        self._end_replay()
        return not was_left

    def _end_step_left_by_break(self, total: int | None) -> None:
        if self._is_left and self._record is not None:
            self._finish_step(total)

    def _begin_step(self, in_loop: bool, draws_again: bool = False) -> None:
        self._owner.check_is_this_process(self.folder)
        self._obey_stop(f"begins step {self.step + 1}", asks=False)
        self._record, self._in_loop, self._draws_again = {}, in_loop, draws_again
        self._is_left = self._is_left_between = self._has_ended = False
        self._step_context = reseeded() if self._reseeds else nullcontext()
        self._step_context.__enter__()
        self._faults.fire("step", self.step + 1)

    def _cancel_step(self) -> None:
        """There was nothing to do in the step that has begun."""
        self._record, self._in_loop, self._pin_names = None, False, set()

    def _end_replay(self) -> None:
        if self._replays:
            self._meet(f"goes back to step {self.step}")
            self._replays = False
            run_on_rank_zero(self._group, lambda: self._folder.restore_again(self.step))
            broadcast_state(self._group, self.step, self._state)
            self._ranks.put_back()

    def _check_not_past(self) -> None:
        if self._asked is not None and self.step > self._asked:
            raise UnbrokenError(
                f"The run in {self.folder} is at step {self.step} already, past the {self._asked} steps asked for. "
                f"Next: ask for {self.step} or more, or use another folder."
            )

    def log(self, **values: object) -> None:
        """Add numbers to the record of the current step; a name given twice keeps the later value.

        Raises:
            ValueError: A value is not a number, a scalar tensor, a boolean or None.
        """
        if self._record is None:
            raise UnbrokenError(
                "run.log was called outside a step. Next: log inside `for step in run.steps(…)`, "
                "or between run.begin_step() and run.end_step()."
            )
        self._owner.check_is_this_process(self.folder)
        self._record.update(to_numbers(values))

    def pin(self, name: str) -> None:
        """Keep the state after this step under a name, such as "best", until the name is given to a later step.

        Inside a step, that step is pinned when it ends; after one, the state as it is now. Rotation spares what is
        pinned. The loop waits until it is durable. Every rank calls it. After a resume the name is that of the step
        which had it then.

        Raises:
            UnbrokenError: The name cannot be one of a folder, or no step was done.
            StorageError: The disk refused; the pin before is intact.
        """
        check_pin_name(name)
        self._owner.check_is_this_process(self.folder)
        if self._record is not None:
            self._pin_names.add(name)
        elif not self.step:
            raise UnbrokenError("run.pin was called before the first step. Next: call it in a step, or after one.")
        elif not self._replays:  # else an earlier start has
            self._meet(f"pins {name!r} after step {self.step}")
            self._ranks.gather(ended=True)
            run_on_rank_zero(self._group, lambda: self._folder.pin_step(self.step, {name}))

    def pinned(self, name: str) -> Path | None:
        """The checkpoint folder of the step that has this name; None when none has. Rank 0 alone may ask."""
        step = self._folder.pins.find_step(name, self.step)
        return None if step is None else self._folder.pins.path(name, step)

    def _check_ranks_agree(self) -> None:
        # Once in each start: drift is caused by the program, and shows after its first step.
        if not self._compared:
            self._compared = True
            self._ranks.check_agreement(self.step)

    def _finish_step(self, total: int | None) -> None:
        self._owner.check_is_this_process(self.folder)
        self._step_context.__exit__(None, None, None)
        self._faults.fire("end", self.step + 1)
        if not self._draws_again:
            self._positions.end_step(self.step + 1)
        record, self._record = self._record or {}, None
        pins, self._pin_names = self._pin_names, set()
        self._in_loop = self._is_left = False
        # Otherwise the next thing is to leave, with a save of its own.
        saves = (total is None or self.step + 1 < total) and not self.stop.is_set()
        self._end_step_of_gradients()
        needs_all = self._meet_at_end_of_step(saves, pins)
        changes = self._numerics.look_again(self.step, self._group)
        self.step += 1
        if needs_all:
            self._ranks.gather()
        if not self._is_follower:
            self._folder.report_numerics(self.step - 1, changes)
            self._folder.record_step(self.step, record, saves, pins)
        self._check_ranks_agree()

    def _end_step_of_gradients(self) -> None:
        # Once in each start, as `_check_ranks_agree`: rank 0 stores its own for all.
        if self._gradients.end_step() and self._group.size > 1 and not self._has_compared_gradients:
            self._has_compared_gradients = True
            plan = (
                f"ends step {self.step + 1} with the gradients {self._gradients.digest()[:12]}, which it has not used"
            )
            self._meet(plan, advice=_ALIKE_GRADIENTS)

    def _meet_at_end_of_step(self, saves: bool, pins: set[str]) -> bool:
        """Meet if the end of the step needs all ranks; returns whether it needs what each has of its own."""
        if not (pins or self._ranks.differ or not self._compared):
            return False
        is_needed = not self._is_follower and self._folder.needs_state(self.step + 1, saves, pins)
        what = f"pins {', '.join(sorted(pins))} in" if pins else "ends"
        return self._meet(f"{what} step {self.step + 1}", asks=is_needed or bool(pins)).asked
