"""The command line of `prove`."""

from __future__ import annotations

import argparse
import shutil
import signal
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from unbroken.errors import UnbrokenError
from unbroken.prove.drill import Interruption
from unbroken.prove.proof import ProofPlan, run_proof
from unbroken.prove.runs import ENDS
from unbroken.standard_streams import print_sentence

_USAGE_ERROR = 2


def run_prove_command(argv: Sequence[str] | None = None) -> int:
    """`python -m unbroken prove`; returns 0: identical, 2: wrong usage, 3: a difference, 4: could not be verified."""
    options = _parser().parse_args(argv)
    command = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not command:
        print_sentence("prove needs a command, such as: python -m unbroken prove -- python train.py {folder}")
        return _USAGE_ERROR
    work = options.work or Path(tempfile.mkdtemp(prefix="unbroken-prove-"))
    try:
        plan = _plan_from(options, command, work)
        with _end_on_signals():
            certificate = run_proof(plan, lambda sentence: print(f"prove: {sentence}", flush=True))
    except (UnbrokenError, _EndedError) as error:
        print_sentence(str(error))
        if options.work is None:
            shutil.rmtree(work)
        return error.exit_code if isinstance(error, _EndedError) else _USAGE_ERROR
    certificate.write(options.certificate)
    print(certificate.to_table(), end="")
    if certificate.exit_code == 0 and options.work is None:
        shutil.rmtree(work)
    else:
        print(f"The runs and what they printed are in {work}.")
    return certificate.exit_code


class _EndedError(Exception):
    """A signal came, of which Python would die without a word to the program that it has started."""

    def __init__(self, number: int) -> None:
        name = signal.Signals(number).name
        super().__init__(f"{name} came before the end: the program that ran was killed, and nothing is proved.")
        self.exit_code = 128 + number


@contextmanager
def _end_on_signals() -> Iterator[None]:
    """The program runs in a session of its own: what ends a terminal or a job does not reach it there."""

    def end(number: int, _frame: object) -> NoReturn:
        raise _EndedError(number)

    before = {number: signal.getsignal(number) for number in ENDS}
    caught = [number for number in ENDS if before[number] is not signal.SIG_IGN]
    for number in caught:
        signal.signal(number, end)
    try:
        yield
    finally:
        for number in caught:
            signal.signal(number, before[number])


def _plan_from(options: argparse.Namespace, command: Sequence[str], work: Path) -> ProofPlan:
    return ProofPlan(
        command=command,
        work=work.absolute(),
        interruptions=[Interruption.parse(text) for text in _split_list(options.at)],
        count=options.interruptions,
        seed=options.seed,
        every=options.every or None,
        sabotage=options.sabotage,
        controls=_split_list(options.controls) if options.controls is not None else None,
        stateless=_split_list(options.stateless),
        ignored=_split_list(options.ignore),
        rank=options.rank,
        limit_s=options.limit,
    )


def _read_positive(text: str) -> float:
    seconds = float(text)
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")
    return seconds


def _split_list(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m unbroken", description="Training that survives interruptions.")
    proving = parser.add_subparsers(required=True, metavar="prove").add_parser(
        "prove", help="interrupt a training on purpose and compare every byte with an undisturbed run"
    )
    add = proving.add_argument
    add("--at", default="", help="interruptions, such as TERM@5,KILL@9:save; default: random ones")
    add("--interruptions", type=int, default=4, help="how many random interruptions (%(default)s)")
    add("--seed", type=int, default=0, help="of the random choice (%(default)s)")
    add("--every", type=int, default=2, help="steps between checkpoints; 0: as the program has it (%(default)s)")
    add("--sabotage", help="drop this part of the state on each resume: rng, optimizer, schedule, cursor or a name")
    add("--controls", help="parts for the negative controls; default: every part that changes")
    add(
        "--stateless", default="", help="parts of the state, and objects beside it, that are declared to have no effect"
    )
    add("--ignore", default="", help="files in the run's folder that may differ, such as log-*,*/events.out.*")
    add("--rank", type=int, help="of the process to interrupt, if the command starts several; default: 0")
    add("--limit", type=_read_positive, help="seconds for each start; default: 60 and five times the undisturbed run")
    add("--work", type=Path, help="a new folder for the runs; default: a temporary one")
    add("--certificate", type=Path, default=Path("unbroken-certificate.json"), help="%(default)s, a .txt beside it")
    add("command", nargs=argparse.REMAINDER, help="-- COMMAND, with {folder} where it takes its run folder")
    return parser
