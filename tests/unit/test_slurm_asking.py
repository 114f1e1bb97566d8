"""What the scripts ask SLURM, with a `scontrol` that stands for it: whose job is meant, and what no answer means."""

from __future__ import annotations

import os
import shutil
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


def test_a_controller_that_swallows_the_question_is_away(stub: Path) -> None:
    """scontrol waits for it, and neither signals nor the requeue would come to their turn."""
    (stub / "scontrol").write_text("#!/bin/sh\nexec tail -f /dev/null\n")
    (stub / "timeout").write_text('#!/bin/bash\n[ "$2" = 30 ] && exec "$TIMEOUT" 0.2 "${@:3}"\n')
    (stub / "timeout").chmod(0o755)
    own = {"TIMEOUT": shutil.which("timeout") or "", "LATENTWIRE_ASK_S": "0", **LAST_TASK}
    assert bash(stub, 'ask "$job" || echo "no answer: $?"', **own) == "no answer: 1\n"
    said = bash(stub, "come_again", **own)
    assert "but scontrol could not requeue job 17_2; SLURM's controller did not answer" in said


def test_a_requeue_of_which_the_answer_was_lost_is_none_that_failed(stub: Path) -> None:
    """The second try is refused, because the first one did it."""
    lost = """#!/bin/bash
echo "$*" >>"$STUB/calls"
case "$*" in
"requeue "*)
    [ -e "$STUB/done" ] || { touch "$STUB/done"; echo "$AWAY" >&2; exit 1; }
    echo "Job/step already completing or completed" >&2; exit 1 ;;
*) if [ -e "$STUB/done" ]; then sed s/Restarts=0/Restarts=1/ "$STUB/17_2"; else cat "$STUB/17_2"; fi ;;
esac
"""
    (stub / "scontrol").write_text(lost)
    assert "=== checkpointed; job 17_2 is requeued" in bash(stub, "come_again", **LAST_TASK)
    assert (stub / "calls").read_text().count("requeue 17_2") == 2


IDENTIFIED = 'identify; echo "$job $LATENTWIRE_JOB ${SLURM_ARRAY_TASK_ID-none} ${SLURM_RESTART_COUNT-none}"'


def test_a_job_that_a_task_of_an_array_submits_is_not_that_task(stub: Path) -> None:
    """`sbatch` hands on what it finds in its environment: `scontrol requeue` would start the submitting task again."""
    put(stub, "20", 20, "RUNNING")
    of_the_submitter = {"SLURM_ARRAY_JOB_ID": "17", "SLURM_ARRAY_TASK_ID": "0", "SLURM_RESTART_COUNT": "3"}
    assert bash(stub, IDENTIFIED, SLURM_JOB_ID="20", **of_the_submitter) == "20 20 none 0\n"
    (stub / "17_0").unlink()  # the submitter has ended, and SLURM has forgotten it
    assert bash(stub, IDENTIFIED, SLURM_JOB_ID="20", **of_the_submitter) == "20 20 none 0\n"


def test_a_task_of_an_array_knows_itself_and_its_restarts(stub: Path) -> None:
    assert bash(stub, IDENTIFIED, **LAST_TASK) == "17_2 17_2 2 0\n"
    put(stub, "17_0", 18, "RUNNING", restarts=2)
    variables = {**LAST_TASK, "SLURM_JOB_ID": "18", "SLURM_ARRAY_TASK_ID": "0", "SLURM_RESTART_COUNT": "2"}
    assert bash(stub, IDENTIFIED, **variables) == "17_0 17_0 0 2\n"
    assert bash(stub, IDENTIFIED, **variables, AWAY_FOR="99", LATENTWIRE_ASK_S="0") == "17_0 17_0 0 2\n"


def test_a_users_format_of_times_is_not_that_of_the_scripts(stub: Path) -> None:
    said = bash(stub, "sh -c 'echo $SLURM_TIME_FORMAT'", SLURM_TIME_FORMAT="relative")
    assert said == "standard\n"


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


@pytest.mark.parametrize(
    "said",
    [
        "scontrol: fatal: Could not establish a configuration source",
        "slurm_requeue error: Protocol authentication error",
        "slurm_requeue error: Resource temporarily unavailable",
        "slurm_requeue error: Transport endpoint is not connected",
    ],
)
def test_a_requeue_is_asked_for_again_whatever_the_way_of_being_away(said: str, stub: Path) -> None:
    put(stub, "5", 5, "RUNNING")
    (stub / "calls").write_text("")
    assert "done\n" in bash(stub, "requeue && echo done", SLURM_JOB_ID="5", AWAY_FOR="2", AWAY=said)


@pytest.mark.parametrize(
    "said",
    [
        "Requested operation is presently disabled",
        "Access/permission denied",
        "Job/step already completing or completed",
        "Invalid job id specified",
        "Job is pending execution",
    ],
)
def test_a_requeue_that_is_refused_is_not_asked_for_again(said: str, stub: Path) -> None:
    (stub / "scontrol").write_text(f"#!/bin/sh\necho $* >>$STUB/calls\necho '{said} for job 5' >&2; exit 1\n")
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
