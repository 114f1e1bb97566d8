"""The kinds of faults. Each takes a world, does its harm, and says which checkpoints nobody may use now."""

from __future__ import annotations

import datetime
import os
import random
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import toy

from tests.chaos.world import ERRORS, Disk, TornDisk, World, waited
from unbroken.run_folder import events

Harm = Callable[[World], set[int]]
KINDS: dict[str, Harm] = {}
FILES = ("manifest.json", "tensors.safetensors", "journal.jsonl")
_STATUSES = (0, 1, 75, -9)
_OPERATIONS: dict[tuple[bool, int], dict[str, int]] = {}


def kind(name: str) -> Callable[[Harm], Harm]:
    """Register a kind under a name for the table."""

    def register(harm: Harm) -> Harm:
        KINDS[name] = harm
        return harm

    return register


def operations(world: World, resumed: bool, every: int = 3) -> dict[str, int]:
    """How often each file operation happens in a whole run, or in a resume; counted once."""
    if (resumed, every) not in _OPERATIONS:
        other = World(world.root / "count", random.Random(1))
        if resumed:
            other.stopped(at=38)
        disk = Disk()
        toy.train(other.run, other.target, files=disk, every=every, background=False)
        _OPERATIONS[resumed, every] = dict(disk.counts)
        shutil.rmtree(other.root)
    return _OPERATIONS[resumed, every]


def faulty_start(world: World, fault: str, disk: type[Disk] = Disk, only: str = "") -> set[int]:
    """One start with a fault at a random occurrence of a random operation, in a fresh run or in a resume."""
    resumed = world.chance.random() < 0.4
    if resumed:
        world.stopped()
    counted = operations(world, resumed)
    operation = only or world.chance.choice(sorted(counted))
    lasting = fault in ERRORS and world.chance.random() < 0.5
    files = disk(operation, world.chance.randint(1, counted[operation]), fault, lasting)
    status = world.start(files=files, every=3)
    assert status in _STATUSES, f"{fault} at {operation} {files.target[1]} ended the start with {status}"
    return set()


for _fault in ("kill-before", "kill-after", *ERRORS):
    KINDS[f"{_fault} an operation" if "kill" in _fault else _fault] = lambda world, fault=_fault: faulty_start(  # type: ignore[misc]
        world, fault
    )
for _fault in ("short-write", "flip-on-write"):
    KINDS[_fault.replace("-", " ")] = lambda world, fault=_fault: faulty_start(world, fault, only="write")  # type: ignore[misc]
KINDS["flip on read"] = lambda world: faulty_start(world, "flip-on-read", only="read")
KINDS["torn write, then kill"] = lambda world: faulty_start(world, "torn-then-kill", TornDisk, "write")


def flip(path: Path, chance: random.Random) -> None:
    data = bytearray(path.read_bytes())
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    path.write_bytes(data)


def truncate(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


def garbage(path: Path, chance: random.Random) -> None:
    path.write_bytes(chance.randbytes(path.stat().st_size))


def zeros(path: Path, chance: random.Random) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def delete(path: Path, chance: random.Random) -> None:
    path.unlink()


def damage(world: World, way: Callable[[Path, random.Random], None], names: tuple[str, ...] = FILES) -> set[int]:
    """Harm one file of the newest checkpoint, sometimes of older ones too."""
    world.stopped()
    harmed = world.checkpoints[-world.chance.choice([1, 1, 2, 3]) :]
    for folder in harmed:
        way(folder / world.chance.choice(names), world.chance)
    return {int(folder.name[5:]) for folder in harmed}


KINDS["bit flip"] = lambda world: damage(world, flip)
KINDS["truncation"] = lambda world: damage(world, truncate)
KINDS["garbage in a file"] = lambda world: damage(world, garbage)
KINDS["file of zeros"] = lambda world: damage(world, zeros)
KINDS["deleted manifest"] = lambda world: damage(world, delete, FILES[:1])
KINDS["deleted file"] = lambda world: damage(world, delete, FILES[1:])


@kind("file of an older step")
def swapped(world: World) -> set[int]:
    world.stopped()
    old, new = world.checkpoints[-2:]
    shutil.copy(old / (name := world.chance.choice(FILES)), new / name)
    return {int(new.name[5:])}


@kind("old checkpoint replayed as newer")
def replayed(world: World) -> set[int]:
    world.stopped()
    shutil.copytree(world.checkpoints[0], world.run / "checkpoints" / f"step-{toy.STEPS - 1:08d}")
    return {toy.STEPS - 1}


@kind("garbage in the folder")
def strangers(world: World) -> set[int]:
    world.stopped()
    folder = world.run / "checkpoints"
    (folder / "step-99999999").write_bytes(b"a file")
    (folder / "step-00000099").mkdir()
    (folder / ".tmp-step-00000042").mkdir()
    (folder / "core.1234").write_bytes(world.chance.randbytes(100))
    return {99999999, 99}


@kind("garbage in journal, events, identity, verdict")
def bookkeeping(world: World) -> set[int]:
    world.stopped()
    for name in ("journal.jsonl", "events.jsonl", "verdict.json", "lock", "identity.json"):
        if world.chance.random() < 0.5:
            world.chance.choice([truncate, garbage, zeros, flip])(world.run / name, world.chance)
    return set()


@kind("everything deleted but the newest")
def pruned(world: World) -> set[int]:
    world.stopped()
    for folder in world.checkpoints[:-1]:
        shutil.rmtree(folder)
    (world.run / "journal.jsonl").unlink()
    return set()


@kind("clock jumps")
def clocks(world: World) -> set[int]:
    def jump() -> None:
        chance, real = random.Random(os.getpid()), time.time
        time.time = lambda: real() + chance.uniform(-1e8, 1e8)

        class Jumping(datetime.datetime):
            @classmethod
            def now(cls, zone: datetime.tzinfo | None = None) -> datetime.datetime:
                return datetime.datetime.fromtimestamp(max(0.0, time.time()), zone)

        events.datetime = Jumping  # type: ignore[misc]

    status = world.start(prepare=jump, every="auto", hook=toy.kill_at(world.chance.randint(2, 30)))
    assert status == -9
    status = world.start(prepare=jump, every="auto", hook=toy.stop_at(35))
    assert status == 75
    return set()


@kind("two starts at once")
def twins(world: World) -> set[int]:
    first, second = world.child(), world.child()
    waited(world.chance.uniform(0, 0.05))
    os.kill(first, world.chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGCONT]))
    statuses = {world.wait(first), world.wait(second)}
    assert statuses <= {0, 1, 75, -9, -15}, statuses
    return set()


def bombard(world: World, numbers: list[signal.Signals]) -> int:
    pid = world.child()
    waited(world.chance.uniform(0.0, 0.12))
    for number in numbers:
        os.kill(pid, number)
        waited(world.chance.choice([0.0, 0.0005, 0.003]))
    return world.wait(pid)


@kind("burst of signals")
def burst(world: World) -> set[int]:
    numbers = [signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2]
    status = bombard(world, world.chance.choices(numbers, k=world.chance.randint(2, 20)))
    # Before the first line of the program has run, a signal ends the process by its default.
    assert status in (0, 75, *(-number for number in numbers)), status
    return set()


@kind("kill at a random time")
def killed(world: World) -> set[int]:
    for _ in range(world.chance.randint(1, 3)):
        status = bombard(world, [signal.SIGKILL])
        assert status in (0, -9), status
    return set()


@kind("several stops and kills")
def interrupted(world: World) -> set[int]:
    for step in sorted(world.chance.sample(range(2, toy.STEPS), 4)):
        hook = world.chance.choice([toy.kill_at, toy.stop_at])(step)
        status = world.start(hook=hook)
        assert status in (-9, 75), status
    return set()
