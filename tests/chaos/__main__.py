"""`python -m tests.chaos --n 1000 --seed 7`: exit code 0 when every run recovered to the right bytes, else 1."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.campaign import Result, format_campaign, run_campaign
from tests.chaos.faults import KINDS

_LOOKS_EVERY_S = 10.0


def main() -> int:
    """Run the campaign and print its table."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--n", type=int, default=200, help="faults (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is random (%(default)s)")
    parser.add_argument("--kinds", default="", help="only kinds that contain this text")
    options = parser.parse_args()
    kinds = [kind for kind in KINDS if options.kinds in kind]
    work, looked = Path(tempfile.mkdtemp(prefix="unbroken-chaos-")), time.monotonic()

    def tell(index: int, result: Result) -> None:
        nonlocal looked
        if result.outcome != "recovered":
            print(f"trial {index}, {result.kind}: {result.outcome} {result.detail}", flush=True)
        if time.monotonic() - looked > _LOOKS_EVERY_S:
            looked = time.monotonic()
            print(f"{index + 1} of {options.n}", file=sys.stderr, flush=True)

    results = run_campaign(options.n, options.seed, work, kinds, tell)
    print(format_campaign(results, options.seed))
    if all(result.outcome == "recovered" for result in results):
        shutil.rmtree(work)
        return 0
    print(f"What did not recover is kept in {work}.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
