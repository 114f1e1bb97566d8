"""A safetensors file, written and read in one pass, tensor by tensor, each with its own digest.

The layout is that of the safetensors library (any reader opens the file), but the bytes go from the tensor's
memory to the disk without a copy, and reading refuses everything but exactly what the manifest announced.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from unbroken.errors import CheckpointError, DamagedError
from unbroken.filesystem import Buffer, FileSystem, NewFile, read_all

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
T = TypeVar("T")
_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_HASH_CHUNK = 1 << 24
_memcmp = ctypes.CDLL(None).memcmp
_memcmp.argtypes, _memcmp.restype = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t), ctypes.c_int
_MOST_THREADS = min(4, os.cpu_count() or 1)
_SMALL = 1 << 16  # fewer bytes are hashed or compared sooner than a thread is woken
_BATCH = 1 << 22  # bytes that are worth waking a thread for: each time it takes the interpreter from the writer


@dataclass(frozen=True)
class TensorSpec:
    """Type and shape of one stored tensor."""

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of the data."""
        return math.prod(self.shape) * DTYPES[self.dtype].itemsize


def tensor_spec(tensor: torch.Tensor, name: str) -> TensorSpec:
    """Type and shape of a tensor, whose name is for the message.

    Raises:
        CheckpointError: The format does not have its dtype.
    """
    check_dtype(tensor, name)
    return TensorSpec(_NAMES[tensor.dtype], tuple(tensor.shape))


def check_dtype(tensor: torch.Tensor, name: str) -> None:
    """Refuse a tensor, whose name is for the message, with a dtype that the format does not have.

    Raises:
        CheckpointError: It has one.
    """
    if tensor.dtype not in _NAMES:
        raise CheckpointError(
            f"Tensor {name} has dtype {tensor.dtype}, which safetensors cannot hold; it holds {', '.join(DTYPES)}. "
            "Next: convert it in `state_dict` and back in `load_state_dict` (`torch.view_as_real` does for complex "
            "numbers), or leave it out of the state."
        )


def allocate_tensor(spec: TensorSpec) -> torch.Tensor:
    """A tensor for stored bytes, in CPU memory: a program may have made a GPU torch's default device."""
    return torch.empty(spec.shape, dtype=DTYPES[spec.dtype], device="cpu")


def tensor_bytes(tensor: torch.Tensor) -> memoryview:
    """The bytes of a tensor, without a copy when it is contiguous in CPU memory."""
    plain = tensor.detach()
    if not (plain.is_cpu and plain.is_contiguous()) or plain.is_conj() or plain.is_neg():
        plain = plain.cpu().resolve_conj().resolve_neg().contiguous()
    # Not `reshape`: it keeps the stride 0 that one element, or none, may have.
    return plain.as_strided((plain.numel(),), (1,)).view(torch.uint8).numpy().data


def begin_digest(spec: TensorSpec) -> hashlib._Hash:
    """SHA-256 of dtype and shape, to be updated with the bytes."""
    return hashlib.sha256(f"{spec.dtype}|{','.join(map(str, spec.shape))}|".encode())


def digest_tensor(spec: TensorSpec, data: memoryview) -> str:
    """64 hex: SHA-256 of dtype, shape and bytes."""
    hasher = begin_digest(spec)
    for start in range(0, len(data), _HASH_CHUNK):
        hasher.update(data[start : start + _HASH_CHUNK])
    return hasher.hexdigest()


def digest_tensors(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """The digest of each, taken in threads.

    Raises:
        CheckpointError: The format does not have the dtype of one.
    """
    layout = lay_out_tensors(tensors)
    digests: dict[str, str] = {}
    pending: deque[Callable[[], dict[str, str]]] = deque()
    with _Threads() as hasher:
        for names in layout.batches():
            pending.append(hasher.digests(layout.specs, {name: tensor_bytes(tensors[name]) for name in names}))
            if len(pending) > _MOST_THREADS:  # what is on a GPU was copied: no more of it than needed
                digests.update(pending.popleft()())
        for batch in pending:
            digests.update(batch())
    return dict(sorted(digests.items()))


@dataclass(frozen=True)
class TensorLayout:
    """Where the tensors lie in a file. It is a function of names, types and shapes, made once for each use of them."""

    specs: Mapping[str, TensorSpec]

    @cached_property
    def names(self) -> list[str]:
        """Wide types first, then by name: so every tensor is aligned, and the file depends on nothing else."""
        return sorted(self.specs, key=lambda name: (-DTYPES[self.specs[name].dtype].itemsize, name))

    @cached_property
    def header(self) -> bytes:
        """Length and JSON header of the file, padded to 8 bytes."""
        entries: dict[str, object] = {}
        offset = 0
        for name in self.names:
            spec, begin = self.specs[name], offset
            offset += spec.nbytes
            entries[name] = {"dtype": spec.dtype, "shape": list(spec.shape), "data_offsets": [begin, offset]}
        text = json.dumps(entries, separators=(",", ":")).encode("ascii")
        text += b" " * (-len(text) % 8)
        return len(text).to_bytes(8, "little") + text

    @cached_property
    def file_size(self) -> int:
        """Bytes of the whole file."""
        return len(self.header) + sum(spec.nbytes for spec in self.specs.values())

    def batches(self) -> Iterator[list[str]]:
        """The names of the tensors in the order of the file, some at a time: `_BATCH` bytes or a little more."""
        names: list[str] = []
        size = 0
        for name in self.names:
            names.append(name)
            size += self.specs[name].nbytes
            if size >= _BATCH:
                yield names
                names, size = [], 0
        if names:
            yield names


def lay_out_tensors(tensors: Mapping[str, torch.Tensor]) -> TensorLayout:
    """The layout of a file for these tensors.

    Raises:
        CheckpointError: The format does not have the dtype of one.
    """
    return TensorLayout({name: tensor_spec(tensor, name) for name, tensor in tensors.items()})


class _Threads:
    """Work on bytes beside the caller's: hashing and comparing leave the interpreter free meanwhile."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_MOST_THREADS, "unbroken-threads")

    def __enter__(self) -> _Threads:
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def begin(self, work: Callable[[], T], nbytes: int) -> Callable[[], T]:
        """Begin to work on so many bytes; the returned function waits for the result."""
        if nbytes < _SMALL:
            done = work()
            return lambda: done
        try:
            return self._threads.submit(work).result
        except RuntimeError:  # no thread could be started; what was handed over is done by whoever is there
            return work

    def digests(self, specs: Mapping[str, TensorSpec], parts: Mapping[str, memoryview]) -> Callable[[], dict[str, str]]:
        """Begin to hash these tensors; the returned function waits for their digests."""

        def hash_all() -> dict[str, str]:
            return {name: digest_tensor(specs[name], data) for name, data in parts.items()}

        return self.begin(hash_all, sum(map(len, parts.values())))


class TensorWriting:
    """A file of tensors while it is written, and the digests of them, which are taken meanwhile."""

    def __init__(self, layout: TensorLayout, tensors: Mapping[str, torch.Tensor]) -> None:
        """`layout` is that of `tensors`."""
        self._layout, self._tensors = layout, tensors
        self._threads = _Threads()
        self._digests: list[Callable[[], dict[str, str]]] = []

    def __enter__(self) -> TensorWriting:
        return self

    def __exit__(self, *error: object) -> None:
        self._threads.__exit__(*error)

    def new_file(self, path: Path) -> NewFile:
        """The file, to be written."""
        return NewFile(path, self._layout.file_size, self._chunks())

    def digests(self) -> dict[str, str]:
        """The digest of every tensor, once all were written."""
        return {name: digest for batch in self._digests for name, digest in batch().items()}

    def _chunks(self) -> Iterator[Buffer]:
        yield self._layout.header
        for names in self._layout.batches():
            parts = {name: tensor_bytes(self._tensors[name]) for name in names}
            self._digests.append(self._threads.digests(self._layout.specs, parts))
            for _, run in groupby(parts.values(), key=lambda data: len(data) < _SMALL):
                yield from _join_small(list(run))


def _join_small(parts: list[memoryview]) -> list[Buffer]:
    """Many parts that are small become one, since each is a call of the system."""
    is_small = len(parts) > 1 and len(parts[0]) < _SMALL
    return [b"".join(parts)] if is_small else [*parts]


def read_tensors(
    files: FileSystem, path: Path, layout: TensorLayout, digests: Mapping[str, str], keep: bool = True
) -> dict[str, torch.Tensor]:
    """The tensors, each checked against its digest; `keep=False` only checks.

    Raises:
        CheckpointError: This is not exactly the file that `layout` and `digests` describe.
        OSError: The file cannot be read.
    """
    specs = layout.specs
    descriptor = _open_checked(files, path, layout)
    try:
        kept: dict[str, torch.Tensor] = {}
        unchecked: deque[Callable[[], dict[str, str]]] = deque()
        with _Threads() as hasher:
            for names in layout.batches():
                tensors = {name: _read_tensor(files, descriptor, path, specs[name]) for name in names}
                unchecked.append(
                    hasher.digests(specs, {name: tensor_bytes(tensor) for name, tensor in tensors.items()})
                )
                if keep:
                    kept.update(tensors)
                if len(unchecked) > _MOST_THREADS:  # read ahead no further: without `keep` that is all the memory
                    _check_digests(path, unchecked.popleft()(), digests)
            for batch in unchecked:
                _check_digests(path, batch(), digests)
        return kept
    finally:
        files.close(descriptor, path)


def verify_tensors(files: FileSystem, path: Path, layout: TensorLayout, tensors: Mapping[str, torch.Tensor]) -> None:
    """Read the file back and compare it with what is in memory, which costs far less than digests of it.

    Raises:
        CheckpointError: It differs.
        OSError: The file cannot be read.
    """
    descriptor = _open_checked(files, path, layout)
    try:
        files.forget(descriptor, path)  # or the cache would be compared, not the disk
        for names in layout.batches():
            stored = _read_bytes(files, descriptor, path, sum(layout.specs[name].nbytes for name in names))
            for name in names:
                size = layout.specs[name].nbytes
                if not equal_bytes(stored[:size], tensor_bytes(tensors[name])):
                    raise DamagedError(f"Tensor {name} in {path} is not the one that was written.", "digest")
                stored = stored[size:]
    finally:
        files.close(descriptor, path)


def _read_bytes(files: FileSystem, descriptor: int, path: Path, size: int) -> memoryview:
    try:
        data = np.empty(size, dtype=np.uint8).data  # not a bytearray, which would be zeroed first
    except MemoryError as error:
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), str(path)) from error
    read_all(files, descriptor, path, data)
    return data


def _open_checked(files: FileSystem, path: Path, layout: TensorLayout) -> int:
    """A descriptor at the first tensor of a file of the right size with the right header."""
    descriptor = files.open(path)
    try:
        expected, actual = layout.file_size, files.size(descriptor, path)
        if actual != expected:
            raise DamagedError(f"{path} has {actual} bytes, expected {expected}.", "size")
        _check_header(files, descriptor, path, layout.header)
    except BaseException:
        files.close(descriptor, path)
        raise
    return descriptor


def find_equal(names: Iterable[str], first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> set[str]:
    """Those of the names under which both have the same bytes, compared in threads."""
    equal: set[str] = set()
    pending: deque[tuple[str, Callable[[], bool]]] = deque()
    with _Threads() as threads:
        for name in names:
            one, other = tensor_bytes(first[name]), tensor_bytes(second[name])
            pending.append((name, threads.begin(partial(equal_bytes, one, other), len(one))))
            if len(pending) > _MOST_THREADS:  # what is on a GPU was copied: no more of it than needed
                equal |= _names_of_true([pending.popleft()])
        return equal | _names_of_true(pending)


def _names_of_true(pending: Iterable[tuple[str, Callable[[], bool]]]) -> set[str]:
    return {name for name, wait in pending if wait()}


def equal_bytes(first: memoryview, second: memoryview) -> bool:
    """Whether two byte strings are the same; without memory besides, and with the interpreter free meanwhile."""
    if not len(first) == len(second) > 0:
        return len(first) == len(second)
    addresses = (np.frombuffer(data, np.uint8).ctypes.data for data in (first, second))
    return bool(_memcmp(*addresses, len(first)) == 0)


def _check_header(files: FileSystem, descriptor: int, path: Path, expected: bytes) -> None:
    actual = bytearray(len(expected))
    read_all(files, descriptor, path, memoryview(actual))
    if actual != expected:
        raise DamagedError(f"The header of {path} is not the one that the manifest announces.", "header")


def _read_tensor(files: FileSystem, descriptor: int, path: Path, spec: TensorSpec) -> torch.Tensor:
    try:
        tensor = allocate_tensor(spec)
    except RuntimeError as error:  # what torch answers when there is no memory
        raise OSError(errno.ENOMEM, os.strerror(errno.ENOMEM), str(path)) from error
    read_all(files, descriptor, path, tensor_bytes(tensor))
    return tensor


def _check_digests(path: Path, actual: Mapping[str, str], expected: Mapping[str, str]) -> None:
    for name, digest in actual.items():
        if digest != expected[name]:
            raise DamagedError(
                f"Tensor {name} in {path} has SHA-256 {digest[:12]}, expected {expected[name][:12]}.", "digest"
            )
