"""A step that could not begin is told from one that failed, with an `srun` and a `scontrol` that stand for SLURM."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.test_slurm_asking import AWAY, bash, put
from tests.unit.test_slurm_asking import stub as stub  # the fixture

SRUN = """#!/bin/bash
# It fails for the first FAILS times, before anything ran.
echo "$*" >>"$STUB/steps"
if [ "$(wc -l <"$STUB/steps")" -le "${FAILS:-0}" ]; then echo "srun: error: $WORDS" >&2; exit 1; fi
while [ "$1" != bash ] && [ $# -gt 0 ]; do shift; done
exec "$@"
"""
RUN = """
trap 'echo "code $?"' EXIT
notes=notes asked=; mkdir -p notes; echo before >notes/progress
container=(%s); run command; finish
"""
JOB = {"SLURM_JOB_ID": "5", "SLURM_JOB_CPUS_PER_NODE": "2", "WORDS": f"Unable to create step for job 5: {AWAY}"}


@pytest.fixture
def steps(stub: Path) -> Path:
    """Calls of `srun`, one a line."""
    (stub / "srun").write_text(SRUN)
    (stub / "srun").chmod(0o755)
    (stub / "steps").touch()
    put(stub, "5", 5, "RUNNING")
    return stub / "steps"


def count(calls: Path) -> int:
    return len(calls.read_text().splitlines())


def test_a_step_that_begins_is_run_once(stub: Path, steps: Path) -> None:
    said = bash(stub, RUN % "echo ran", **JOB)
    assert said == "ran bash slurm/inside.sh notes command\n=== job 5 is done\ncode 0\n"
    assert count(steps) == 1


@pytest.mark.parametrize("command", ["false", "exit 1", "kill -9 $$"])
def test_a_step_that_fails_is_run_once(command: str, stub: Path, steps: Path) -> None:
    code = 137 if "kill" in command else 1
    said = bash(stub, RUN % f"bash -c '{command}'", **JOB)
    assert f"=== job 5 failed with exit code {code}; it is not requeued\ncode {code}\n" in said
    assert "before the step began" not in said
    assert count(steps) == 1


@pytest.mark.parametrize("away", [0, 1, 4])
def test_a_step_that_could_not_begin_is_tried_again_once_the_controller_answers(
    away: int, stub: Path, steps: Path
) -> None:
    said = bash(stub, RUN % "echo ran", **JOB, FAILS="2", AWAY_FOR=str(away))
    assert said.count("=== srun ended with exit code 1 before the step began\n") == 2
    assert "ran bash slurm/inside.sh notes command\n=== job 5 is done\ncode 0\n" in said
    assert count(steps) == 3


def test_a_job_whose_step_could_not_begin_for_want_of_a_controller_is_requeued(stub: Path, steps: Path) -> None:
    said = bash(stub, RUN % "echo ran", **JOB, FAILS="99", AWAY_FOR="2", LATENTWIRE_ASK_S="0")
    assert "=== the step could not begin, because SLURM's controller does not answer\n" in said
    assert "=== nothing ran; job 5 is requeued; SLURM's controller did not answer" in said
    assert "code 75\n" in said
    assert (stub / "calls").read_text().splitlines()[-1] == "requeue 5"


def test_a_step_that_slurm_refuses_fails_with_its_words(stub: Path, steps: Path) -> None:
    said = bash(stub, RUN % "echo ran", **{**JOB, "WORDS": "More processors requested than permitted"}, FAILS="99")
    assert said.count("More processors requested than permitted") == count(steps) == 3
    assert "=== the step could not begin, although SLURM's controller answers; above, srun says why\n" in said
    assert "=== job 5 failed with exit code 1; it is not requeued\ncode 1\n" in said


def test_a_signal_ends_the_waiting(stub: Path, steps: Path) -> None:
    (stub / "sleep").write_text("#!/bin/sh\nkill -USR1 $PPID; exec /bin/sleep 0.2\n")
    said = bash(stub, f"trap 'asked=USR1' USR1\n{RUN % 'echo ran'}", **JOB, FAILS="99")
    assert count(steps) == 1
    assert "=== checkpointed; job 5 is requeued\ncode 75\n" in said


TWO_NODES = {**JOB, "SLURM_JOB_NUM_NODES": "2", "SLURM_JOB_NODELIST": "n[1-2]", "FAILS": "99"}


def lost(stub: Path, **variables: str) -> str:
    return bash(stub, "notes=notes asked=; mkdir notes; touch notes/begun; code=9; exit_code; echo $code", **variables)


def test_a_node_is_not_called_lost_while_nobody_can_say(stub: Path, steps: Path) -> None:
    said = lost(stub, **TWO_NODES, AWAY_FOR="99", LATENTWIRE_ASK_S="0")
    assert said == "=== SLURM's controller does not answer, so whether a node of this job is lost is not known\n75\n"


def test_a_node_that_does_not_answer_is_lost(stub: Path, steps: Path) -> None:
    assert lost(stub, **TWO_NODES, AWAY_FOR="1") == "=== a node of this job does not answer\n75\n"


def test_no_node_is_lost_where_the_controller_came_back(stub: Path, steps: Path) -> None:
    assert lost(stub, **{**TWO_NODES, "FAILS": "1"}, AWAY_FOR="1") == "9\n"


def test_the_names_of_the_nodes_are_waited_for(stub: Path) -> None:
    (stub / "scontrol").write_text(
        '#!/bin/sh\necho "$*" >>$STUB/calls\n[ $(wc -l <$STUB/calls) -gt 2 ] || exit 1\nprintf "n1\\nn2\\n"\n'
    )
    said = bash(stub, "join_nodes 2; echo $UNBROKEN_HEAD", SLURM_JOB_ID="5", SLURM_JOB_NODELIST="n[1-2]")
    assert said == "n1\n"


def test_a_requeue_that_is_refused_at_the_time_limit_does_not_end_the_save(stub: Path) -> None:
    put(stub, "5", 5, "RUNNING", reason="TimeLimit")
    script = (stub / "scontrol").read_text().replace('"requeue "*) ;;', '"requeue "*) echo disabled; exit 1 ;;')
    (stub / "scontrol").write_text(script)
    said = bash(stub, "restart=0; at_the_limit; echo goes on", SLURM_JOB_ID="5")
    assert "could not requeue job 5. Submit a new one to go on.\ngoes on\n" in said
