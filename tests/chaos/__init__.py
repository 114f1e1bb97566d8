"""Faults at every file operation and at any time, against a reference training: `python -m tests.chaos --help`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "unit" / "unbroken"))  # for `import toy`
