"""What exact sums cost: `python -m benchmarks.elastic` (`make bench-elastic`). Ratios, medians over pairs of blocks.

Both ways of training take turns inside the same processes, so that noise hits both. A goal that is missed is printed
as such, and the exit code is 3.

Hardware: any; time: one to two minutes on two cores that do nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from unbroken.preemption import StopFlag

if __name__ == "__main__":
    StopFlag.install()

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from unbroken.exact.fold import fold, owned_shards
from unbroken.exact.group import SOLO, Group
from unbroken.exact.randomness import seed_all, torch_generator
from unbroken.launcher.launch import launch_ranks
from unbroken.processes.distributed import join_group
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

SEED, SHARDS, PER_SHARD, TOKENS, WIDTH = 1, 8, 4, 32, 256
BLOCKS = 8
"""Frozen layers, which cost time but have no gradients, as the language models of the real trainer."""
GOAL_GROUP, GOAL_ALONE, GOAL_BYTES = 1.05, 1.02, 1.05
WAYS = ("exact", "same micro-batches", "one forward")
Step = Callable[[int], object]


class Model(nn.Module):
    """Trained layers before a larger frozen body: gradients flow through the body, not into it."""

    def __init__(self) -> None:
        super().__init__()
        wide = 8 * WIDTH
        self.trained = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(WIDTH), nn.Linear(WIDTH, wide), nn.GELU(), nn.Dropout(0.1), nn.Linear(wide, WIDTH)
            )
            for _ in range(2)
        )
        layer = nn.TransformerEncoderLayer(WIDTH, 8, 4 * WIDTH, 0.0, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(layer, BLOCKS, enable_nested_tensor=False).requires_grad_(False)

    def forward(self, rows: Tensor) -> Tensor:
        """Rows [B, T, d] → a loss."""
        for part in self.trained:
            rows = rows + part(rows)
        loss: Tensor = self.body(rows).square().mean()
        return loss


@dataclass(frozen=True)
class Pair:
    """Two ways, one after the other: seconds on the clock, and seconds of computing on all processes together."""

    wall: tuple[float, float]
    cpu: tuple[float, float]


@dataclass(frozen=True)
class Outcome:
    """What rank 0 found."""

    pairs: dict[str, list[Pair]]
    """Against what → pairs of (exact, that)."""
    sent: float
    """Bytes of a step, of one process."""
    ring: float
    """What a ring all-reduce of the same numbers would send."""
    digest: str
    """Of the weights and moments that exact training ends with."""
    step_s: float
    trained: int
    frozen: int


class Contestant:
    """A model and its optimizer, at the same start for all."""

    def __init__(self, device: torch.device) -> None:
        seed_all(SEED)
        self.model = Model().to(device)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(self.parameters, lr=1e-4)

    def update(self) -> None:
        """Clip and step."""
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def digest(self) -> str:
        """SHA-256 of weights and moments."""
        states = self.optimizer.state_dict()["state"].values()
        tensors = [*self.parameters, *(tensor for state in states for tensor in state.values())]
        content = hashlib.sha256()
        for tensor in tensors:
            content.update(tensor.detach().cpu().numpy().tobytes())
        return content.hexdigest()


def rows(step: int, shard: int, device: torch.device) -> Tensor:
    """The samples of one shard [B, T, d]."""
    dice = torch_generator(SEED, step, shard, "rows")
    return torch.randn(PER_SHARD, TOKENS, WIDTH, generator=dice).to(device)


def exact(who: Contestant, group: Group, device: torch.device) -> Step:
    """Gradients folded over the canonical tree."""

    def leaf(step: int, shard: int) -> list[Tensor]:
        seed_all(SEED, step, shard, "dropout")
        loss = who.model(rows(step, shard, device))
        return [*torch.autograd.grad(loss, who.parameters), loss.detach()]

    def one(step: int) -> Tensor:
        *gradients, loss = fold(lambda shard: leaf(step, shard), SHARDS, group)
        for parameter, gradient in zip(who.parameters, gradients, strict=True):
            parameter.grad = gradient.div_(SHARDS)
        who.update()
        return loss / SHARDS

    return one


def plain(who: Contestant, model: nn.Module, group: Group, device: torch.device, whole: bool) -> Step:
    """The same samples, accumulated shard by shard or in one forward; the last backward tells the others."""
    mine = list(owned_shards(group.rank, group.size, SHARDS))

    def quiet(last: bool) -> contextlib.AbstractContextManager[Any]:
        silent = isinstance(model, DistributedDataParallel) and not last
        return model.no_sync() if silent else contextlib.nullcontext()

    def one(step: int) -> None:
        parts = [rows(step, shard, device) for shard in mine]
        batches = [torch.cat(parts)] if whole else parts
        for shard, batch in zip(mine, batches, strict=False):
            seed_all(SEED, step, shard, "dropout")
            with quiet(shard == mine[len(batches) - 1]):
                loss: Tensor = model(batch) / len(batches)
                loss.backward()
        who.update()

    return one


def contest(ways: Mapping[str, Step], pairs: int, size: int, group: Group) -> dict[str, list[Pair]]:
    """Blocks of `size` steps of exact and of each other way, in turn, the first of a pair changing."""
    steps = {name: iter(range(1, 10**9)) for name in ways}
    found: dict[str, list[Pair]] = {name: [] for name in ways if name != WAYS[0]}
    for turn in range(pairs + 1):
        for name in found:
            order = [WAYS[0], name] if turn % 2 else [name, WAYS[0]]
            timed = {way: _timed(ways[way], steps[way], size, group) for way in order}
            (wall, cpu), (other_wall, other_cpu) = timed[WAYS[0]], timed[name]
            found[name].append(Pair((wall, other_wall), (cpu, other_cpu)))
    return {name: timed_pairs[1:] for name, timed_pairs in found.items()}  # the first ones warm up


def _timed(way: Step, steps: Iterator[int], size: int, group: Group) -> tuple[float, float]:
    group.barrier()
    begun, computing = time.perf_counter(), time.process_time()
    for _ in range(size):
        way(next(steps))
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    spent = time.process_time() - computing
    group.barrier()
    wall = time.perf_counter() - begun
    return wall, sum(json.loads(part) for part in group.all_gather_bytes(json.dumps(spent).encode()))


def measure(group: Group, pairs: int, size: int, device: torch.device) -> Outcome:
    """All figures for one number of processes."""
    one = Contestant(device)
    others = {name: Contestant(device) for name in WAYS[1:]}
    taught: dict[str, nn.Module] = {name: who.model for name, who in others.items()}
    if group.size > 1:
        taught = {name: DistributedDataParallel(model) for name, model in taught.items()}
    ways = {name: plain(others[name], taught[name], group, device, name == WAYS[2]) for name in others}
    begun = group.sent
    with _exact(one, group, device) as step:
        found = contest({WAYS[0]: step, **ways}, pairs, size, group)
    count = sum(p.numel() for p in one.parameters)
    steps = 2 * (pairs + 1) * size
    return Outcome(
        found,
        (group.sent - begun) / steps,
        2 * (group.size - 1) / group.size * 4 * (count + 1),  # and the loss
        one.digest(),
        statistics.median(pair.wall[0] for pair in found[WAYS[1]]) / size,
        count,
        sum(p.numel() for p in one.model.body.parameters()),
    )


@contextlib.contextmanager
def _exact(who: Contestant, group: Group, device: torch.device) -> Iterator[Step]:
    """As a program does it: in a Run. Saves are measured by the other benchmarks."""
    state: dict[str, Any] = {"model": who.model.trained, "optimizer": who.optimizer}
    with (
        tempfile.TemporaryDirectory() as folder,
        Run(
            Path(folder),
            identity=Identity({}),
            state=state,
            stop=StopFlag.install(),
            group=group,
            every=10**9,
            report=lambda _text: None,
        ) as run,
    ):
        steps, fold_one = run.steps(10**9), exact(who, group, device)

        def one(step: int) -> None:
            seed_all(SEED)  # the other ways leave the generators elsewhere on each rank
            assert next(steps) == step
            run.log(loss=fold_one(step))

        yield one


def settle(device: torch.device) -> None:
    """The same switches for all ways."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if device.type == "cuda":
        torch.cuda.set_device(device)


def processes(count: int, options: argparse.Namespace) -> Outcome:
    """Measure with so many processes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "outcome.json"
        shared = ["--pairs", str(options.pairs), "--steps", str(options.steps), "--device", options.device]
        command = [sys.executable, "-m", "benchmarks.elastic", *shared, "--worker", str(path)]
        code = launch_ranks(count, StopFlag.install(), command)
        if code:
            sys.exit(code)
        stored = json.loads(path.read_text())
    stored["pairs"] = {name: [Pair(**pair) for pair in pairs] for name, pairs in stored["pairs"].items()}
    return Outcome(**stored)


def worker(options: argparse.Namespace) -> None:
    """One of them."""
    device = torch.device(options.device)
    settle(device)
    group = join_group(StopFlag.install())
    outcome = measure(group, options.pairs, options.steps, device)
    if group.rank == 0:
        options.worker.write_text(json.dumps(asdict(outcome)))
    group.close()


def deterministic_kernels(options: argparse.Namespace) -> list[float]:
    """Ratios of a step with deterministic kernels against one without, on the GPU."""
    device = torch.device(options.device)
    settle(device)
    ways = {name: exact(Contestant(device), SOLO, device) for name in WAYS[:2]}

    def free(step: int) -> None:
        torch.use_deterministic_algorithms(False)
        ways[WAYS[1]](step)
        torch.use_deterministic_algorithms(True)

    found = contest({WAYS[0]: ways[WAYS[0]], WAYS[1]: free}, options.pairs, options.steps, SOLO)
    return [pair.wall[0] / pair.wall[1] for pair in found[WAYS[1]]]


class Table:
    """What was found, against its goal."""

    def __init__(self) -> None:
        self.missed = 0

    def line(self, name: str, values: Sequence[float], goal: float | None) -> None:
        """Median and middle half of the ratios."""
        middle = statistics.median(values)
        low, _, high = statistics.quantiles(values, n=4) if len(values) > 1 else (middle,) * 3
        verdict = "" if goal is None else f"goal <= {goal:.2f}: {'met' if middle <= goal else 'not met'}"
        self.missed += goal is not None and middle > goal
        print(f"  {name:<58} {middle:6.3f}  [{low:.3f}, {high:.3f}]  {verdict}".rstrip(), flush=True)

    def said(self, name: str, good: bool) -> None:
        """A yes or no that has to be yes."""
        self.missed += not good
        print(f"  {name:<58} {'yes' if good else 'NO'}", flush=True)


def show(count: int, found: Outcome, table: Table) -> None:
    """The lines of one number of processes."""
    if count == 1:
        print(f"\n{found.trained / 1e6:.1f} million trained parameters, {found.frozen / 1e6:.1f} million frozen")
    print(f"\n{count} process{'es' * (count > 1)}, a step of {found.step_s:.2f} s, median [middle half of the pairs]")
    other = "a plain loop" if count == 1 else "DDP"
    for name, pairs in found.pairs.items():
        goal = (GOAL_ALONE if count == 1 else GOAL_GROUP) if name == WAYS[1] else None
        table.line(f"time / {other}, {name}", [pair.wall[0] / pair.wall[1] for pair in pairs], goal)
        table.line(f"computing / {other}, {name}", [pair.cpu[0] / pair.cpu[1] for pair in pairs], None)
    if count > 1:
        table.line("bytes sent / ring all-reduce", [found.sent / found.ring], GOAL_BYTES)


def main() -> int:
    """Print the comparison; 3 where a goal is missed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.elastic", description=__doc__)
    parser.add_argument("--pairs", type=int, default=7, help="pairs of blocks (%(default)s)")
    parser.add_argument("--steps", type=int, default=3, help="steps of a block (%(default)s)")
    parser.add_argument("--processes", default="1,2,4", help="(%(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="(%(default)s)")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    if options.worker:
        worker(options)
        return 0
    print(f"torch {torch.__version__}, {options.device}, {os.cpu_count()} cores, {SHARDS} virtual shards")
    table = Table()
    found = {count: processes(count, options) for count in map(int, options.processes.split(","))}
    for count, outcome in found.items():
        show(count, outcome, table)
    print()
    table.said("the same SHA-256 of weights and moments for all of them", len({o.digest for o in found.values()}) == 1)
    if options.device == "cuda":
        table.line("a step with deterministic kernels / without", deterministic_kernels(options), None)
    else:
        print("  deterministic GPU kernels: skipped, there is no GPU here")
    return 3 if table.missed else 0


if __name__ == "__main__":
    sys.exit(main())
