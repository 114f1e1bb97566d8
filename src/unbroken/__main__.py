"""`python -m unbroken prove -- COMMAND`, and `python -m unbroken node` on each further machine of a job."""

from __future__ import annotations

import sys

from unbroken.preemption import StopFlag
from unbroken.standard_streams import open_standard_streams

if __name__ == "__main__":
    open_standard_streams()
    if sys.argv[1:] == ["node"]:
        from unbroken.launcher.agent import run_agent as node

        sys.exit(node(StopFlag.install()))

    from unbroken.prove.command import run_prove_command

    sys.exit(run_prove_command())
