"""Signals in every phase, in real processes."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from unbroken import preemption
from unbroken.errors import UnbrokenError
from unbroken.preemption import Preempted, StopFlag

PRELUDE = "from unbroken.preemption import StopFlag, shield_worker\nstop = StopFlag.install()\n"


def start(program: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PRELUDE + program],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def wait_for(process: subprocess.Popen[str], word: str = "ready") -> None:
    assert process.stdout is not None
    assert process.stdout.readline().strip() == word


def end(process: subprocess.Popen[str]) -> int:
    with process:
        return process.wait(20)


def test_importing_it_does_not_import_torch() -> None:
    process = start(
        "import sys, unbroken, unbroken.errors; print('torch' in sys.modules, unbroken.StopFlag is StopFlag)"
    )
    wait_for(process, "False True")
    assert end(process) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_in_the_import_phase(number: signal.Signals, tmp_path: Path) -> None:
    verdict = tmp_path / "verdict.json"
    program = "print('ready', flush=True)\nimport time\ntime.sleep(0.3)  # an import\nstop.check()\n"
    process = start(program, UNBROKEN_VERDICT=str(verdict))
    wait_for(process)
    process.send_signal(number)
    assert end(process) == 75
    assert verdict.read_text() == f'{{"exit":75,"signal":"{number.name}","step":null}}\n'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_inside_install_is_answered(number: signal.Signals) -> None:
    program = (
        "import os, threading\nbegin = threading.Thread.start\n"
        f"threading.Thread.start = lambda thread: (begin(thread), os.kill(os.getpid(), {int(number)}))\n"
        "from unbroken.preemption import StopFlag\nstop = StopFlag.install()\nprint(stop.signal)\nstop.check()\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (75, f"{number.name}\n", "")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2])
def test_a_signal_before_install_ends_the_process_as_the_page_says(number: signal.Signals) -> None:
    program = f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(9)\n{PRELUDE}"
    done = subprocess.run(["sh", "-c", f"{sys.executable} -c {shlex.quote(program)}; exit $?"], capture_output=True)
    assert done.returncode == 128 + number
    script = (Path(preemption.__file__).with_name("train.sbatch")).read_text()
    assert f" {128 + number} " in script.replace(")", " ").partition("case $code in")[2].partition("\n")[0]


def test_signals_that_were_ignored_by_the_parent_are_caught_again() -> None:
    program = "print('ready', flush=True)\nimport time\nwhile True:\n    time.sleep(0.01)\n    stop.check()\n"
    command = f"trap '' TERM; exec {sys.executable} -c {shlex.quote(PRELUDE + program)}"
    process = subprocess.Popen(["sh", "-c", command], stdout=subprocess.PIPE, text=True)
    wait_for(process)
    process.send_signal(signal.SIGTERM)
    assert end(process) == 75


def test_a_burst_during_shutdown_keeps_the_exit_code() -> None:
    program = (
        "import atexit, time\natexit.register(lambda: time.sleep(0.5))\nprint('ready', flush=True)\n"
        "while not stop.is_set(): time.sleep(0.01)\nprint(stop.signal, flush=True)\nstop.check()\n"
    )
    process = start(program)
    wait_for(process)
    process.send_signal(signal.SIGUSR2)
    wait_for(process, "SIGUSR2")
    while process.poll() is None:
        process.send_signal(signal.SIGTERM)
        time.sleep(0.001)
    assert end(process) == 75


def test_the_deadline_ends_a_process_that_hangs() -> None:
    program = "import time\nprint('ready', flush=True)\nwhile True: time.sleep(60)\n"
    process = start(program, UNBROKEN_DEADLINE_S="0.2")
    wait_for(process)
    begun = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert end(process) == 75
    assert time.monotonic() - begun < 10


def test_last_words_that_hang_do_not_stop_the_deadline() -> None:
    program = (
        "import time\nfrom unbroken import preemption\npreemption._EXIT_ACTION_S = 0.2\n"
        "stop.before_forced_exit(lambda: time.sleep(600))\nprint('ready', flush=True)\ntime.sleep(600)\n"
    )
    process = start(program, UNBROKEN_DEADLINE_S="0.1")
    wait_for(process)
    process.send_signal(signal.SIGTERM)
    assert end(process) == 75


def test_a_signal_to_a_forked_worker_does_not_stop_its_parent() -> None:
    program = (
        "import os, signal, time\npid = os.fork()\nif pid == 0: time.sleep(60)\ntime.sleep(0.2)\n"
        "os.kill(pid, signal.SIGTERM)\nstatus = os.waitpid(pid, 0)[1]\ntime.sleep(0.2)\n"
        "print(os.waitstatus_to_exitcode(status), stop.is_set())\n"
    )
    process = start(program)
    wait_for(process, "-15 False")
    assert end(process) == 0


def test_a_forked_child_that_installs_it_catches_its_own_signals() -> None:
    """It got its parent's flag, and was killed by the signal that it had asked to be told of."""
    program = (
        "import os, signal, time\npid = os.fork()\nif pid == 0:\n    own = StopFlag.install()\n"
        "    print('ready', flush=True)\n    while not own.is_set(): time.sleep(0.01)\n    own.check()\n"
        "status = os.waitpid(pid, 0)[1]\nprint(os.waitstatus_to_exitcode(status), stop.is_set(), flush=True)\n"
    )
    program = program.replace("if pid == 0:", "if pid: print(pid, flush=True)\nelse:")
    process = start(program)
    assert process.stdout is not None
    said = sorted(process.stdout.readline().strip() for _ in range(2))
    assert said[1] == "ready"
    os.kill(int(said[0]), signal.SIGTERM)
    wait_for(process, "75 False")
    assert end(process) == 0


def test_a_shielded_worker_outlives_a_signal_to_the_group() -> None:
    program = (
        "import os, time\npid = os.fork()\nif pid == 0:\n    shield_worker(0)\n"
        "    time.sleep(1)\n    os._exit(7)\n"
        "time.sleep(0.3)\nprint('ready', flush=True)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), stop.signal)\n"
    )
    process = start(program)
    wait_for(process)
    os.killpg(process.pid, signal.SIGTERM)
    wait_for(process, "7 SIGTERM")
    end(process)


def test_a_shielded_worker_obeys_its_parent_alone() -> None:
    program = (
        "import os, signal, time\npid = os.fork()\nif pid == 0:\n    shield_worker(0)\n    time.sleep(60)\n"
        "time.sleep(0.3)\nprint('ready', flush=True)\nwhile not stop.is_set():\n    time.sleep(0.01)\n"
        "time.sleep(0.3)\nprint(os.waitpid(pid, os.WNOHANG)[0], flush=True)\nos.kill(pid, signal.SIGTERM)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)\n"
    )
    process = start(program)
    wait_for(process)
    os.killpg(process.pid, signal.SIGTERM)
    wait_for(process, "0")
    wait_for(process, "0")  # torch's workers end so, and -15 would be reported as a worker that has failed
    end(process)


def test_install_twice_is_one_flag() -> None:
    process = start("print(StopFlag.install() is stop, stop.deadline)\n", UNBROKEN_DEADLINE_S="12")
    wait_for(process, "True 12.0")
    assert end(process) == 0


def test_a_senseless_deadline_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    own = {**os.environ, "UNBROKEN_DEADLINE_S": "soon"}
    done = subprocess.run([sys.executable, "-c", PRELUDE], env=own, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "error: UNBROKEN_DEADLINE_S is 'soon', expected a number of seconds above 0. Next: "
        "`export UNBROKEN_DEADLINE_S=90`.\n"
    )
    monkeypatch.setenv("UNBROKEN_DEADLINE_S", "soon")
    with pytest.raises(Exception, match="UNBROKEN_DEADLINE_S is 'soon', expected a number of seconds"):
        StopFlag()


@pytest.mark.parametrize("deadline", [-1, 0, float("nan"), float("inf"), "90"])
def test_a_senseless_deadline_of_a_program_is_refused(deadline: float) -> None:
    """One that is no number ended the process at the first signal, or never."""
    with pytest.raises(UnbrokenError, match=r"The deadline of StopFlag is .*, expected a number of seconds"):
        StopFlag(deadline)


@pytest.mark.parametrize("signals", [[signal.SIGTERM, signal.SIGKILL], [signal.SIGSTOP], [40], ["SIGTERM"]])
def test_signals_that_nobody_can_catch_change_nothing(signals: list[signal.Signals]) -> None:
    before = threading.active_count(), signal.getsignal(signal.SIGTERM)
    with pytest.raises(UnbrokenError, match=r"expected such as a program can catch .* Nothing was changed"):
        StopFlag.install(signals)
    assert (threading.active_count(), signal.getsignal(signal.SIGTERM)) == before


def test_an_install_that_fails_leaves_no_signal_blocked() -> None:
    """Ctrl-C would have no effect for the rest of the program's time."""
    program = """
import resource, signal
from unbroken.preemption import StopFlag
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    StopFlag.install()
except OSError:
    print(signal.pthread_sigmask(signal.SIG_BLOCK, []))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")


def test_a_deadline_of_ages_is_no_error_of_the_watchdog() -> None:
    program = """
import time
from unbroken.preemption import StopFlag
StopFlag.install(deadline=1e300).set("SIGTERM")
time.sleep(0.3)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_first_signal_counts() -> None:
    stop = StopFlag(50.0)
    stop.check()
    stop.set("SIGTERM")
    stop.set("SIGINT")
    assert stop.signal == "SIGTERM"
    assert 40 < stop.remaining <= 50
    with pytest.raises(Preempted) as left:
        stop.leave("stopped")
    assert left.value.code == 75
    assert str(left.value) == "stopped"


@pytest.mark.parametrize(
    ("given", "seconds_to_end", "expected"),
    [
        (None, None, 90),
        (None, 7200, 90),  # a preemption in the middle of a job
        (None, 300, 295),  # `--signal=B:USR1@300` announces the time limit
        (None, 30, 25),
        (20.0, 300, 20),
        (200.0, 30, 25),  # never later than the end of the job
        (20.0, -3600, 20),  # a clock that is wrong says nothing
    ],
)
def test_the_deadline_knows_the_end_of_the_job(
    given: float | None, seconds_to_end: int | None, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNBROKEN_DEADLINE_S", raising=False)
    if seconds_to_end is None:
        monkeypatch.delenv("SLURM_JOB_END_TIME", raising=False)
    else:
        monkeypatch.setenv("SLURM_JOB_END_TIME", str(int(time.time()) + seconds_to_end))
    stop = StopFlag(given)
    stop.set("SIGTERM")
    assert stop.deadline == pytest.approx(expected, abs=1.5)


def test_install_in_a_thread_changes_nothing_and_says_where_it_belongs() -> None:
    program = """
import os, signal, threading
from unbroken.errors import UnbrokenError
from unbroken.preemption import StopFlag
before = threading.active_count(), sorted(os.listdir("/proc/self/fd"))
said = []
def call():
    try:
        StopFlag.install()
    except UnbrokenError as error:
        said.append(str(error))
thread = threading.Thread(target=call, name="loader")
thread.start()
thread.join()
assert said and said[0].startswith("StopFlag.install() was called in the thread 'loader', expected the main"), said
assert (threading.active_count(), sorted(os.listdir("/proc/self/fd"))) == before
assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
flag = StopFlag.install()
thread = threading.Thread(target=lambda: said.append(StopFlag.install()))
thread.start()
thread.join()
assert said[1] is flag
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_thread_that_leaves_ends_as_asked_and_the_main_thread_has_the_exit_code() -> None:
    program = """
import os, signal, threading
from unbroken.preemption import Preempted, StopFlag

stop, seen = StopFlag.install(), []

def work():
    os.kill(os.getpid(), signal.SIGTERM)
    while not stop.is_set(): pass
    try:
        stop.leave("saved")
    except Preempted:
        seen.append("left")

thread = threading.Thread(target=work)
thread.start()
thread.join()
os.kill(os.getpid(), signal.SIGTERM)
print(*seen, flush=True)
stop.check()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (75, "left\n"), done.stderr
