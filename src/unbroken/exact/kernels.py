"""Which kernels numpy, torch and the libraries below them compute with, so that another processor gives the same bits.

Each of these libraries looks at the processor and takes the kernels that are fastest there: their sums have another
order, so their results other bits. All of them take a name from the environment instead. `portable` names kernels that
every x86-64 processor with AVX2 has, and MKL's branch that does not look at the vendor. `native` leaves torch and its
libraries the processor's best; numpy and its BLAS keep the portable kernels, which cost nothing there.

The variables count if they are set before numpy and torch are imported: then no new process is needed, since each of
the libraries reads them when it is loaded or first used. Imports neither of the two.

The numbers of threads are in here too: they decide where a sum is split. All libraries begin with one thread; torch
gets its own number later, by `torch.set_num_threads`.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from functools import cache
from importlib.metadata import version
from typing import Literal

Kernels = Literal["portable", "native"]

ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_DYNAMIC": "FALSE",  # as many threads as asked for, however busy the machine is
    "MKL_DYNAMIC": "FALSE",
}

TORCH_KERNELS = {
    "ATEN_CPU_CAPABILITY": "avx2",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "COMPATIBLE",  # every other branch differs between Intel and AMD
}

OTHER_SETTINGS = (
    "ONEDNN_CPU_ISA_HINTS",
    "ONEDNN_DEFAULT_FPMATH_MODE",
    "DNNL_MAX_CPU_ISA",
    "DNNL_CPU_ISA_HINTS",
    "DNNL_DEFAULT_FPMATH_MODE",
    "MKL_DOMAIN_NUM_THREADS",
    "MKL_ENABLE_INSTRUCTIONS",
    "MKL_DEBUG_CPU_TYPE",
    "MKL_DISABLE_FAST_MM",
    "MKL_NUM_STRIPES",
    "OPENBLAS_BLOCK_FACTOR",
    "OPENBLAS_DEFAULT_NUM_THREADS",
    "GOTO_NUM_THREADS",
    "NPY_ENABLE_CPU_FEATURES",
    "OMP_THREAD_LIMIT",
    "OMP_MAX_ACTIVE_LEVELS",
    "OMP_NESTED",
    "OMP_SCHEDULE",
    "TORCH_MKLDNN_MATMUL_MIN_DIM",
    "TORCH_MKLDNN_MATMUL_MIN_SIZE",
    "TORCH_LINEAR_FLATTEN_3D",
    "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE",
)
"""Nobody needs them for these kernels, and each of them makes other bits: they are removed."""

_ABOVE_AVX2 = (
    ((2, 4), "X86_V4 AVX512_ICL AVX512_SPR"),
    ((2, 3), "AVX512F AVX512CD AVX512_KNL AVX512_KNM AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL AVX512_SPR"),
    ((0, 0), "AVX512F AVX512CD AVX512_KNL AVX512_KNM AVX512_SKX AVX512_CLX AVX512_CNL AVX512_ICL"),
)
"""First version of numpy → what it calls its kernels above AVX2. It warns of a name that it does not know."""


def numpy_kernels(numpy: str | None = None) -> dict[str, str]:
    """What numpy and its BLAS read.

    Args:
        numpy: Version of numpy; that of the installed one by default.
    """
    major, minor = (numpy or _installed_numpy()).split(".")[:2]
    above = next(names for first, names in _ABOVE_AVX2 if (int(major), int(minor)) >= first)
    return {"NPY_DISABLE_CPU_FEATURES": above, "OPENBLAS_CORETYPE": "Haswell"}


@cache
def _installed_numpy() -> str:
    return version("numpy")


def kernel_variables(kernels: Kernels, *, has_avx2: bool) -> dict[str, str]:
    """The variables that stand for these kernels; where there is no AVX2, threads alone can be settled."""
    if not has_avx2:
        return dict(ONE_THREAD)
    return {**ONE_THREAD, **numpy_kernels(), **(TORCH_KERNELS if kernels == "portable" else {})}


def pin_kernels(variables: MutableMapping[str, str], kernels: Kernels, *, has_avx2: bool) -> list[str]:
    """Set these kernels in an environment, whatever it says of others.

    Args:
        variables: `os.environ`, before numpy and torch are imported.
        kernels: Which ones.
        has_avx2: Whether this is an x86-64 processor with AVX2.

    Returns:
        The settings of the user that were replaced or removed, such as `MKL_CBWR=AVX512`.
    """
    wanted = kernel_variables(kernels, has_avx2=has_avx2)
    foreign = _list_foreign(variables, {**kernel_variables("portable", has_avx2=has_avx2), **wanted})
    for name in {*TORCH_KERNELS, *numpy_kernels(), *OTHER_SETTINGS} - set(wanted):
        variables.pop(name, None)
    variables.update(wanted)
    return foreign


def _list_foreign(variables: Mapping[str, str], ours: Mapping[str, str]) -> list[str]:
    names = (*ONE_THREAD, *TORCH_KERNELS, *numpy_kernels(), *OTHER_SETTINGS)
    return [f"{name}={variables[name]}" for name in names if variables.get(name) not in (None, ours.get(name))]
