"""The table of contents of a checkpoint: its step, its identity, a digest of everything; sealed by its own digest."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from unbroken.canonical_json import JSON, encode_canonical
from unbroken.checkpoint.state import digest_state
from unbroken.checkpoint.tensorfile import DTYPES, TensorSpec, file_size
from unbroken.errors import CheckpointError

MANIFEST_FILE = "manifest.json"
SCHEMA = "unbroken/1"
_SEAL = b',"seal":"'
_SEAL_SIZE = len(_SEAL) + 64 + len(b'"}\n')
_FIELDS = {"schema", "step", "pinned", "identity", "state", "tree", "tensors", "files"}


@dataclass(frozen=True)
class Manifest:
    """`state`: one digest of tree and tensors. `journal`: size and SHA-256 of the metric history."""

    step: int
    pinned: bool
    identity: str
    tree: JSON
    specs: Mapping[str, TensorSpec]
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
                    for name, spec in self.specs.items()
                },
                "files": {
                    "journal.jsonl": {"bytes": self.journal[0], "sha256": self.journal[1]},
                    "tensors.safetensors": {"bytes": file_size(self.specs)},
                },
            }
        )[:-1]
        return body + _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"}\n'


def parse_manifest(data: bytes, where: str) -> Manifest:
    """The manifest in these bytes.

    Raises:
        CheckpointError: A byte is not as `Manifest.text` writes it.
    """
    body, seal = data[:-_SEAL_SIZE], data[-_SEAL_SIZE:]
    if seal != _SEAL + hashlib.sha256(body).hexdigest().encode() + b'"}\n':
        # Before any parsing: a damaged manifest never reaches the JSON reader.
        raise CheckpointError(f"{where} does not match its own seal: it is damaged or incomplete.", "manifest")
    try:
        fields = json.loads(body + b"}")
        _check_schema(fields, where)
        manifest = _manifest_from(fields)
        same = manifest.text() == data
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError) as error:
        raise CheckpointError(f"{where} is sealed but not well-formed ({error}).", "manifest") from error
    if not same:
        raise CheckpointError(f"{where} is sealed but is not what this program would have written.", "manifest")
    return manifest


def _check_schema(fields: dict[str, Any], where: str) -> None:
    if fields.get("schema") != SCHEMA:
        raise CheckpointError(
            f"{where} has schema {fields.get('schema')!r}, expected {SCHEMA!r}. Next: use the version of unbroken that "
            "wrote it.",
            "schema",
        )
    if set(fields) != _FIELDS:
        raise CheckpointError(f"{where} has unknown or missing fields: {sorted(set(fields) ^ _FIELDS)}.", "schema")


def _manifest_from(fields: dict[str, Any]) -> Manifest:
    tensors = fields["tensors"]
    journal = fields["files"]["journal.jsonl"]
    return Manifest(
        step=_check_size(fields["step"]),
        pinned=bool(fields["pinned"]),
        identity=str(fields["identity"]),
        tree=fields["tree"],
        specs={name: _spec_from(entry) for name, entry in tensors.items()},
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
