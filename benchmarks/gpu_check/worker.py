"""Measures inside one process with the parameters of its folder: `python -m benchmarks.gpu_check.worker MEASURE FILE`.

A process of its own, so that an error of the device ends one measure and not the check.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

from latentwire.environment import set_kernels, set_torch_defaults
from latentwire.params.load import load_params


def main() -> None:
    """Write the rows of a measure as JSON."""
    name, file = sys.argv[1:]
    set_torch_defaults()
    set_kernels(load_params().runtime.numerics)
    from benchmarks.gpu_check.measures import MEASURES  # torch reads the kernels when it is imported

    Path(file).write_text(json.dumps([asdict(row) for row in MEASURES[name]()]), encoding="utf-8")


if __name__ == "__main__":
    main()
