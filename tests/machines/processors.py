"""The processors that the core runs on: this machine's own, and others that qemu emulates.

qemu-user translates each instruction of a process, so that numpy, torch, MKL, oneDNN and OpenBLAS, which ask the
instruction `cpuid`, are told another vendor, other vectors and other caches. It emulates AVX2, not AVX-512. The models
are named without a list of flags: all that they have above what qemu emulates, such as `rdseed`, concerns no number,
and qemu leaves it out with a warning. Portable kernels need AVX2 and FMA, which Intel has from Haswell on and AMD from
Zen on. What a process starts leaves the emulation, and /proc/cpuinfo is this machine's.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.support.workspace import ROOT
from unbroken.environment import processor_vendor

PROGRAM = "qemu-x86_64"
OLDEST = 8
"""7.2, of Debian 12, computes gather instructions wrongly; 10.0 was found to be right."""


@dataclass(frozen=True)
class Processor:
    """One of them."""

    name: str
    model: str | None = None
    """As `qemu-x86_64 -cpu` takes it; None is the machine's own."""
    root: Path | None = None
    """A folder whose files hide those of the machine: `proc/cpuinfo` in it is /proc/cpuinfo."""

    def command(self, *arguments: str) -> Sequence[str]:
        """Python on this processor."""
        if self.model is None:
            return sys.executable, *arguments
        hidden = () if self.root is None else ("-L", str(self.root))
        return str(find_emulator()), "-cpu", self.model, *hidden, sys.executable, *arguments


HERE = Processor("this machine")
ROME = Processor("AMD EPYC Rome", "EPYC-Rome")
"""No AVX-512."""
HASWELL = Processor("Intel Haswell", "Haswell-v4")
"""The oldest with AVX2; MKL and oneDNN choose by vendor and family."""
SKYLAKE = Processor("Intel Skylake", "Skylake-Client-v4,l3-cache=off")
"""Another family, and no third cache: blocks of a product are cut by the sizes of caches."""
HYGON = Processor("Hygon Dhyana", "Dhyana-v1")
"""A third vendor, which the libraries know nothing special about."""
ANOTHER_VENDOR, OTHER = (HASWELL, ROME) if processor_vendor() == "AuthenticAMD" else (ROME, HASWELL)
EMULATED = (ANOTHER_VENDOR, OTHER, SKYLAKE, HYGON)
"""The first is of another vendor than this machine, with other vectors and caches."""
IVY_BRIDGE = "IvyBridge-v2"
"""The last one of Intel without AVX2."""


def find_emulator() -> Path | None:
    """qemu from `install.sh`, or the system's if it is new enough; None where there is neither."""
    own = ROOT / ".cache/qemu/usr/bin" / PROGRAM
    found = str(own) if own.is_file() else shutil.which(PROGRAM)
    return Path(found) if found and read_version(found) >= OLDEST else None


def read_version(program: str) -> int:
    """The first number of its version; 0 if it tells none."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False).stdout
    number = re.search(r"version (\d+)\.", said)
    return int(number[1]) if number else 0
