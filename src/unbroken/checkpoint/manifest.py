"""The table of contents of a checkpoint: its step, its identity, a digest of everything; sealed by its own digest."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unbroken.canonical_json import JSON, encode_canonical
from unbroken.checkpoint.state import digest_state
from unbroken.checkpoint.tensorfile import DTYPES, TensorLayout, TensorSpec
from unbroken.errors import CheckpointError, DamagedError

MANIFEST_FILE = "manifest.json"
SCHEMA = "unbroken/1"
_SEAL = b',"seal":"'
_SCHEMA_FIELD = re.compile(rb'"schema":"(unbroken/\d+)"')
_SEAL_SIZE = len(_SEAL) + 64 + len(b'"}\n')
_FIELDS = {"schema", "step", "pinned", "identity", "state", "tree", "tensors", "files"}


@dataclass(frozen=True)
class Manifest:
    """`state`: one digest of tree and tensors. `journal`: size and SHA-256 of the metric history."""

    step: int
    pinned: bool
    identity: str
    tree: JSON
    layout: TensorLayout
    digests: Mapping[str, str]
    journal: tuple[int, str]

    @property
    def state(self) -> str:
        """64 hex: the digest of the whole state."""
        return digest_state(self.tree, self.digests)

    def text(self) -> bytes:
        """Canonical JSON whose last field, `seal`, is the SHA-256 of everything before it."""
        body = encode_canonical(
            {
                "schema": SCHEMA,
                "step": self.step,
                "pinned": self.pinned,
                "identity": self.identity,
                "state": self.state,
                "tree": self.tree,
                "tensors": {
                    name: {"dtype": spec.dtype, "shape": list(spec.shape), "sha256": self.digests[name]}
                    for name, spec in self.layout.specs.items()
                },
                "files": {
                    "journal.jsonl": {"bytes": self.journal[0], "sha256": self.journal[1]},
                    "tensors.safetensors": {"bytes": self.layout.file_size},
                },
            }
        )[:-1]
        return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


def parse_manifest(data: bytes, where: str) -> Manifest:
    """The manifest in these bytes.

    Raises:
        DamagedError: It does not match its own seal.
        CheckpointError: It is as it was written, but by another version of this program, or by another program.
    """
    body, seal = data[:-_SEAL_SIZE], data[-_SEAL_SIZE:]
    if seal != _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"}\n':
        # Before any parsing: a damaged manifest never reaches the JSON reader.
        if (announced := _SCHEMA_FIELD.search(data)) and announced[1].decode() != SCHEMA:
            raise _other_schema(announced[1].decode(), where)  # which may be sealed in another way
        raise DamagedError(f"{where} does not match its own seal: it is damaged or incomplete.", "manifest")
    try:
        fields = json.loads(body + b"}")
        _check_schema(fields, where)
        manifest = _manifest_from(fields)
        same = manifest.text() == data
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise CheckpointError(f"{where} is sealed but not well-formed ({error}). {_NOT_OURS}", "manifest") from None
    if not same:
        raise CheckpointError(f"{where} is sealed but not as this program would write it. {_NOT_OURS}", "manifest")
    return manifest


def _check_schema(fields: dict[str, Any], where: str) -> None:
    if fields.get("schema") != SCHEMA:
        raise _other_schema(str(fields.get("schema")), where)
    if set(fields) != _FIELDS:
        differing = sorted(set(fields) ^ _FIELDS)
        raise CheckpointError(f"{where} has unknown or missing fields: {differing}. {_NOT_OURS}", "schema")


_NOT_OURS = (
    "Its seal is right, so another version of unbroken wrote it. Nothing was touched. Next: use the version that wrote "
    "it; or move this checkpoint's folder away, to go on without it."
)


def _other_schema(schema: str, where: str) -> CheckpointError:
    return CheckpointError(
        f"{where} was written by a version of unbroken with schema {schema!r}, expected {SCHEMA!r}. That is no damage; "
        "nothing was touched. Next: use the version that wrote it; or move this checkpoint's folder away, to go on "
        "without it.",
        "schema",
    )


def _manifest_from(fields: dict[str, Any]) -> Manifest:
    tensors = fields["tensors"]
    journal = fields["files"]["journal.jsonl"]
    return Manifest(
        step=_check_size(fields["step"]),
        pinned=bool(fields["pinned"]),
        identity=str(fields["identity"]),
        tree=fields["tree"],
        layout=TensorLayout({name: _spec_from(entry) for name, entry in tensors.items()}),
        digests={name: str(entry["sha256"]) for name, entry in tensors.items()},
        journal=(_check_size(journal["bytes"]), str(journal["sha256"])),
    )


def _spec_from(entry: dict[str, Any]) -> TensorSpec:
    if entry["dtype"] not in DTYPES:
        raise ValueError(f"unknown dtype {entry['dtype']!r}")
    return TensorSpec(entry["dtype"], tuple(_check_size(size) for size in entry["shape"]))


def _check_size(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is not a size")
    return value
