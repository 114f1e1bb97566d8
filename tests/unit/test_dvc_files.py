"""Whatever instant DVC is killed at, the next start mends its files, and nothing that is whole or in use is touched."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from latentwire.dvc_files import DATABASES, check_no_other_dvc, main, mend_dvc_files
from latentwire.errors import ConfigurationError, LatentWireError
from latentwire.lock_copy import COPY, keep_lock_copy

STAGES = {
    f"s{n}": {"cmd": f"echo {n} >>ran; echo {n} >out{n}", "deps": ["given"], "outs": [f"out{n}"]} for n in range(3)
}
RWLOCK = Path(".dvc/tmp/rwlock")


def run(root: Path, *command: str) -> str:
    variables = {**os.environ, "DVC_SITE_CACHE_DIR": str(root / ".cache/dvc"), "DVC_NO_ANALYTICS": "1"}
    done = subprocess.run(command, cwd=root, env=variables, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose three stages have run."""
    root = tmp_path_factory.mktemp("finished") / "repository"
    root.mkdir()
    for command in (("git", "init", "-q"), (sys.executable, "-m", "dvc", "init", "-q")):
        run(root, *command)
    (root / "given").touch()  # a stage without one is never found in the run cache
    (root / "dvc.yaml").write_text(json.dumps({"stages": STAGES}))
    run(root, sys.executable, "-m", "dvc", "repro", "-q")
    return root


@pytest.fixture
def repository(finished: Path, tmp_path: Path) -> Path:
    root = tmp_path / "repository"
    run(tmp_path, "cp", "-a", str(finished), str(root))
    return root


@pytest.fixture
def other() -> Iterator[int]:
    process = subprocess.Popen(["sleep", "600"])
    yield process.pid
    process.kill()
    process.wait()


def test_what_is_whole_is_not_touched_and_copied(repository: Path) -> None:
    before = (repository / "dvc.lock").read_bytes()
    assert mend_dvc_files(repository) == []
    assert (repository / "dvc.lock").read_bytes() == (repository / COPY).read_bytes() == before
    assert mend_dvc_files(repository / "out0") == []


def test_cut_at_any_byte_it_is_restored_or_parses_as_fewer_stages(repository: Path) -> None:
    keep_lock_copy(repository)
    whole = (repository / "dvc.lock").read_bytes()
    restored = 0
    for length in range(0, len(whole), 7):
        (repository / "dvc.lock").write_bytes(whole[:length])
        said = mend_dvc_files(repository)
        assert (repository / COPY).read_bytes() == whole or not said
        if said:
            assert "restored from its last good copy" in said[0]
            assert (repository / "dvc.lock").read_bytes() == whole
            restored += 1
        (repository / COPY).write_bytes(whole)
    assert restored > len(whole) / 7 * 0.9


@pytest.mark.parametrize("left", [b"", b"schema: '2.0'\nstages:\n  s0:\n    cmd: ec", b"\xff\x00"])
def test_without_a_copy_it_is_that_of_head_or_set_aside(left: bytes, repository: Path) -> None:
    whole = (repository / "dvc.lock").read_bytes()
    run(repository, "git", "add", "dvc.lock")
    (repository / "dvc.lock").write_bytes(left)
    assert "It is kept as dvc.lock.broken" in mend_dvc_files(repository)[0]
    assert (repository / "dvc.lock.broken").read_bytes() == left
    run(repository, "git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "x")
    (repository / "dvc.lock").write_bytes(left)
    assert "is restored from HEAD" in mend_dvc_files(repository)[0]
    assert (repository / "dvc.lock").read_bytes() == whole


def test_afterwards_dvc_runs_and_finds_every_stage_again(repository: Path) -> None:
    (repository / "dvc.lock").write_bytes(b"")
    (repository / RWLOCK).write_bytes(b'{"write": {"/a')
    said = run(repository, sys.executable, "-m", "latentwire.dvc_files")
    assert said.count("note: ") == 2
    run(repository, sys.executable, "-m", "dvc", "repro")
    assert sorted((repository / "ran").read_text().split()) == ["0", "1", "2"]  # once each, in the fixture


@pytest.mark.parametrize("damage", ["zeros", "cut", "no database"])
def test_databases_of_digests_that_a_power_cut_damaged_are_made_anew(damage: str, repository: Path) -> None:
    run(repository, sys.executable, "-m", "dvc", "status", "-q")
    whole = sorted((repository / DATABASES).rglob("cache.db"))
    assert whole
    assert mend_dvc_files(repository) == []
    path = next(path for path in whole if "hashes" in path.parts)
    data = path.read_bytes()
    for log in path.parent.glob("cache.db-*"):
        log.unlink()
    path.write_bytes({"zeros": bytes(len(data)), "cut": data[:5000], "no database": b"this is none"}[damage])
    (said,) = mend_dvc_files(repository)
    assert said.startswith(f"{path.relative_to(repository)} was damaged, as by a power cut, and is removed.")
    run(repository, sys.executable, "-m", "dvc", "status", "-q")


def test_without_the_folder_of_locks_dvc_lock_is_mended_all_the_same(repository: Path) -> None:
    whole = (repository / "dvc.lock").read_bytes()
    shutil.rmtree(repository / ".dvc/tmp")
    (repository / "dvc.lock").write_bytes(whole[:-5])
    assert "It is kept as dvc.lock.broken" in mend_dvc_files(repository)[0]


@pytest.mark.parametrize("left", [b"", b"{", b'{"write": {"/a": {"pid": 1', b"[]", b'{"write": {"a": {"pid": "x"}}}'])
def test_a_lock_that_does_not_parse_is_removed(left: bytes, repository: Path) -> None:
    (repository / RWLOCK).write_bytes(left)
    assert "rwlock was cut short" in mend_dvc_files(repository)[0]
    assert not (repository / RWLOCK).exists()


def write_rwlock(root: Path, *pids: int, age: float = 0.0) -> None:
    owners = [{"pid": pid, "cmd": "dvc repro"} for pid in pids]
    (root / RWLOCK).write_text(json.dumps({"write": {"/a": owners[0]}, "read": {"/b": owners}}))
    then = time.time() - age
    os.utime(root / RWLOCK, (then, then))


def test_a_living_owner_stays(repository: Path, other: int) -> None:
    write_rwlock(repository, other)
    before = (repository / RWLOCK).read_bytes()
    assert mend_dvc_files(repository) == []
    assert (repository / RWLOCK).read_bytes() == before


def test_make_repro_does_not_start_a_second_dvc(repository: Path, other: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(repository)
    main([])
    write_rwlock(repository, other)
    with pytest.raises(LatentWireError, match=rf"Another DVC, process {other} \(`dvc repro`\), works in .*Next: wait"):
        main([])
    main(["--mend-only"])  # as a job, which has looked itself
    (repository / RWLOCK).write_bytes(b"{")
    check_no_other_dvc(repository)  # it is being written
    write_rwlock(repository, other, age=3600)
    main([])  # the number is somebody else's by now


def test_a_number_that_is_somebody_elses_by_now_is_no_owner(repository: Path, other: int) -> None:
    write_rwlock(repository, other, age=3600)
    assert mend_dvc_files(repository) == [f"DVC's lock of process {other}, which is dead, is removed."]
    assert json.loads((repository / RWLOCK).read_bytes()) == {"write": {}, "read": {"/b": []}}


def test_a_living_owner_stays_although_the_clock_was_set_forward(repository: Path, other: int) -> None:
    """Then the kernel reckons that all processes started later: this one an hour after what it wrote."""
    command = " ".join(psutil.Process(other).cmdline()[1:])
    owner = {"pid": other, "cmd": command}
    (repository / RWLOCK).write_text(json.dumps({"write": {"/a": owner}, "read": {}}))
    then = time.time() - 3600
    os.utime(repository / RWLOCK, (then, then))
    assert mend_dvc_files(repository) == []


@pytest.mark.parametrize("pid", [-7, 0, 2**70])
def test_a_number_that_no_process_has_is_dead(pid: int, repository: Path) -> None:
    (repository / RWLOCK).write_text(json.dumps({"write": {"/a": {"pid": pid, "cmd": "dvc repro"}}, "read": {}}))
    os.utime(repository / RWLOCK, (1, 1))
    assert mend_dvc_files(repository) == [f"DVC's lock of process {pid}, which is dead, is removed."]


def test_a_merge_that_is_not_finished_is_left_to_its_owner(repository: Path) -> None:
    mend_dvc_files(repository)
    marks = b"<<<<<<< HEAD\n=======\n>>>>>>> b\nstages:\n"
    merged = (repository / "dvc.lock").read_bytes().replace(b"stages:\n", marks)
    (repository / "dvc.lock").write_bytes(merged)
    with pytest.raises(ConfigurationError, match=r"has the marks of a git merge that is not finished; expected"):
        mend_dvc_files(repository)
    assert (repository / "dvc.lock").read_bytes() == merged


def test_the_dead_go_and_the_living_stay(repository: Path, other: int) -> None:
    gone = subprocess.Popen(["true"])
    gone.wait()
    write_rwlock(repository, gone.pid, other)
    assert mend_dvc_files(repository) == [f"DVC's lock of process {gone.pid}, which is dead, is removed."]
    left = {"write": {}, "read": {"/b": [{"pid": other, "cmd": "dvc repro"}]}}
    assert json.loads((repository / RWLOCK).read_bytes()) == left


@pytest.mark.parametrize("name", ["lock", "rwlock.lock"])
def test_while_another_dvc_works_here_nothing_is_touched(name: str, repository: Path) -> None:
    hold = (
        "import sys, time; from dvc.lock import make_lock\n"
        "with make_lock(sys.argv[1], tmp_dir=sys.argv[2]): print('held', flush=True); time.sleep(60)"
    )
    temporary = repository / ".dvc/tmp"
    (repository / RWLOCK).write_bytes(b"{")
    process = subprocess.Popen([sys.executable, "-c", hold, temporary / name, temporary], stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert mend_dvc_files(repository) == []
        assert (repository / RWLOCK).read_bytes() == b"{"
        if name == "lock":
            with pytest.raises(LatentWireError, match="Another DVC works in"):
                check_no_other_dvc(repository)
    finally:
        process.kill()
        process.communicate()
    assert len(mend_dvc_files(repository)) == 1
