"""Nested Python values as JSON plus tensors, and back, exactly. No pickle, and no class looked up by name."""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.parameter import is_lazy

from unbroken.canonical_json import JSON, WIDEST_INT, encode_canonical
from unbroken.checkpoint.holders import is_generator
from unbroken.checkpoint.tensorfile import check_dtype, tensor_bytes
from unbroken.checkpoint.traits import join_path, lay_out
from unbroken.errors import CheckpointError, shorten_text

TAG = "$"


class Encoder:
    """Turns one value after the other into JSON, and collects their tensors under readable, unique names."""

    def __init__(self) -> None:
        self.tensors: dict[str, torch.Tensor] = {}
        self.arrays: dict[str, np.ndarray[Any, Any]] = {}
        self.seen: dict[int, tuple[str, object]] = {}
        """Id of a mutable value in a dict of the state -> the path where it stands first, and the value itself."""
        self.same: dict[str, str] = {}
        """Path of a value that stood elsewhere already -> that path."""
        self.tracks = False
        """Are the values now those of the program, of which it may hold others that are the same?"""

    def encode(self, value: object, path: str) -> JSON:
        """JSON of `value`, whose place is `path`.

        Raises:
            CheckpointError: A value has a type that cannot be stored.
        """
        kind = type(value)
        if kind in _PLAIN:
            return {TAG: "int", "hex": hex(value)} if _is_wide(value) else value  # type: ignore  # narrowed by its type
        if kind in _TENSORS or isinstance(value, torch.Tensor):
            return {TAG: "tensor", "name": self._track(value, self._add_tensor(value, path))}  # type: ignore[arg-type]
        if kind is float:
            return value if math.isfinite(value) else {TAG: "float", "value": repr(value)}  # type: ignore
        if kind in (np.ndarray, np.memmap):
            name = self._track(value, self._add_tensor(_from_numpy(value, path), path))  # type: ignore[arg-type]
            self.arrays[name] = value  # type: ignore[assignment]
            return {TAG: "array", "name": name}
        if isinstance(value, np.generic):
            return {TAG: "scalar", "name": self._add_tensor(_from_numpy(np.asarray(value), path), path)}
        return self._encode_container(value, path)

    def _track(self, value: object, path: str) -> str:
        if self.tracks:
            first, _ = self.seen.setdefault(id(value), (path, value))
            if first != path:
                self.same[path] = first
        return path

    def _encode_container(self, value: object, path: str) -> JSON:
        if type(value) in _MUTABLE:
            self._track(value, path)
        if type(value) is list:
            return self._encode_items(value, path)
        if isinstance(value, deque) and type(value) is deque and value.maxlen is not None:
            return {TAG: "deque", "items": self._encode_items(value, path), "maxlen": value.maxlen}
        if type(value) in _SEQUENCES:
            return {TAG: _SEQUENCES[type(value)], "items": self._encode_items(value, path)}  # type: ignore[arg-type]
        if type(value) is np.ma.MaskedArray:
            return self._encode_masked(value, path)
        if type(value) in _MAPPINGS:
            pairs: list[JSON] = [
                [key if type(key) is str else self._encode_key(key, path), self.encode(inner, join_path(path, key))]
                for key, inner in value.items()  # type: ignore[attr-defined]  # every type in _MAPPINGS has it
            ]
            if isinstance(value, defaultdict):
                return {TAG: "defaultdict", "items": pairs, "factory": _factory_name(value, path)}
            return {TAG: _MAPPINGS[type(value)], "items": pairs}
        if type(value) in _SETS:
            return {TAG: _SETS[type(value)], "items": self._encode_set(value, path)}  # type: ignore[arg-type]
        if isinstance(value, bytes):
            return {TAG: "bytes", "value": value.hex()}
        raise CheckpointError(
            f"The state at {path} holds a {type(value).__module__}.{type(value).__qualname__}, which cannot be stored "
            f"without executing code on load. Next: {_advise(value)}."
        )

    def _encode_masked(self, value: np.ma.MaskedArray[Any, Any], path: str) -> JSON:
        mask = None if value.mask is np.ma.nomask else np.array(value.mask)
        return {
            TAG: "masked",
            "data": self.encode(np.array(value.data), f"{path}/data"),
            "mask": self.encode(mask, f"{path}/mask"),
            "fill": self.encode(np.asarray(value.fill_value)[()], f"{path}/fill"),
            "hard": bool(value.hardmask),
        }

    def _encode_key(self, key: object, path: str) -> JSON:
        _check_equality(key, path)
        return self.encode(key, f"{path}/key")

    def _encode_set(self, values: Iterable[object], path: str) -> list[JSON]:
        # A set has no order: sort by content, or the bytes would depend on the hash seed and on the set's own history.
        items: list[Any] = list(values)
        if not _are_plain(items):
            for item in items:
                _check_equality(item, path)
            items.sort(key=_read_content)
        return sorted(self._encode_items(items, path), key=encode_canonical)

    def _encode_items(self, values: Iterable[object], path: str) -> list[JSON]:
        items: list[Any] = list(values)
        if _are_plain(items):
            return items
        return [self.encode(item, f"{path}/{index}") for index, item in enumerate(items)]

    def _add_tensor(self, tensor: torch.Tensor, path: str) -> str:
        if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_meta or tensor.is_nested:
            raise CheckpointError(
                f"The tensor at {path} is {tensor.layout} on {tensor.device}, but only dense, unquantised tensors that "
                "hold data can be stored. Next: store its parts."
            )
        if type(tensor) not in _TENSORS and (_does_more(tensor) or is_lazy(tensor)):
            raise CheckpointError(
                f"The tensor at {path} is a {type(tensor).__name__}, which is more than its values or has none yet. "
                "Next: store its parts, such as `to_local()` of a DTensor; run a lazy module once before `Run`."
            )
        check_dtype(tensor, path)  # an unknown dtype is refused here, in the loop, and at the start already
        name, count = path, 1
        while name in self.tensors:  # the keys 1 and "1" of one dict have the same path
            count += 1
            name = f"{path}~{count}"
        self.tensors[name] = tensor
        return name


class Decoder:
    """The reverse. Every malformed tree is a CheckpointError; a tensor may be used once, and all must be."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self.unused = dict(tensors)
        self.names: dict[int, str] = {}
        """Id of a decoded tensor or array -> its name."""
        self.arrays: set[str] = set()
        """Names of those that were decoded as arrays."""
        self.strides: Mapping[str, Sequence[int] | None] = {}
        """Name -> the strides that a tensor gets; otherwise it is contiguous."""
        self._named: list[object] = []  # kept, or another object could get the id

    def decode(self, value: JSON) -> Any:
        """The value that was encoded.

        Raises:
            CheckpointError: The tree is malformed.
        """
        try:
            return self._decode(value)
        except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise CheckpointError(f"The state tree is not well-formed ({shorten_text(str(error))}).", "tree") from None

    def _decode(self, value: JSON) -> Any:
        if isinstance(value, list):
            return [self._decode(item) for item in value]
        if isinstance(value, dict):
            return _DECODERS[value[TAG]](self, value)
        return value

    def _tensor(self, value: dict[str, Any]) -> torch.Tensor:
        name = value["name"]
        tensor: torch.Tensor = self._name(lay_out(self.unused.pop(name), self.strides.get(name)), name)
        return tensor

    def _name(self, value: Any, name: str) -> Any:
        self.names[id(value)] = name
        self._named.append(value)
        return value

    def _array(self, value: dict[str, Any]) -> np.ndarray[Any, Any]:
        array: np.ndarray[Any, Any] = self._tensor(value).numpy()
        self._name(array, value["name"])
        self.arrays.add(value["name"])
        return array

    def _masked(self, value: dict[str, Any]) -> np.ma.MaskedArray[Any, Any]:
        mask = np.ma.nomask if value["mask"] is None else self._decode(value["mask"])
        data, fill = self._decode(value["data"]), self._decode(value["fill"])
        return np.ma.MaskedArray(data, mask=mask, fill_value=fill, hard_mask=value["hard"])

    def _list(self, value: dict[str, Any]) -> list[Any]:
        return [self._decode(item) for item in value["items"]]

    def _pairs(self, value: dict[str, Any]) -> list[tuple[Any, Any]]:
        return [(self._decode(key), self._decode(inner)) for key, inner in value["items"]]


_SEQUENCES: dict[type, str] = {tuple: "tuple", torch.Size: "size", deque: "deque"}
_MAPPINGS: dict[type, str] = {dict: "dict", OrderedDict: "ordered", Counter: "counter", defaultdict: "defaultdict"}
_FACTORIES: dict[str, Any] = {kind.__name__: kind for kind in (int, float, bool, str, list, dict, set, tuple)}
_MUTABLE = {list, dict, OrderedDict, Counter, defaultdict, deque, set, np.ma.MaskedArray}
_PLAIN = {int, str, bool, type(None)}
_TENSORS = {torch.Tensor, torch.nn.Parameter}
_SETS: dict[type, str] = {set: "set", frozenset: "frozenset"}
_DECODERS: dict[Any, Callable[[Decoder, dict[str, Any]], Any]] = {
    "float": lambda _, value: float(value["value"]),
    "int": lambda _, value: int(value["hex"], 16),
    "bytes": lambda _, value: bytes.fromhex(value["value"]),
    "tensor": Decoder._tensor,
    "array": Decoder._array,
    "scalar": lambda decoder, value: decoder._array(value)[()],
    "tuple": lambda decoder, value: tuple(decoder._list(value)),
    "size": lambda decoder, value: torch.Size(decoder._list(value)),
    "deque": lambda decoder, value: deque(decoder._list(value), value.get("maxlen")),
    "masked": Decoder._masked,
    "defaultdict": lambda decoder, value: defaultdict(_FACTORIES.get(value["factory"]), decoder._pairs(value)),
    "set": lambda decoder, value: set(decoder._list(value)),
    "frozenset": lambda decoder, value: frozenset(decoder._list(value)),
    "dict": lambda decoder, value: dict(decoder._pairs(value)),
    "ordered": lambda decoder, value: OrderedDict(decoder._pairs(value)),
    "counter": lambda decoder, value: Counter(dict(decoder._pairs(value))),
}


def _factory_name(mapping: defaultdict[Any, Any], path: str) -> str | None:
    factory = mapping.default_factory
    if factory is None:
        return None
    name = getattr(factory, "__name__", "")
    if _FACTORIES.get(name) is not factory:
        raise CheckpointError(
            f"The defaultdict at {path} makes its values with {factory!r}, which cannot be stored without executing "
            f"code on load; it may be {', '.join(_FACTORIES)}. Next: use one of these, or a dict with `setdefault`."
        )
    return name


def _check_equality(value: object, path: str) -> None:
    """Refuse what a dict or set finds by its identity, which no resume gives back."""
    if isinstance(value, torch.Tensor):
        raise CheckpointError(
            f"The state at {path} has a tensor as a key, or in a set. It is found there by its identity, which a "
            "resume cannot give back. Next: use numbers or names instead, such as its place in a list."
        )
    if isinstance(value, tuple | frozenset):
        for item in value:
            _check_equality(item, path)


def _read_content(value: object) -> bytes:
    encoder = Encoder()
    tree = encoder.encode(value, "item")
    values = [[name, str(tensor.dtype), bytes(tensor_bytes(tensor)).hex()] for name, tensor in encoder.tensors.items()]
    return encode_canonical([tree, values])


def _is_wide(value: object) -> bool:
    return type(value) is int and value.bit_length() > WIDEST_INT


def _advise(value: object) -> str:
    if is_generator(value):
        return 'give the generator a name of its own, `state={"noise": generator, …}`, or leave out the global one'
    return (
        "keep it out of `state_dict`, or give numbers, strings, tensors, arrays, lists, tuples, sets and dicts instead"
    )


def _does_more(tensor: torch.Tensor) -> bool:
    return type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__


def _are_plain(values: list[Any]) -> bool:
    """Is each value its own JSON? Long lists of numbers would cost the loop ten times as much one by one."""
    kinds = set(map(type, values))
    if int in kinds and any(map(_is_wide, values)):
        return False
    return kinds <= _PLAIN or (kinds == {float} and all(map(math.isfinite, values)))


def _from_numpy(array: np.ndarray[Any, Any], path: str) -> torch.Tensor:
    try:
        return torch.from_numpy(np.ascontiguousarray(array).reshape(array.shape).copy())
    except (TypeError, ValueError):  # no numbers; numbers in the byte order of another machine
        raise CheckpointError(
            f"The array at {path} has dtype {array.dtype}, which cannot be stored. Next: store numbers, in this "
            "machine's byte order."
        ) from None
