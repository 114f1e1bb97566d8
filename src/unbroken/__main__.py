"""`python -m unbroken prove -- COMMAND`."""

from __future__ import annotations

import sys

from unbroken.prove_command import main

if __name__ == "__main__":
    sys.exit(main())
