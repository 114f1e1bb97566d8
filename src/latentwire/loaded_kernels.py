"""Do numpy and torch compute with the kernels that results are promised for? A check where such results are made.

In our own processes they do, since `latentwire.environment.set_kernels` comes before the imports. A notebook may have
imported them before anything of ours.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_info

from latentwire.errors import ConfigurationError
from unbroken.environment import has_avx2, processor_name
from unbroken.exact.kernels import TORCH_KERNELS, numpy_kernels

_MKL_COMPATIBLE = 3
"""What MKL calls the branch COMPATIBLE (mkl_service.h: MKL_CBWR_COMPATIBLE)."""

_NUMPY_AVX2 = {"X86_V3", "AVX2"}
"""What numpy calls it, since version 2.4 and before."""

_OF_THE_BRANCH = 1
"""What MKL is asked for (MKL_CBWR_BRANCH)."""


def check_numpy_kernels() -> None:
    """Check that numpy and its BLAS, one thread each, use the portable kernels; without AVX2, the threads alone.

    Raises:
        ConfigurationError: They were imported with others.
    """
    _refuse([*_foreign_numpy(), *_foreign_blas()])


def check_torch_kernels() -> None:
    """Check that torch and MKL use the portable kernels.

    Raises:
        ConfigurationError: They were imported with others, or this processor does not have the portable ones.
    """
    if not has_avx2():
        raise ConfigurationError(
            f"runtime.numerics in params.yaml is portable, but {processor_name()} is no x86-64 processor with AVX2; "
            "expected one. Next: set runtime.numerics to native, which gives the same bytes on the same kind of "
            "processor only (docs/reproducibility.md)."
        )
    _refuse(_foreign_torch())


def _refuse(foreign: Sequence[str]) -> None:
    if foreign:
        raise ConfigurationError(
            f"{' and '.join(foreign)}: imported with other kernels than results are promised for. "
            "Next: start a new process, and there call `latentwire.environment.set_kernels` with the runtime.numerics "
            "of params.yaml before numpy and torch are imported (docs/reproducibility.md)."
        )


def _foreign_numpy() -> Iterator[str]:
    used = _numpy_features()
    above = sorted(used & set(numpy_kernels()["NPY_DISABLE_CPU_FEATURES"].split()))
    if has_avx2() and above:
        yield f"numpy computes with {' '.join(above)}, expected nothing above AVX2"
    if has_avx2() and not used & _NUMPY_AVX2:
        yield "numpy computes without AVX2, expected it"


def _numpy_features() -> set[str]:
    """What numpy's kernels use; numpy leaves a list out where there is nothing in it."""
    features = np.show_config(mode="dicts").get("SIMD Extensions", {})
    return {*features.get("baseline", ()), *features.get("found", ())}


def _foreign_blas() -> Iterator[str]:
    core = numpy_kernels()["OPENBLAS_CORETYPE"]
    for library in threadpool_info():
        if library["internal_api"] != "openblas":
            continue
        if has_avx2() and library["architecture"] != core:
            yield f"{library['prefix']} computes for {library['architecture']}, expected {core}"
        if library["num_threads"] != 1:
            yield f"{library['prefix']} computes with {library['num_threads']} threads, expected 1"


def _foreign_torch() -> list[str]:
    import torch  # whoever aggregates does without it

    capability, wanted = torch.backends.cpu.get_cpu_capability(), TORCH_KERNELS["ATEN_CPU_CAPABILITY"].upper()
    is_compatible = _mkl_branch(Path(torch.__file__).parent) == _MKL_COMPATIBLE
    foreign = [] if capability == wanted else [f"torch computes with {capability}, expected {wanted}"]
    return foreign if is_compatible else [*foreign, "MKL computes with another branch, expected COMPATIBLE"]


def _mkl_branch(torch_folder: Path) -> int | None:
    """None where this build of torch has no MKL."""
    function = getattr(ctypes.CDLL(str(torch_folder / "lib/libtorch_cpu.so")), "mkl_serv_cbwr_get", None)
    return None if function is None else int(function(_OF_THE_BRANCH))
