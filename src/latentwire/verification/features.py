"""The sender's features: on another machine their last bits differ, so they are compared as numbers.

Nobody published a number of them; what is made from them is judged by its own uncertainty.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from latentwire.verification.published import Published, Unknown

FEATURES_METRIC = "features"
_FILE = "features.safetensors"


def check_features(folder: str, published: Published, root: Path, tolerances: Mapping[str, float]) -> str | None:
    """Why the features of a folder do not confirm the published ones; None where they do."""
    before = published.content(f"{folder}/{_FILE}")
    if before is None:
        return Unknown.without(f"{folder}/{_FILE}")
    if FEATURES_METRIC not in tolerances:
        return "features have no tolerance in params.yaml"
    from safetensors.torch import load  # imports torch, which nothing else of `verify` needs

    limit = tolerances[FEATURES_METRIC]
    off = largest_difference(load(before), load((root / folder / _FILE).read_bytes()))
    if off is None:
        return "the features have other names or shapes"
    return None if off <= limit else f"features are up to {off:.2g} off, tolerance {limit:g}"


def largest_difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> float | None:
    """Largest absolute difference of two sets of tensors; None where names or shapes are not the same."""
    shapes, other_shapes = ({name: tensor.shape for name, tensor in side.items()} for side in (before, after))
    if shapes != other_shapes:
        return None
    pairs = ((before[name].double(), after[name].double()) for name in before)
    return max((float((a - b).abs().max()) for a, b in pairs if a.numel()), default=0.0)
