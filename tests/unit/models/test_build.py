from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from latentwire import loaded_kernels
from latentwire.errors import ConfigurationError
from latentwire.models.build import configure_torch
from latentwire.params.sections import Runtime
from unbroken.environment import has_avx2
from unbroken.exact.kernels import kernel_variables


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(ConfigurationError, match=r"runtime\.device in params\.yaml is cuda, but torch finds no GPU"):
        configure_torch(Runtime(device="cuda", threads=1, dtype="float32", numerics="native"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with the CUDA build of torch")
def test_everything_is_made_on_the_gpu() -> None:
    configure_torch(Runtime(device="cuda", threads=1, dtype="float32", numerics="native"))
    assert torch.zeros(1).device.type == "cuda"


CHECK = """
import sys
from latentwire.environment import set_kernels
if sys.argv[1] == "late":
    import numpy, torch
set_kernels("portable")
from latentwire.models.build import configure_torch
from latentwire.params.sections import Runtime
configure_torch(Runtime(device="cpu", threads=1, dtype="float32", numerics=sys.argv[2]))
"""


def _configured(when: str, numerics: str) -> subprocess.CompletedProcess[str]:
    variables = {
        name: value for name, value in os.environ.items() if name not in kernel_variables("portable", has_avx2=True)
    }
    return subprocess.run(
        [sys.executable, "-c", CHECK, when, numerics],
        env=variables,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.skipif(not has_avx2(), reason="portable kernels need a processor with AVX2")
@pytest.mark.long
def test_torch_that_was_imported_before_the_kernels_were_set_is_a_sentence() -> None:
    assert _configured("early", "portable").returncode == 0
    late = _configured("late", "portable")
    assert "imported with other kernels than results are promised for. Next: start a new process" in late.stderr


NUMPY_ALONE = """
import sys
from latentwire import loaded_kernels
loaded_kernels.has_avx2 = lambda: sys.argv[1] == "avx2"
loaded_kernels.check_numpy_kernels()
"""


def _checked_with_numpys_baseline(processor: str) -> subprocess.CompletedProcess[str]:
    """The check in a process whose numpy finds none of the kernels that it can choose, as on an old processor."""
    lacked = {"NPY_DISABLE_CPU_FEATURES": " ".join(np.show_config(mode="dicts")["SIMD Extensions"]["found"])}
    return subprocess.run(
        [sys.executable, "-c", NUMPY_ALONE, processor],
        env={**os.environ, **kernel_variables("portable", has_avx2=has_avx2()), **lacked},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_numpy_without_any_kernels_of_its_choice_is_what_an_old_processor_has() -> None:
    done = _checked_with_numpys_baseline("none")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not has_avx2(), reason="needs a processor with AVX2")
def test_numpy_that_computes_with_less_than_avx2_is_named() -> None:
    assert "numpy computes without AVX2, expected it" in _checked_with_numpys_baseline("avx2").stderr


def test_torch_with_other_kernels_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(loaded_kernels, "_mkl_branch", lambda _: 1)
    found = "torch computes with AVX512, expected AVX2 and MKL computes with another branch, expected COMPATIBLE"
    with pytest.raises(ConfigurationError, match=found):
        loaded_kernels.check_torch_kernels()


def test_portable_where_there_is_no_avx2_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaded_kernels, "has_avx2", lambda: False)
    with pytest.raises(ConfigurationError, match=r"is no x86-64 processor with AVX2; expected one\. Next: set runtime"):
        configure_torch(Runtime(device="cpu", threads=1, dtype="float32", numerics="portable"))


def test_portable_on_a_gpu_is_refused() -> None:
    with pytest.raises(ValidationError, match="numerics portable is promised for processors, and device is cuda"):
        Runtime(device="cuda", threads=1, dtype="float32", numerics="portable")
