"""Reading safetensors files without a framework: headers, and a digest that does not depend on their layout."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

BLOCK = 1 << 22


def weight_files(folder: Path) -> list[Path]:
    """Safetensors files of a model's folder, in the order of their names."""
    return sorted(folder.glob("*.safetensors"))


def tensors_digest(folder: Path) -> str:
    """SHA-256 over the tensors of a folder: for each, in the order of names, `name|dtype|shape|` and its bytes.

    How the tensors are spread over files, and the files' metadata, do not matter.

    Raises:
        ValueError: A file is cut off or is not safetensors.
    """
    tensors = {name: (path, info) for path in weight_files(folder) for name, info in read_tensor_header(path).items()}
    digest = hashlib.sha256()
    for name in sorted(tensors):
        path, info = tensors[name]
        digest.update(f"{name}|{info['dtype']}|{info['shape']}|".encode())
        _update(digest, path, *info["data_offsets"])
    return digest.hexdigest()


def read_tensor_header(path: Path) -> dict[str, dict[str, Any]]:
    """Tensor name → `{"dtype", "shape", "data_offsets"}`, offsets counted from the start of the file.

    Raises:
        ValueError: The file is shorter or longer than its header says, or is not safetensors.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        start = 8 + int.from_bytes(stream.read(8), "little")
        if size < 8 or start > size:
            raise ValueError(f"{path.name} is not a whole safetensors file")
        header: dict[str, dict[str, Any]] = json.loads(stream.read(start - 8))
    header.pop("__metadata__", None)
    for info in header.values():
        info["data_offsets"] = [start + offset for offset in info["data_offsets"]]
    end = max((info["data_offsets"][1] for info in header.values()), default=start)
    if end != size:
        raise ValueError(f"{path.name} has {size} bytes, its header says {end}")
    return header


def _update(digest: hashlib._Hash, path: Path, begin: int, end: int) -> None:
    with path.open("rb") as stream:
        stream.seek(begin)
        while begin < end:
            block = stream.read(min(BLOCK, end - begin))
            if not block:
                raise ValueError(f"{path.name} ends within a tensor")
            digest.update(block)
            begin += len(block)
