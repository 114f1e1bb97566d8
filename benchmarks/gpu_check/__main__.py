"""What only a GPU can show, on one card: `python -m benchmarks.gpu_check` (`make gpu-check`): a table, an exit code.

Bytes: shards in one pass or several, processes that share the card, stop and resume. Time: the stall of a save against
a page-locked memcpy, deterministic kernels against the others, how busy the train stage keeps the card. And the
readings of NVML, and frozen models in bfloat16. Exit codes: 0 all is good, 3 a goal is missed or could not be
measured, 4 there is no GPU. `--device cpu` rehearses on tiny models what needs none, and ends with 4 or 3.

Hardware: one NVIDIA GPU with 8 GB, its driver, the CUDA build of torch; time: eight minutes at most.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from benchmarks.gpu_check.place import OutOfTimeError, Place, make_place
from benchmarks.gpu_check.rows import NO_GPU, Row, exit_code, failed, not_measured, print_rows
from benchmarks.gpu_check.trainings import compare_processes, compare_stops, run_bfloat16
from benchmarks.gpu_check.usage import watch_training
from latentwire.errors import LatentWireError

MINUTES = {"cuda": 8.0, "cpu": 30.0}
WATCHED_S = {"cuda": 45.0, "cpu": 2.0}
FIND_GPU = "import sys, torch; sys.exit(not torch.cuda.is_available())"
Part = Callable[[Place], Iterator[Row]]


def measure_apart(measure: str, place: Place) -> Iterator[Row]:
    """The rows of a process of its own."""
    place.set()
    place.run(["benchmarks.gpu_check.worker", measure, "rows.json"])
    for fields in json.loads((place.folder / "rows.json").read_text(encoding="utf-8")):
        yield Row(**fields)


def list_parts(device: str) -> dict[str, Part]:
    """What is checked, the most important first: at the end the time may be over."""
    return {
        "shards in one pass": partial(measure_apart, "passes"),
        "processes": compare_processes,
        "stop and resume": compare_stops,
        "use of the card": partial(watch_training, seconds=WATCHED_S[device]),
        "stall of a save": partial(measure_apart, "stall"),
        "bfloat16": run_bfloat16,
        "kernels": partial(measure_apart, "kernels"),
    }


def check(place: Place, parts: dict[str, Part]) -> list[Row]:
    """All rows. A part that fails is a row, and the others follow."""
    rows: list[Row] = []
    for name, part in parts.items():
        begun = time.monotonic()
        try:
            rows += part(place)
        except OutOfTimeError as error:
            rows.append(not_measured(name, str(error)))
        except (LatentWireError, OSError, ValueError, subprocess.SubprocessError) as error:
            rows.append(failed(name, str(error)))
        print(f"{name}: {time.monotonic() - begun:.0f} s", flush=True)
    return rows


def find_gpu() -> bool:
    """Whether torch computes on a GPU here, asked in a process of its own: this one never starts CUDA."""
    return subprocess.run([sys.executable, "-c", FIND_GPU], check=False).returncode == 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda", help="cpu rehearses (%(default)s)")
    parser.add_argument("--models", choices=("real", "tiny"), help="those of params.yaml, or made up (default on cpu)")
    parser.add_argument("--minutes", type=float, help="in all (8; 30 on cpu)")
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Check, print, and return the exit code."""
    options = parse(argv)
    if options.device == "cuda" and not find_gpu():
        print(
            "No GPU that torch can use was found, expected one; nothing was checked. Next: `nvidia-smi`, then "
            "`make setup TORCH=cuda` where it lists a card; or `python -m benchmarks.gpu_check --device cpu`.",
            file=sys.stderr,
        )
        return NO_GPU
    until = time.monotonic() + 60 * (options.minutes or MINUTES[options.device])
    models = options.models or ("real" if options.device == "cuda" else "tiny")
    with tempfile.TemporaryDirectory(prefix="latentwire-gpu-check-", ignore_cleanup_errors=True) as folder:
        try:
            place = make_place(Path(folder), options.device, models, until)
        except LatentWireError as error:
            print(f"{error}\nNext: `make setup`, or `--models tiny`.", file=sys.stderr)
            return 1
        rows = check(place, list_parts(options.device))
    print_rows(rows)
    if options.device == "cpu":
        print("A rehearsal on the processor: of a GPU it shows nothing. Next: `make gpu-check` on a machine with one.")
    return exit_code(rows, options.device == "cuda")


if __name__ == "__main__":
    sys.exit(main())
