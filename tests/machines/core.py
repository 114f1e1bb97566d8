"""`python -m tests.machines.core [MODULE …]`: the processor that this process sees, then a line of JSON for each part.

It runs under qemu, where each second costs ten to fifty, and starts no other process, which would leave the emulated
processor. The kernels are those of `runtime.numerics`: they are set before any module with numpy is imported.
"""

from __future__ import annotations

import argparse
import importlib
import json
import time
from dataclasses import asdict

from latentwire.environment import set_kernels, set_torch_defaults
from latentwire.params.load import load_params
from tests.machines.cpuid import read_processor

MODULES = ("replay", "pipeline")


def main() -> None:
    """Compute all parts of the modules in the current folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.machines.core", description=__doc__)
    parser.add_argument("modules", nargs="*", help=f"such as control; {' and '.join(MODULES)} by default")
    names = parser.parse_args().modules or MODULES
    values = load_params()
    set_torch_defaults()
    set_kernels(values.runtime.numerics)
    print(json.dumps(asdict(read_processor())), flush=True)
    for name in names:
        begun = time.perf_counter()
        for part, digest in importlib.import_module(f"tests.machines.{name}").compute_parts(values):
            seconds, begun = time.perf_counter() - begun, time.perf_counter()
            print(json.dumps({"part": part, "digest": digest, "seconds": seconds}), flush=True)


if __name__ == "__main__":
    main()
