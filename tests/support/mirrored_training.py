"""A toy training with a mirror: `python mirrored_training.py ROOT STEPS [STOP_AT]`, killed from outside at will.

STOP_AT: the step in which it sends itself SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from latentwire.tracking.mirror import MlflowMirror
from tests.support.mlflow_database import ITEM, records
from unbroken.preemption import StopFlag
from unbroken.run import Run
from unbroken.run_folder.identity import Identity

EVERY = 5


class Nothing:
    """A state that never changes."""

    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        assert not state


def main(root: Path, steps: int, stop_at: int) -> None:
    mirror = MlflowMirror(ITEM, experiment="toy", root=root)
    identity = Identity({"toy": 1})
    with Run(
        root / "run",
        identity=identity,
        state={"nothing": Nothing()},
        stop=StopFlag.install(),
        every=EVERY,
        observers=[mirror],
    ) as run:
        for step in run.steps(steps):
            [record] = records(step, step)
            run.log(**{key: value for key, value in record.items() if key != "step"})
            time.sleep(0.02)
            if step == stop_at:
                os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else 0)
