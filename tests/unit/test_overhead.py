"""The benchmark of everything at once: sides take turns, the first round does not count, and the goal is judged."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from benchmarks import overhead


class FakeSide:
    """A side with the seconds of its turns."""

    turns: ClassVar[list[str]] = []
    ended: ClassVar[list[str]] = []

    def __init__(self, kind: str, root: Path, steps: int) -> None:
        self.kind, self.count = kind, 0

    def take_turn(self) -> tuple[float, float]:
        self.turns.append(self.kind)
        self.count += 1
        if self.count == 1:
            return 50.0, 50.0  # a first round that is slow
        return (2.04, 3.0) if self.kind == overhead.EVERYTHING else (2.0, 2.0)

    def end(self) -> None:
        self.ended.append(self.kind)


def test_sides_take_turns_and_the_first_round_does_not_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(overhead, "Side", FakeSide)
    assert overhead.compare(tmp_path, 5, 2) == [(1.02, 1.5)] * 2
    both = [overhead.BARE, overhead.EVERYTHING]
    assert FakeSide.turns == [*both, *reversed(both), *both]
    assert sorted(FakeSide.ended) == both


@pytest.mark.parametrize(("wall", "met"), [(1.02, True), (1.03, False)])
def test_the_goal_is_for_the_median(wall: float, met: bool, capsys: pytest.CaptureFixture[str]) -> None:
    assert overhead.show([(0.9, 1.0), (wall, 1.0), (1.4, 1.0)], 5) is met
    assert f"everything / bare {wall:.3f}" in capsys.readouterr().out


@pytest.mark.slow
def test_everything_is_on(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends with 1 where no dashboard was written."""
    monkeypatch.setattr("sys.argv", ["overhead", "--steps", "10", "--rounds", "1"])
    assert overhead.main() in (0, 3)
    assert "everything / bare" in capsys.readouterr().out
