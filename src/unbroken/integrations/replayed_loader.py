"""A data loader that goes on inside an epoch, with the batches that it would have given.

No loader can be put to its k-th batch: its order is drawn when an epoch begins, its workers draw as they go, and it
reads ahead. So an epoch that was interrupted is begun again with the generators of its beginning, and the batches that
were used are read once more and thrown away.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from unbroken.errors import UnbrokenError
from unbroken.exact.randomness import get_global_state, set_global_state
from unbroken.integrations.owned_state import read_owned_state, write_owned_state
from unbroken.loop.generators import check_order
from unbroken.preemption import shield_worker


class ReplayedLoader:
    """Any loader that gives the same batches from the same generators; its position is a state."""

    def __init__(self, loader: Any, in_flight: int = 1) -> None:
        """Wrap a loader; all else that is asked of this object is asked of the loader.

        Args:
            loader: A DataLoader, or what a library has made of one. Its workers are shielded from signals, and made
                anew in each epoch: those that live on have generators which nobody can read.
            in_flight: Batches at most that were taken from the loader and not trained on when the state is read.
        """
        self.loader = loader
        self.used = 0
        """Batches of this epoch that the state between two steps has seen: set by whoever owns the loop."""
        self.passes = 0
        """How many epochs were begun."""
        self._base = _find_base(loader)
        ahead = getattr(self._base, "num_workers", 0) * (getattr(self._base, "prefetch_factor", None) or 0)
        self._fetched = 0
        self._owned: dict[str, Any] = {}
        self._ended: dict[str, Any] | None = None
        self._begin: dict[str, Any] | None = None
        self._first: dict[str, Any] | None = None
        self._latest: deque[dict[str, Any]] = deque(maxlen=in_flight + 2 + ahead)
        self._resumes = False
        self._batches: Iterator[Any] = iter(())

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # being copied or unpickled
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return len(self.loader)

    @property
    def worker_init_fn(self) -> Any:
        """That of the loader, which a library may set after it was wrapped."""
        return self._base.worker_init_fn

    @worker_init_fn.setter
    def worker_init_fn(self, init: Callable[[int], None] | None) -> None:
        self._base.worker_init_fn = init

    @property
    def fetched(self) -> int:
        """Batches of this epoch that were taken from the loader."""
        return self._fetched

    def __iter__(self) -> Iterator[Any]:
        """The batches of an epoch; those that are left of it, once, after a resume.

        Raises:
            UnbrokenError: The epoch is shorter than it was.
        """
        self._prepare_workers()
        resumes, self._resumes = self._resumes, False
        if resumes:
            return self._fetch_rest(self._replay())
        self._begin_epoch()
        return self._fetch_rest([])

    def _prepare_workers(self) -> None:
        if not getattr(self._base, "num_workers", 0):
            return
        check_order(self._base)
        if self._base.persistent_workers:
            self._base._iterator = None
        if not isinstance(self._base.worker_init_fn, ShieldedWorker):
            self._base.worker_init_fn = ShieldedWorker(self._base.worker_init_fn)

    def _begin_epoch(self) -> None:
        self.passes += 1
        self.used = self._fetched = 0
        self._latest.clear()
        self._first = self._ended = None
        self._begin, self._owned = get_global_state(), read_owned_state(self.loader)
        self._batches = iter(self.loader)

    def _replay(self) -> list[Any]:
        """Read what was read before. Returns the batches that were not used; the global generators are left alone."""
        now = get_global_state()
        assert self._begin is not None
        write_owned_state(self.loader, self._owned)
        set_global_state(self._begin)
        self._batches = iter(self.loader)
        unused = [batch for number, batch in enumerate(self._fetch_again()) if number >= self.used]
        set_global_state(now)
        return unused

    def _fetch_again(self) -> Iterator[Any]:
        # What is fetched early, by workers or one batch ahead, is drawn between the steps of the model.
        known = dict(enumerate(self._latest, self._fetched - len(self._latest)))
        for number in range(self._fetched):
            before = self._first if number == 0 else known.get(number)
            if before is not None:
                set_global_state(before)
            try:
                yield next(self._batches)
            except StopIteration:
                raise UnbrokenError(
                    f"The data loader ended after {number} batches, of which this epoch has used {self._fetched} "
                    "already. Next: use the data that the run was started with."
                ) from None

    def _fetch_rest(self, unused: list[Any]) -> Iterator[Any]:
        yield from unused
        while True:
            before = get_global_state()
            try:
                batch = next(self._batches)
            except StopIteration:
                self._ended = read_owned_state(self.loader)
                return
            self._first = self._first or before
            self._latest.append(before)
            self._fetched += 1
            yield batch

    def state_dict(self) -> dict[str, Any]:
        """Where the epoch stands, and how it began."""
        return {
            "passes": self.passes,
            "used": self.used,
            "fetched": self._fetched,
            "begin": self._begin,
            "owned": self._owned,
            "ended": self._ended,
            "first": self._first,
            "latest": list(self._latest),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The next epoch that is asked for is the rest of this one."""
        self.passes, self.used, self._fetched = state["passes"], state["used"], state["fetched"]
        self._begin, self._first, self._owned = state["begin"], state["first"], state["owned"]
        self._latest.clear()
        self._latest.extend(state["latest"])
        self._ended = state["ended"]
        is_whole = self._ended is not None and self.used == self._fetched
        self._resumes = self._begin is not None and not is_whole
        if is_whole:
            write_owned_state(self.loader, self._ended or {})


class ShieldedWorker:
    """A `worker_init_fn` that shields the worker from signals, and then does what the user's own does."""

    draws_again = True
    """For `unbroken.loop.positions`: its workers draw again what they had drawn when the epoch was interrupted."""

    def __init__(self, init: Callable[[int], None] | None) -> None:
        """`init`: the user's own, or None."""
        self._init = init

    def __call__(self, worker_id: int) -> None:
        shield_worker(worker_id)
        if self._init is not None:
            self._init(worker_id)


def _find_base(loader: Any) -> Any:
    while "base_dataloader" in getattr(loader, "__dict__", {}):
        loader = loader.base_dataloader
    return loader
