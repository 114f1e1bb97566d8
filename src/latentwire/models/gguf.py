"""One conversion: a quantised GGUF file to bfloat16 safetensors with its tokenizer beside it."""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from latentwire.console.heartbeat import disable_hf_bars, heartbeat
from latentwire.errors import ConfigurationError


def conversion_key() -> str:
    """What a conversion's result depends on besides the file."""
    return f"bf16-transformers{version('transformers')}-gguf{version('gguf')}"


def convert_gguf(name: str, source: Path, folder: Path) -> str | None:
    """Dequantise `source` and write configuration, tokenizer and weights to `folder`.

    Returns:
        The licence that the file states, if it states one.

    Raises:
        ConfigurationError: The file is cut off, is not GGUF, or is of a family that cannot be converted.
    """
    disable_hf_bars()
    try:
        with heartbeat(f"converting model {name} once to bfloat16 safetensors"):
            return _convert(source, folder)
    except (ValueError, struct.error) as error:
        raise ConfigurationError(
            f"Model {name}: {source.name} cannot be converted: {str(error).splitlines()[0]} Expected a whole GGUF file "
            f"of a family that transformers {version('transformers')} can dequantise. Next: get the file again, or "
            f"name another source under models.{name} in params.yaml."
        ) from error


class _PlainReader(gguf.GGUFReader):
    """A reader whose bytes are a plain array, since each of millions of slices of a memmap costs ten times."""

    @property  # type: ignore[override]
    def data(self) -> np.ndarray:
        """All bytes of the file."""
        return self._bytes

    @data.setter
    def data(self, mapped: np.memmap) -> None:
        self._bytes = mapped.view(np.ndarray)


def _convert(source: Path, folder: Path) -> str | None:
    with _read_once(source) as reader:
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        model: Any = AutoModelForCausalLM.from_pretrained(
            source.parent,
            gguf_file=source.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
        )
    _save(model.to(torch.bfloat16), folder)
    tokenizer.save_pretrained(folder)
    stated = reader.fields.get("general.license")
    return None if stated is None else str(stated.contents())


@contextmanager
def _read_once(source: Path) -> Iterator[gguf.GGUFReader]:
    """Within, all of `transformers` shares one reader of the file, of which it makes three."""
    library: Any = gguf
    reader, own = _PlainReader(source), library.GGUFReader
    library.GGUFReader = lambda _: reader
    try:
        yield reader
    finally:
        library.GGUFReader = own


def _save(model: Any, folder: Path) -> None:
    try:
        model.save_pretrained(folder)
    except SafetensorError as error:
        # A full disk is reported as text only.
        number = re.search(r"\(os error (\d+)\)", str(error))
        if number is None:
            raise
        raise OSError(int(number.group(1)), os.strerror(int(number.group(1)))) from error
