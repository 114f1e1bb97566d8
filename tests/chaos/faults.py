"""The kinds of faults. Each takes a trial, does its harm, and says which checkpoints nobody may use now."""

from __future__ import annotations

import datetime
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.chaos.trial import ERRORS, Disk, TornDisk, Trial, waited
from tests.support import toy_training
from unbroken.run_folder import events

Harm = Callable[[Trial], set[int]]
KINDS: dict[str, Harm] = {}
FILES = ("manifest.json", "tensors.safetensors")
JOURNALS = ("journal.jsonl", "checkpoints/journal.jsonl")
_STATUSES = (0, 1, 75, -9)
_OPERATIONS: dict[tuple[bool, int], dict[str, int]] = {}


def kind(name: str) -> Callable[[Harm], Harm]:
    """Register a kind under a name for the table."""

    def register(harm: Harm) -> Harm:
        KINDS[name] = harm
        return harm

    return register


def operations(trial: Trial, resumed: bool, every: int = 3) -> dict[str, int]:
    """How often each file operation happens in a whole run, or in a resume; counted once."""
    if (resumed, every) not in _OPERATIONS:
        other = Trial(trial.root / "count", random.Random(1))
        if resumed:
            other.stopped(at=38)
        disk = Disk()
        toy_training.train(other.run, other.target, files=disk, every=every, background=False)
        _OPERATIONS[resumed, every] = dict(disk.counts)
        shutil.rmtree(other.root)
    return _OPERATIONS[resumed, every]


def faulty_start(trial: Trial, fault: str, disk: type[Disk] = Disk, only: str = "") -> set[int]:
    """One start with a fault at a random occurrence of a random operation, in a fresh run or in a resume."""
    resumed = trial.chance.random() < 0.4
    if resumed:
        trial.stopped()
    counted = operations(trial, resumed)
    operation = only or trial.chance.choice(sorted(counted))
    lasting = fault in ERRORS and trial.chance.random() < 0.5
    files = disk(operation, trial.chance.randint(1, counted[operation]), fault, lasting)
    before, begun = trial.content(), trial.begun()
    status = trial.start(files=files, every=3)
    where = f"{fault} at {operation} {files.target[1]} ended the start with {status}"
    assert status in _STATUSES, where
    if resumed and status == 1 and trial.begun() == begun:
        assert trial.content() == before, f"{where}, and it changed the run"
    return set()


for _fault in ("kill-before", "kill-after", *ERRORS):
    KINDS[f"{_fault} an operation" if "kill" in _fault else _fault] = lambda trial, fault=_fault: faulty_start(  # type: ignore[misc]
        trial, fault
    )
for _fault in ("short-write", "flip-on-write"):
    KINDS[_fault.replace("-", " ")] = lambda trial, fault=_fault: faulty_start(trial, fault, only="write")  # type: ignore[misc]
KINDS["flip on read"] = lambda trial: faulty_start(trial, "flip-on-read", only="read")
KINDS["torn write, then kill"] = lambda trial: faulty_start(trial, "torn-then-kill", TornDisk, "write")


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def garbage(path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.randbytes(path.stat().st_size))


def zeros(path: Path, _chance: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def delete(path: Path, _chance: random.Random) -> None:
    path.unlink()


def damage(trial: Trial, way: Callable[[Path, random.Random], None], names: tuple[str, ...] = FILES) -> set[int]:
    """Harm one file of the newest checkpoint, sometimes of older ones too."""
    trial.stopped()
    harmed = trial.checkpoints[-trial.chance.choice([1, 1, 2, 3]) :]
    for folder in harmed:
        way(folder / trial.chance.choice(names), trial.chance)
    return {int(folder.name[5:]) for folder in harmed}


KINDS["bit flip"] = lambda trial: damage(trial, flip)
KINDS["truncation"] = lambda trial: damage(trial, truncate)
KINDS["garbage in a file"] = lambda trial: damage(trial, garbage)
KINDS["file of zeros"] = lambda trial: damage(trial, zeros)
KINDS["deleted manifest"] = lambda trial: damage(trial, delete, FILES[:1])
KINDS["deleted file"] = lambda trial: damage(trial, delete, FILES[1:])


@kind("every checkpoint damaged")
def nothing_whole(trial: Trial) -> set[int]:
    """Then the run starts afresh, but not by itself: see `campaign`."""
    trial.stopped()
    for folder in trial.checkpoints:
        trial.chance.choice([flip, truncate, zeros, delete])(folder / trial.chance.choice(FILES), trial.chance)
    return trial.steps()


@kind("file of an older step")
def swapped(trial: Trial) -> set[int]:
    trial.stopped()
    old, new = trial.checkpoints[-2:]
    shutil.copy(old / (name := trial.chance.choice(FILES)), new / name)
    return {int(new.name[5:])}


@kind("old checkpoint replayed as newer")
def replayed(trial: Trial) -> set[int]:
    trial.stopped()
    shutil.copytree(trial.checkpoints[0], trial.run / "checkpoints" / f"step-{toy_training.STEPS - 1:08d}")
    return {toy_training.STEPS - 1}


@kind("garbage in the folder")
def strangers(trial: Trial) -> set[int]:
    trial.stopped()
    folder = trial.run / "checkpoints"
    (folder / "step-99999999").write_bytes(b"a file")
    (folder / "step-00000099").mkdir()
    (folder / ".tmp-step-00000042").mkdir()
    (folder / "core.1234").write_bytes(trial.chance.randbytes(100))
    return {99999999, 99}


@kind("garbage in journal, events, identity, verdict")
def bookkeeping(trial: Trial) -> set[int]:
    trial.stopped()
    for name in ("journal.jsonl", "events.jsonl", "verdict.json", "lock", "identity.json"):
        if trial.chance.random() < 0.5:
            trial.chance.choice([truncate, garbage, zeros, flip])(trial.run / name, trial.chance)
    return set()


@kind("everything deleted but the newest")
def pruned(trial: Trial) -> set[int]:
    trial.stopped()
    for folder in trial.checkpoints[:-1]:
        shutil.rmtree(folder)
    (trial.run / trial.chance.choice(JOURNALS)).unlink()
    return set()


@kind("one copy of the journal damaged")
def one_copy(trial: Trial) -> set[int]:
    """The other has everything."""
    trial.stopped()
    trial.chance.choice([flip, truncate, garbage, zeros, delete])(
        trial.run / trial.chance.choice(JOURNALS), trial.chance
    )
    return set()


@kind("other lines damaged in each copy")
def two_copies(trial: Trial) -> set[int]:
    trial.stopped()
    lines = trial.chance.sample(range(len((trial.run / JOURNALS[0]).read_bytes().splitlines())), 6)
    for name, harmed in zip(JOURNALS, (lines[:3], lines[3:]), strict=True):
        _harm_lines(trial.run / name, harmed)
    return set()


@kind("a line damaged in both copies")
def no_copy(trial: Trial) -> set[int]:
    """What relies on it is proven bad; what is before it is not lost."""
    trial.stopped()
    if len(trial.checkpoints) < 2:  # on a busy machine a save may have taken the place of all before it
        trial.start(every=1, background=False, hook=toy_training.kill_at(min(trial.steps()) + 2), files=Disk())
    oldest = int(trial.checkpoints[0].name[5:])
    line = trial.chance.randrange(oldest, int(trial.checkpoints[-1].name[5:]))
    for name in JOURNALS:
        _harm_lines(trial.run / name, [line])
    return {step for step in trial.steps() if step > line}


def _harm_lines(path: Path, which: list[int]) -> None:
    lines = path.read_bytes().splitlines(keepends=True)
    for index in which:
        if index < len(lines):
            lines[index] = lines[index].replace(b'"step"', b'"stop"')
    path.write_bytes(b"".join(lines))


@kind("clock jumps")
def clocks(trial: Trial) -> set[int]:
    def jump() -> None:
        chance, real = random.Random(os.getpid()), time.time
        time.time = lambda: real() + chance.uniform(-1e8, 1e8)

        class Jumping(datetime.datetime):
            @classmethod
            def now(cls, zone: datetime.tzinfo | None = None) -> datetime.datetime:
                return datetime.datetime.fromtimestamp(max(0.0, time.time()), zone)

        events.datetime = Jumping  # type: ignore[misc]

    status = trial.start(prepare=jump, every="auto", hook=toy_training.kill_at(trial.chance.randint(2, 30)))
    assert status == -9
    status = trial.start(prepare=jump, every="auto", hook=toy_training.stop_at(35))
    assert status == 75
    return set()


@kind("two starts at once")
def twins(trial: Trial) -> set[int]:
    first, second = trial.child(), trial.child()
    waited(trial.chance.uniform(0, 0.05))
    os.kill(first, trial.chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGCONT]))
    statuses = {trial.wait(first), trial.wait(second)}
    assert statuses <= {0, 1, 75, -9, -15}, statuses
    return set()


def bombard(trial: Trial, numbers: list[signal.Signals]) -> int:
    pid = trial.child()
    waited(trial.chance.uniform(0.0, 0.12))
    for number in numbers:
        os.kill(pid, number)
        waited(trial.chance.choice([0.0, 0.0005, 0.003]))
    return trial.wait(pid)


@kind("burst of signals")
def burst(trial: Trial) -> set[int]:
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2]
    status = bombard(trial, trial.chance.choices(numbers, k=trial.chance.randint(2, 20)))
    # Before the first line of the program has run, a signal ends the process by its default.
    assert status in (0, 75, *(-number for number in numbers)), status
    return set()


@kind("kill at a random time")
def killed(trial: Trial) -> set[int]:
    for _ in range(trial.chance.randint(1, 3)):
        status = bombard(trial, [signal.SIGKILL])
        assert status in (0, -9), status
    return set()


@kind("several stops and kills")
def interrupted(trial: Trial) -> set[int]:
    for step in sorted(trial.chance.sample(range(2, toy_training.STEPS), 4)):
        hook = trial.chance.choice([toy_training.kill_at, toy_training.stop_at])(step)
        status = trial.start(hook=hook)
        assert status in (-9, 75), status
    return set()
