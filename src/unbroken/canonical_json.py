"""One canonical JSON text per value, so that equal values have equal bytes and equal digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

WIDEST_INT = 14284
"""Bits of an integer that has 4300 decimal digits at most: Python neither writes nor reads more as text."""

JSON = bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"] | None


def encode_canonical(value: JSON) -> bytes:
    """ASCII, sorted keys, no spaces.

    Raises:
        ValueError: The value holds a NaN or an infinity, which are not JSON.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode("ascii")


def digest_json(value: JSON) -> str:
    """64 hex characters: SHA-256 of the canonical text."""
    return hashlib.sha256(encode_canonical(value)).hexdigest()
