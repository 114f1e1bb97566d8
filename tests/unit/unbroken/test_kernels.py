"""Which kernels numpy and torch compute with is said by us, whatever the environment says."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from unbroken.environment import has_avx2
from unbroken.exact.kernels import OTHER_SETTINGS, kernel_variables, numpy_kernels, pin_kernels

CONTRARY = {
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "DNNL_DEFAULT_FPMATH_MODE": "BF16",
    "MKL_CBWR": "AVX2",
    "MKL_DOMAIN_NUM_THREADS": "MKL_DOMAIN_BLAS=2",
    "OPENBLAS_CORETYPE": "Sandybridge",
    "OPENBLAS_NUM_THREADS": "2",
    "NPY_ENABLE_CPU_FEATURES": "X86_V3",
    "OMP_NUM_THREADS": "2",
    "OMP_THREAD_LIMIT": "1",
}

LOADED = """
import os
from unbroken.exact.kernels import pin_kernels
pin_kernels(os.environ, "portable", has_avx2=True)
import numpy, torch
numpy_core = getattr(numpy, "_core", None) or numpy.core
numpy_core = numpy_core._multiarray_umath
print(*(name for name in numpy_core.__cpu_dispatch__ if numpy_core.__cpu_features__[name]))
print(torch.backends.cpu.get_cpu_capability(), torch.get_num_threads())
"""

needs_avx2 = pytest.mark.skipif(not has_avx2(), reason="needs a processor with AVX2")


def _outputs(program: str, variables: dict[str, str]) -> list[str]:
    names = {*CONTRARY, *OTHER_SETTINGS, *kernel_variables("portable", has_avx2=True)}
    environment = {name: value for name, value in os.environ.items() if name not in names} | variables
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


@needs_avx2
@pytest.mark.parametrize("variables", [{}, CONTRARY], ids=["nothing set", "the contrary set"])
def test_numpy_and_torch_take_the_pinned_kernels_without_a_warning(variables: dict[str, str]) -> None:
    features, torch_kernels = _outputs(LOADED, variables)
    assert features.split()[-1] in ("X86_V3", "AVX2")  # they stand in ascending order
    assert torch_kernels == "AVX2 1"


def test_the_contrary_is_replaced_or_removed_and_named() -> None:
    variables = dict(CONTRARY, PATH="/bin")
    replaced = pin_kernels(variables, "portable", has_avx2=True)
    assert sorted(replaced) == sorted(f"{name}={value}" for name, value in CONTRARY.items())
    assert variables == {"PATH": "/bin", **kernel_variables("portable", has_avx2=True)}
    assert pin_kernels(variables, "portable", has_avx2=True) == []


def test_native_leaves_torch_alone_and_pins_the_rest() -> None:
    variables: dict[str, str] = {}
    pin_kernels(variables, "portable", has_avx2=True)
    assert pin_kernels(variables, "native", has_avx2=True) == []
    assert "ATEN_CPU_CAPABILITY" not in variables
    assert "ONEDNN_MAX_CPU_ISA" not in variables
    assert "MKL_CBWR" not in variables
    assert variables["OPENBLAS_CORETYPE"] == "Haswell"
    assert variables["OMP_NUM_THREADS"] == "1"


def test_native_follows_no_setting_of_the_user_either() -> None:
    variables = {"MKL_CBWR": "AVX2", "ATEN_CPU_CAPABILITY": "default"}
    assert pin_kernels(variables, "native", has_avx2=True) == ["ATEN_CPU_CAPABILITY=default", "MKL_CBWR=AVX2"]
    assert not {"MKL_CBWR", "ATEN_CPU_CAPABILITY"} & variables.keys()


def test_without_avx2_no_kernel_is_named_that_the_processor_lacks() -> None:
    variables = {"ATEN_CPU_CAPABILITY": "avx512", "OPENBLAS_CORETYPE": "SkylakeX"}
    assert len(pin_kernels(variables, "portable", has_avx2=False)) == 2
    assert variables == kernel_variables("portable", has_avx2=False)
    assert not {"ATEN_CPU_CAPABILITY", "OPENBLAS_CORETYPE", "NPY_DISABLE_CPU_FEATURES"} & variables.keys()


@pytest.mark.parametrize(
    ("numpy", "known", "unknown"),
    [("1.26.4", "AVX512_KNL", "AVX512_SPR"), ("2.3.5", "AVX512_SPR", "X86_V4"), ("2.10.0", "X86_V4", "AVX512F")],
)
def test_a_version_of_numpy_is_told_the_names_that_it_knows(numpy: str, known: str, unknown: str) -> None:
    names = numpy_kernels(numpy)["NPY_DISABLE_CPU_FEATURES"].split()
    assert known in names
    assert unknown not in names
