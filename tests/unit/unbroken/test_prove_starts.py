"""How `prove` starts a program: where it interrupts it, how long it waits, and what launchers make of it."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.proofs import TOY, certify, forked
from unbroken.errors import UnbrokenError
from unbroken.prove.drill import PHASES, Interruption
from unbroken.prove.proof import ProofPlan, _Proof, choose_interruptions
from unbroken.prove.runs import OverdueError, Program, run_logged

pytestmark = pytest.mark.usefixtures("uninterrupted")  # it has imported all that a fork would import again


class TestTheTimeLimit:
    SLEEPS = ("sh", "-c", "sleep 300 & echo $!; wait")

    def test_all_that_was_started_is_killed(self, tmp_path: Path) -> None:
        with pytest.raises(OverdueError, match=r"took longer than 0\.5 s, expected less, and was killed .* --limit"):
            run_logged(self.SLEEPS, os.environ, tmp_path / "log", 0.5)
        sleeper = Path("/proc") / (tmp_path / "log").read_text().strip()
        until = time.monotonic() + 10
        while sleeper.exists() and "(zombie)" not in (sleeper / "status").read_text():
            assert time.monotonic() < until
            time.sleep(0.05)

    def test_a_program_that_hangs_cannot_be_verified(self, tmp_path: Path) -> None:
        certificate = certify(tmp_path, self.SLEEPS, launch=None, limit_s=0.5)
        assert certificate.exit_code == 4
        assert "was killed with its process group" in certificate.sentence

    def test_it_follows_from_the_undisturbed_run(self, tmp_path: Path) -> None:
        plan = ProofPlan(command=TOY, work=tmp_path, launch=forked, interruptions=[Interruption("TERM", 99)])
        proof = _Proof(plan, lambda _sentence: None)
        assert proof._limit_s == 86400
        proof.run()
        assert 60 < proof._limit_s < 300


@pytest.mark.long
def test_a_launcher_that_ends_with_1_for_a_stopped_run_is_asked_through_the_verdict(tmp_path: Path) -> None:
    def launcher(command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
        return 1 if forked(command, variables, log) else 0  # as torchrun does

    struck = [Interruption.parse(text) for text in ("TERM@9", "INT@12")]
    certificate = certify(tmp_path, TOY, launch=launcher, interruptions=struck, controls=["rng"])
    assert certificate.exit_code == 0, certificate.sentence
    assert certificate.fields["interruptions"] == ["TERM@9 (exit 75)", "INT@12 (exit 75)"]


def test_an_old_verdict_is_no_answer_of_a_program_that_fails_before_its_run(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").touch()
    (tmp_path / "run" / "verdict.json").write_text('{"exit":75,"signal":"SIGTERM","step":3}')
    assert Program(["train"], None, lambda *_: 1).start(tmp_path / "run") == 1


@pytest.mark.parametrize("rank", [None, 2])
def test_a_program_of_several_processes_is_told_which_of_them_is_struck(rank: int | None, tmp_path: Path) -> None:
    told: list[Mapping[str, str]] = []

    def started(_command: Sequence[str], variables: Mapping[str, str], _log: Path) -> int:
        told.append(variables)
        return 0

    Program(["train"], None, started, rank).start(tmp_path / "run", interrupt="KILL@3")
    assert told[0].get("UNBROKEN_INTERRUPT_RANK") == (None if rank is None else "2")
    assert told[0]["UNBROKEN_INTERRUPT"] == "KILL@3"


@pytest.mark.long
@pytest.mark.parametrize(("rank", "verdict"), [(None, "could not be verified"), (0, "identical")])
def test_a_launcher_that_ends_with_1_when_its_process_is_killed_counts_as_killed_when_a_rank_is_named(
    rank: int | None, verdict: str, tmp_path: Path
) -> None:
    def launcher(command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
        status = forked(command, variables, log)
        return 1 if status < 0 else status

    struck = [Interruption.parse("KILL@9")]
    certificate = certify(tmp_path, TOY, launch=launcher, rank=rank, interruptions=struck, controls=["rng"])
    assert certificate.verdict == verdict


def test_random_interruptions_are_ascending_repeatable_and_in_all_phases() -> None:
    first = choose_interruptions(40, 10, seed=3)
    assert first == choose_interruptions(40, 10, seed=3)
    assert first != choose_interruptions(40, 10, seed=4)
    steps = [interruption.step for interruption in first if interruption.step]
    assert len(steps) == 10
    assert steps == sorted(set(steps))
    assert {interruption.phase for interruption in first} == set(PHASES)
    assert [str(interruption) for interruption in choose_interruptions(3, 10, seed=0)] == ["TERM@1", "TERM@2"]
    assert choose_interruptions(1, 4, seed=0) == []


@pytest.mark.parametrize("count", [1, 2, 4, 7])
@pytest.mark.parametrize("total", [2, 5, 12, 60])
def test_every_part_of_a_run_is_interrupted_and_last_of_all_before_the_last_step(total: int, count: int) -> None:
    for seed in range(20):
        chosen = choose_interruptions(total, count, seed)
        steps = [each.step for each in chosen if each.step]
        assert len(steps) == min(count, total - 1)
        assert (chosen[-1].signal, steps[-1]) == ("TERM", total - 1)
        gaps = [after - before for before, after in pairwise([0, *steps])]
        assert min(gaps) > 0
        assert max(gaps) <= 2 * (-(-total // max(1, count - 1)))


@pytest.mark.parametrize("text", ["TERM", "TERM@", "TERM@5:resume", "KILL@x", "KILL@:save", "STOP@3"])
def test_what_is_no_interruption_is_refused(text: str) -> None:
    with pytest.raises(UnbrokenError, match="is no interruption, expected SIGNAL@STEP"):
        Interruption.parse(text)


@pytest.mark.parametrize("struck", ["TERM@9", "KILL@9", "KILL@:start"])
def test_a_program_that_hides_its_interruption_is_told_so(struck: str, tmp_path: Path) -> None:
    def launcher(command: Sequence[str], variables: Mapping[str, str], log: Path) -> int:
        forked(command, variables, log)
        return 0  # as a pipe into `tee` does

    certificate = certify(tmp_path, TOY, launch=launcher, interruptions=[Interruption.parse(struck)])
    assert certificate.exit_code == 4
    assert certificate.sentence.startswith(f"the program was interrupted by {struck} and ended with exit 0 all the")
    assert "Next: let the exit code through" in certificate.sentence
