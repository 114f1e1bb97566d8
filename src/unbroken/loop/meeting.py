"""Where all processes of a run meet, and how they leave it together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from unbroken.checkpoint.gradients import GradientWatch
from unbroken.checkpoint.state import Holder
from unbroken.checkpoint.traits import LiveState
from unbroken.errors import UnbrokenError
from unbroken.exact.group import Group
from unbroken.loop.agreement import Agreement, ApartInStopError, Meeting
from unbroken.loop.opening import OpenFolder
from unbroken.loop.owner import Owner
from unbroken.preemption import EXIT_PREEMPTED, OTHER_RANK, StopFlag
from unbroken.processes.ranks import Ranks
from unbroken.processes.sync import run_on_rank_zero


class MeetingPoints:
    """The part of `Run` that all of its processes go through together; rank 0 alone has the folder open."""

    def __init__(
        self, folder: Path, state: LiveState, stop: StopFlag, group: Group, per_rank: Mapping[str, Holder] | None
    ) -> None:
        """Nothing is touched."""
        self.folder, self.stop = folder, stop
        self.step = 0
        """How many steps are done."""
        self._state, self._group = state, group
        self._gradients = state.gradients = GradientWatch(state, with_modules=group.size == 1)
        self._ranks = Ranks(group, state, per_rank)
        self._agreement = Agreement(group, stop)
        self._owner = Owner()
        self._opened: OpenFolder | None = None
        self._record: dict[str, object] | None = None
        """What the step that is under way has logged; None between two steps."""
        self._resumed: int | None = None
        """The step that this start went on from, once it has."""

    @property
    def last_durable_step(self) -> int:
        """The last step that is safe on disk; 0 before the first checkpoint."""
        return self._opened.saver.last_durable_step if self._opened else 0

    @property
    def _is_follower(self) -> bool:
        return self._group.rank > 0

    @property
    def _folder(self) -> OpenFolder:
        if self._is_follower and self._resumed is not None:
            raise self._not_here()
        if self._opened is None:
            raise UnbrokenError("This Run was not entered. Next: use it in `with Run(…) as run:`.")
        self._owner.check_is_this_process(self.folder)
        return self._opened

    def _not_here(self) -> UnbrokenError:
        return UnbrokenError(
            f"Rank {self._group.rank} was asked for what lies in {self.folder}, which rank 0 alone has open. Next: ask "
            "for it where `group.rank` is 0."
        )

    def obey_stop_in_step(self) -> None:
        """Leave inside a step if a stop was asked for; the next start repeats the steps since the last durable one.

        For whoever owns the loop, where it is left before its end: that may have been meant for the stop.

        Raises:
            Preempted: A stop was asked for (exit code 75).
        """
        where = f"after step {self.step}" if self._record is None else f"in step {self.step + 1}"
        if self._meet(f"left the loop {where}").stops:
            self._leave_unsaved()

    def _meet(self, plan: str, asks: bool = True, **advice: str) -> Meeting:
        """Before anything that needs all ranks; see `Agreement.meet`."""
        try:
            return self._agreement.meet(plan, asks, **advice)
        except ApartInStopError:
            self._leave_unsaved()

    def _leave_unsaved(self) -> NoReturn:
        self.stop.set(OTHER_RANK)
        run_on_rank_zero(self._group, lambda: self._folder.ending.write("preempted", EXIT_PREEMPTED))
        self.stop.leave(f"left after step {self.step} while being stopped; run the same command to go on")

    def _obey_stop(self, plan: str, asks: bool = True) -> None:
        if self._meet(plan, asks).stops:
            self._leave()

    def _leave(self) -> NoReturn:
        self.stop.set(OTHER_RANK)
        self._ranks.gather()
        run_on_rank_zero(self._group, self._save_and_end)
        self.stop.leave(f"stopped by {self.stop.signal} after step {self.step}; run the same command to go on")

    def _save_and_end(self) -> None:
        self._folder.saver.save_for_stop(self.step)
        self._folder.ending.write("preempted", EXIT_PREEMPTED)
