"""`latentwire prove` on the real train stage: a certificate, and a difference where the generators are lost."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable

from tests.support.workspace import TRAIN, Workspace

PROVE = (sys.executable, "-c", "from latentwire.cli import run; run()", "prove", *TRAIN[1:])


def test_the_train_stage_is_proved(fresh: Callable[..., Workspace]) -> None:
    place = fresh(train__steps=8, train__warmup=2)
    output = place.run(*PROVE, "--at", "TERM@3,KILL@5:save")
    assert "identical" in output
    certificate = json.loads((place.root / "unbroken-certificate.json").read_text())
    noticed = {control["part"] for control in certificate["controls"]}
    assert {"wire", "optimizer", "schedule", "rng"} <= noticed
    assert not (place.root / "state").exists()


def test_lost_generators_are_found(fresh: Callable[..., Workspace]) -> None:
    place = fresh(train__steps=8, train__warmup=2)
    output = place.run(*PROVE, "--at", "TERM@3", "--sabotage", "rng", code=3)
    assert "first at step 4: tensor " in output
