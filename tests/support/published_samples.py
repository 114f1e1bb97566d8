"""Samples of published papers."""

from __future__ import annotations

import numpy as np

DARWIN = np.array([[49.0, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]])
"""Darwin's maize: crossed less self-fertilised height, in eighths of an inch."""

BENJAMINI_HOCHBERG = [
    *(0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344),
    *(0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0000),
]
