"""What `prove` looks at beside the states: where a program keeps its run, and what else it writes there."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.support import inexact_trainings, toy_training
from tests.support.proofs import FAULTY, certify
from unbroken.errors import UnbrokenError
from unbroken.prove.drill import Interruption
from unbroken.prove.outputs import compare_outputs
from unbroken.prove.runs import run_logged
from unbroken.run import Run

pytestmark = pytest.mark.usefixtures("uninterrupted")  # it has imported all that a fork would import again


class TestTheFolder:
    """A program that keeps its run elsewhere must not train the run that is there."""

    @pytest.mark.long
    def test_a_run_elsewhere_is_refused_and_not_touched(self, tmp_path: Path) -> None:
        own, script = tmp_path / "own", tmp_path / "train.py"
        script.write_text(
            "import sys\nfrom pathlib import Path\nfrom tests.support import toy_training\n"
            f"toy_training.train(Path({str(own)!r}), Path({str(own / 'export')!r}))\n"
        )
        toy_training.train(own, own / "export", totals=[8])
        before = files_below(own)
        certificate = certify(tmp_path, [sys.executable, str(script)], launch=run_logged)
        assert certificate.exit_code == 4
        assert f"the program opens the one in {own}. That one was not touched." in certificate.sentence
        assert files_below(own) == before

    @pytest.mark.long
    def test_a_subfolder_and_a_link_are_where_they_should_be(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "link").symlink_to("real")
        monkeypatch.setenv("UNBROKEN_TRACE", "1")
        monkeypatch.setenv("UNBROKEN_FOLDER", str(tmp_path / "link"))
        toy_training.train(tmp_path / "real" / "item", tmp_path / "export", totals=[2])
        assert (tmp_path / "real" / "item" / "trace.jsonl").exists()

    @pytest.mark.parametrize("name", ["TRACE", "INTERRUPT", "SABOTAGE", "EVERY"])
    def test_each_variable_of_a_proof_asks_for_its_folder(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("UNBROKEN_FOLDER", str(tmp_path / "run"))
        toy_training.train(tmp_path / "run-2", tmp_path / "export", totals=[1])  # in ordinary use it asks for nothing
        monkeypatch.setenv(f"UNBROKEN_{name}", {"INTERRUPT": "TERM@3"}.get(name, "1"))
        with pytest.raises(UnbrokenError, match=r"run-2\. That one was not touched. Next: "):
            toy_training.train(tmp_path / "run-2", tmp_path / "export", totals=[2])


def files_below(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


class ForgottenAverage(inexact_trainings.Training):
    """An average that nothing reads, and that is only saved at the end: no trace shows that it was lost."""

    def prepare(self) -> None:
        self.average = [parameter.detach().clone() for parameter in self.model.parameters()]

    def train(self, step: int) -> dict[str, float]:
        values = super().train(step)
        for average, parameter in zip(self.average, self.model.parameters(), strict=True):
            average.lerp_(parameter.detach(), 0.1)
        if step == inexact_trainings.STEPS:
            (Path(os.environ["UNBROKEN_FOLDER"]) / "average.txt").write_text(str(self.average))
        return values


class WritesAFileForEachStart(inexact_trainings.Training):
    def begin(self, run: Run) -> None:
        (run.folder / "logs").mkdir(exist_ok=True)
        (run.folder / "logs" / f"from-{run.step}.txt").write_text(str(time.time()))


inexact_trainings.PROGRAMS |= {each.__name__: each for each in (ForgottenAverage, WritesAFileForEachStart)}


class TestFiles:
    """What a program saves beside its checkpoints is a result too."""

    def test_a_forgotten_average_is_found_in_what_is_saved_at_the_end(self, tmp_path: Path) -> None:
        certificate = certify(tmp_path, [*FAULTY, "ForgottenAverage"], interruptions=[Interruption("TERM", 6)])
        assert certificate.exit_code == 3, certificate.sentence
        assert certificate.sentence.startswith("first at the end: file average.txt, from byte ")

    @pytest.mark.long
    def test_files_that_may_differ_are_declared(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"interruptions": [Interruption("TERM", 6)], "controls": ["model"]}
        command = [*FAULTY, "WritesAFileForEachStart"]
        certificate = certify(tmp_path, command, **options)
        assert certificate.exit_code == 3
        assert certificate.sentence.startswith("first at the end: file logs/from-0.txt, from byte ")
        declared = certify(tmp_path, command, **{**options, "work": tmp_path / "again"}, ignored=["logs/from-*"])
        assert declared.exit_code == 0, declared.sentence
        assert declared.fields["ignored"] == ["logs/from-*"]
        assert declared.fields["files"] == 2  # identity.json and journal.jsonl

    def test_places(self, tmp_path: Path) -> None:
        first, second = tmp_path / "first" / "run", tmp_path / "second" / "run"
        for home, end in ((first, b"1"), (second, b"22")):
            (home / "checkpoints" / f"step-{end.decode()}").mkdir(parents=True)
            for name in ("lock", "events.jsonl", "verdict.json", "trace.jsonl", "checkpoints/x", "a", "b", "sub/lock"):
                (home / name).parent.mkdir(exist_ok=True)
                (home / name).write_bytes(b"0" * (1 << 20) + (b"" if name == "a" else end))
        (first / "only").touch()
        (second / ".tmp-verdict.json").touch()
        (second / "lock-of-mine").touch()
        assert compare_outputs(first.parent, second.parent) == (
            5,
            [
                "file run/b, from byte 1048576",
                "file run/lock-of-mine, which only the interrupted run has",
                "file run/only, which only the undisturbed run has",
                "file run/sub/lock, from byte 1048576",
            ],
        )
