from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # for `import toy`
from toy_fixtures import one_thread, uninterrupted

__all__ = ["one_thread", "uninterrupted"]
