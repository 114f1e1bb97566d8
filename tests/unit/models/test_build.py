from __future__ import annotations

import pytest
import torch

from latentwire.errors import ConfigurationError
from latentwire.models.build import configure_torch
from latentwire.params.sections import Runtime


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_a_sentence() -> None:
    with pytest.raises(ConfigurationError, match=r"runtime\.device in params\.yaml is cuda, but torch finds no GPU"):
        configure_torch(Runtime(device="cuda", threads=1, dtype="float32"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU with the CUDA build of torch")
def test_everything_is_made_on_the_gpu() -> None:
    configure_torch(Runtime(device="cuda", threads=1, dtype="float32"))
    try:
        assert torch.zeros(1).device.type == "cuda"
    finally:
        torch.set_default_device("cpu")
