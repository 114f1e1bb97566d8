"""The signature that every number carries: how it was computed, in one string."""

from __future__ import annotations

SIGNATURE_VERSION = "1"
"""Incremented when the same predictions would yield another number."""


def format_signature(**facts: object) -> str:
    """Join facts as `name:value|…` in the order given, without those that are None, and the version.

    >>> signature(ci="twoway", conf=0.95, S=3, N=600)
    'ci:twoway|conf:0.95|S:3|N:600|v:1'
    """
    parts = [f"{name}:{value}" for name, value in facts.items() if value is not None]
    return "|".join([*parts, f"v:{SIGNATURE_VERSION}"])
