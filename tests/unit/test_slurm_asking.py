"""What the scripts ask SLURM, with a `scontrol` that stands for it: whose job is meant, and what no answer means."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
AWAY = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)"
RECORD = "JobId={id} ArrayJobId=17 JobName=latentwire JobState={state} Reason={reason} Restarts={restarts} SubmitTime=x"
CONTROLLER = """#!/bin/bash
# Job 17 is an array of three, whose last task has the number of the array: asked for it, SLURM tells of all.
echo "$*" >>"$STUB/calls"
if [ "$(wc -l <"$STUB/calls")" -le "${AWAY_FOR:-0}" ]; then echo "$AWAY" >&2; exit 1; fi
case "$*" in
"--oneliner show job 17") cat "$STUB/17_0" "$STUB/17_1" "$STUB/17_2" ;;
"--oneliner show job "*) cat "$STUB/${*: -1}" 2>/dev/null || { echo "error: Invalid job id specified" >&2; exit 1; } ;;
"requeue "*) ;;
*) exit 9 ;;
esac
"""


@pytest.fixture
def stub(tmp_path: Path) -> Path:
    folder = tmp_path / "stub"
    folder.mkdir()
    (folder / "scontrol").write_text(CONTROLLER)
    (folder / "scontrol").chmod(0o755)
    (folder / "sleep").write_text("#!/bin/sh\n")
    (folder / "sleep").chmod(0o755)
    (folder / "calls").touch()
    for task, (number, state) in enumerate([(18, "COMPLETED"), (19, "COMPLETED"), (17, "RUNNING")]):
        put(folder, f"17_{task}", number, state)
    return folder


def put(folder: Path, name: str, number: int, state: str, reason: str = "None", restarts: int = 0) -> None:
    (folder / name).write_text(RECORD.format(id=number, state=state, reason=reason, restarts=restarts) + "\n")


def bash(stub: Path, command: str, **variables: str) -> str:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("SLURM", "LATENTWIRE_"))}
    own = {"STUB": str(stub), "AWAY": AWAY, "PATH": f"{stub}:{kept['PATH']}", "LATENTWIRE_ASK_S": "60"}
    script = f". {ROOT}/slurm/helpers.sh; restart=0 begun_with=before stalled=0 max_stalled=5\n{command}"
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=stub,
        env={**kept, **own, **variables},
        capture_output=True,
        text=True,
    )
    return done.stdout + done.stderr


LAST_TASK = {"SLURM_JOB_ID": "17", "SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "2"}


def test_the_task_that_has_the_number_of_its_array_is_asked_for_by_its_place(stub: Path) -> None:
    assert (
        bash(stub, 'record=$(ask "$job"); word "$record" JobState; word "$record" JobId', **LAST_TASK)
        == "RUNNING\n17\n"
    )
    assert "checkpointed; job 17_2 is requeued" in bash(stub, "come_again", **LAST_TASK)
    assert (stub / "calls").read_text().splitlines()[-1] == "requeue 17_2"


@pytest.mark.parametrize("task", [0, 1, 2])
def test_a_preempted_task_sees_its_own_restarts(task: int, stub: Path) -> None:
    put(stub, f"17_{task}", 17 if task == 2 else 18 + task, "PENDING", restarts=1)
    variables = {"SLURM_JOB_ID": str(17 if task == 2 else 18 + task), "SLURM_ARRAY_TASK_ID": str(task)}
    said = bash(stub, "come_again", **{**LAST_TASK, **variables})
    assert said == f"=== checkpointed; SLURM starts job 17_{task} again\n"


def test_a_job_without_an_array_is_itself(stub: Path) -> None:
    put(stub, "5", 5, "COMPLETING")
    assert "job 5 was cancelled and is not requeued" in bash(stub, "come_again", SLURM_JOB_ID="5")
    put(stub, "5", 5, "COMPLETING", reason="TimeLimit")
    assert "job 5 is requeued" in bash(stub, "come_again", SLURM_JOB_ID="5")


@pytest.mark.parametrize("asked", [1, 3])
def test_a_controller_that_comes_back_is_waited_for(asked: int, stub: Path) -> None:
    put(stub, "5", 5, "COMPLETING")
    said = bash(stub, "come_again", SLURM_JOB_ID="5", AWAY_FOR=str(asked))
    assert said == "=== checkpointed; job 5 was cancelled and is not requeued. Submit a new one to go on.\n"
    assert len((stub / "calls").read_text().splitlines()) == asked + 1


def test_no_answer_is_not_taken_for_a_cancellation(stub: Path) -> None:
    put(stub, "5", 5, "COMPLETING")
    said = bash(stub, "come_again", SLURM_JOB_ID="5", AWAY_FOR="1", LATENTWIRE_ASK_S="0")
    assert said.startswith("=== checkpointed; job 5 is requeued; SLURM's controller did not answer, so whether it was ")


def test_a_requeue_is_asked_for_until_somebody_hears(stub: Path) -> None:
    put(stub, "5", 5, "RUNNING")
    (stub / "calls").write_text("")
    said = bash(stub, "requeue && echo done", SLURM_JOB_ID="5", AWAY_FOR="3")
    assert "done\n" in said
    assert (stub / "calls").read_text().splitlines() == ["requeue 5"] * 4


def test_a_requeue_that_is_refused_is_not_asked_for_again(stub: Path) -> None:
    (stub / "scontrol").write_text("#!/bin/sh\necho $* >>$STUB/calls\necho 'Job is disabled' >&2; exit 1\n")
    assert "refused" in bash(stub, "requeue || echo refused", SLURM_JOB_ID="5")
    assert len((stub / "calls").read_text().splitlines()) == 1


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        ("at_work 6 || echo idle", "SLURM does not say whether job 6, which worked in"),
        ("notes=.; settle=; $(declare -F | grep -oE '[a-z_]*commit$' | tail -1)", "SLURM does not say when job 5 was"),
    ],
)
def test_a_start_does_not_go_on_without_an_answer(command: str, sentence: str, stub: Path) -> None:
    subprocess.run(["git", "init", "-q"], cwd=stub, check=True)
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    subprocess.run(["git", *identity, "commit", "-q", "--allow-empty", "-m", "x"], cwd=stub, check=True)
    said = bash(stub, command, SLURM_JOB_ID="5", AWAY_FOR="99", LATENTWIRE_ASK_S="0")
    assert sentence in said
    assert "idle" not in said


def test_a_failed_job_says_what_it_knows_of_its_requeue(stub: Path) -> None:
    put(stub, "5", 5, "COMPLETING")
    assert bash(stub, "say_requeued", SLURM_JOB_ID="5") == "it is not requeued\n"
    put(stub, "5", 5, "PENDING", restarts=1)
    assert bash(stub, "say_requeued", SLURM_JOB_ID="5") == "it is requeued\n"
    (stub / "calls").write_text("")
    said = bash(stub, "say_requeued", SLURM_JOB_ID="5", AWAY_FOR="9", LATENTWIRE_ASK_S="0")
    assert said == "SLURM does not say whether it is requeued\n"


def test_the_shell_of_an_allocation_is_no_batch_script(stub: Path) -> None:
    """`salloc` sets SLURM_JOB_ID too; what runs there submits."""
    (stub / "sbatch").write_text('#!/bin/sh\necho "submitted $*, array ${SLURM_ARRAY_JOB_ID-none}"\n')
    (stub / "sbatch").chmod(0o755)
    variables = {"SLURM_JOB_ID": "5", "SLURM_ARRAY_JOB_ID": "5", "SLURM_TASK_PID": "1", "SLURM_SUBMIT_DIR": str(ROOT)}
    said = bash(stub, f"{ROOT}/slurm/container.slurm true", **variables)
    assert said == "submitted slurm/container.slurm true, array none\n"
