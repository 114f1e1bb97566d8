"""The core on this machine and, where qemu is, on another; what the command makes of results; what a processor says."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.machines import __main__ as command
from tests.machines.core import MODULES
from tests.machines.cpuid import Seen, read_processor
from tests.machines.processors import EMULATED, HERE, find_emulator
from tests.machines.running import (
    COMPUTED,
    REPLAYED,
    Outcome,
    format_header,
    format_row,
    prepare_core,
    refuse_without_avx2,
    run_core,
)
from tests.support import workspace
from tests.support.workspace import Workspace
from unbroken.environment import has_avx2, processor_vendor

emulated = pytest.mark.skipif(find_emulator() is None, reason="needs qemu: tests/machines/install.sh")
SEEN = Seen("GenuineIntel", "AVX2", "32/4096")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return prepare_core(tmp_path_factory.mktemp("machines") / "prepared")


def gave(**digests: str) -> Outcome:
    return Outcome(HERE, SEEN, digests, 1.0)


def test_the_processor_is_the_one_of_the_system() -> None:
    seen = read_processor()
    assert seen.vendor == processor_vendor()
    assert (seen.isa == "SSE") is not has_avx2()
    assert all(int(size) > 0 for size in seen.caches.split("/"))


@pytest.mark.parametrize(
    ("portable", "native", "code", "says"),
    [
        ([{"train": "a"}, {"train": "a"}], [{"train": "a"}, {"train": "b"}], 0, "identical: 2 processors"),
        ([{"encode": "a", "train": "a"}, {"encode": "a", "train": "b"}], [], 3, "NOT identical: train differ"),
        ([{"train": "a"}, {"train": "a"}], [{"train": "c"}, {"train": "c"}], 4, "native kernels gave one result"),
    ],
)
def test_the_exit_code(
    portable: list[Mapping[str, str]],
    native: list[Mapping[str, str]],
    code: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.judge([gave(**digests) for digests in portable], [gave(**digests) for digests in native]) == code
    assert says in capsys.readouterr().out


def test_without_qemu_nothing_is_claimed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(command, "find_emulator", lambda: None)
    assert command.main([]) == 4
    assert "Next: tests/machines/install.sh" in capsys.readouterr().out


def test_a_row_stands_under_its_header() -> None:
    outcome = gave(**dict.fromkeys(COMPUTED, 64 * "a"))
    assert format_row(outcome).rindex("a" * 10) == format_header(MODULES).index(COMPUTED[-1])
    assert format_header(["control"]).split()[-1] == REPLAYED[0]


@pytest.mark.slow
def test_the_core_gives_the_same_twice_and_every_part_gives_files(prepared: Workspace) -> None:
    copies = [workspace.copy(prepared, prepared.root.with_name(name)) for name in ("first", "second")]
    first, second = (run_core(HERE, place) for place in copies)
    assert first.digests == second.digests
    assert tuple(first.digests) == COMPUTED
    assert len(set(first.digests.values())) == len(COMPUTED)


@pytest.mark.slow
@emulated
def test_another_vendor_gives_the_same_and_native_kernels_do_not(prepared: Workspace) -> None:
    """Some calls of the real models; `make prove-machines` has all, more processors, and the pipeline."""
    digests = {}
    for numerics in ("portable", "native"):
        place = workspace.copy(prepared, prepared.root.with_name(numerics), runtime__numerics=numerics)
        outcomes = [run_core(processor, place, ["control"]) for processor in (HERE, EMULATED[0])]
        assert outcomes[0].seen.vendor != outcomes[1].seen.vendor
        digests[numerics] = len({outcome.whole for outcome in outcomes})
    assert digests == {"portable": 1, "native": 2}


@pytest.mark.slow
@emulated
def test_a_processor_without_avx2_is_refused_in_a_sentence(prepared: Workspace) -> None:
    assert "runtime.numerics" in refuse_without_avx2(prepared, prepared.root.with_name("refused"))
