"""What a checkpoint says of the numerics under which it was computed."""

from __future__ import annotations

from typing import Any

import pytest

from latentwire.params.load import load_params
from latentwire.training import numerics
from tests.support.workspace import ROOT
from unbroken.exact.group import SOLO


def _described(kernels: str, monkeypatch: pytest.MonkeyPatch, processor: str, workspace: str) -> Any:
    monkeypatch.setattr(numerics, "processor_name", lambda: processor)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", workspace)
    values = load_params(ROOT / "params.yaml")
    runtime = values.runtime.model_copy(update={"numerics": kernels})
    return numerics.describe_numerics(runtime, values.train, SOLO)


@pytest.mark.parametrize(("kernels", "same"), [("portable", True), ("native", False)])
@pytest.mark.parametrize("other", [("Xeon", ":4096:8"), ("EPYC", ":16:8")])
def test_portable_numerics_do_not_name_what_changes_no_bit(
    kernels: str, same: bool, other: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    here = _described(kernels, monkeypatch, "EPYC", ":4096:8")
    assert (here == _described(kernels, monkeypatch, *other)) is same
