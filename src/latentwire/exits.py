"""How a process of ours starts and ends: signals are caught first, exceptions become exit codes (invariant I7)."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from latentwire.console.logging import configure_logging, log_when_idle
from latentwire.docstrings import restore_module_docstring
from latentwire.environment import (
    dvc_stage,
    forget_no_size,
    forget_other_repositories,
    set_kernels,
    set_torch_defaults,
)
from latentwire.errors import LatentWireError
from latentwire.image import check_image_code
from latentwire.lock_copy import keep_lock_copy
from latentwire.passwords import hide_passwords
from latentwire.result_code import check_recorded_code
from latentwire.stage_times import StageTime, begin_stage, end_stage, used_processor_seconds
from unbroken.errors import UnbrokenError
from unbroken.preemption import EXIT_PREEMPTED, StopFlag
from unbroken.run_folder import verdict
from unbroken.standard_streams import open_standard_streams, output_problem, print_sentence

log = logging.getLogger(__name__)

Main = Callable[[Sequence[str] | None], None]


def run_stage(main: Main, argv: Sequence[str] | None = None, stage: str | None = None) -> NoReturn:
    """Run a stage as a process and leave with its exit code.

    Args:
        main: The stage. It is not called in an image whose code is not that of the clone here.
        argv: Its arguments; those of the command line otherwise.
        stage: Its name, where it has results: then the code that DVC records for it has to be the one that runs.
    """
    began = time.monotonic()
    open_standard_streams()
    forget_no_size()
    stop = StopFlag.install()
    # Also of a stage that does not look at the flag, the script that started DVC has to know that it was stopped.
    stop.before_forced_exit(lambda: verdict.write_verdict(verdict.Verdict(EXIT_PREEMPTED, None, stop.signal)))
    set_torch_defaults()
    replaced = set_kernels("portable")
    forget_other_repositories()
    configure_logging()
    report_kernel_settings(replaced, log.warning)
    log_when_idle(sys.argv[0].rpartition("/")[2] + " " + " ".join(sys.argv[1:]))

    restore_module_docstring(getattr(main, "__globals__", {}))

    def checked(argv: Sequence[str] | None) -> None:
        check_image_code()
        keep_lock_copy(Path())
        if stage is not None:
            check_recorded_code(stage)
        main(argv)

    code = _exit_code_timed(lambda: exit_code_of(checked, argv), began)
    stop.ignore()  # a TERM during the interpreter's shutdown would turn the code of what came to its end into -15
    sys.stdout.flush()
    sys.stderr.flush()
    if code == EXIT_PREEMPTED:
        os._exit(code)  # the shutdown of an interpreter with torch takes time that a stopped process does not have
    sys.exit(code)


def _exit_code_timed(run: Callable[[], int], began: float) -> int:
    """Run a stage that began at a `time.monotonic`, and keep what it took if DVC runs it and it came to its end."""
    name, fresh = dvc_stage(), False
    with contextlib.suppress(OSError):  # of a full disk the stage tells; how long something took is no result
        fresh = name is not None and begin_stage(Path(), name)
    code = run()
    if code == 0 and name is not None:
        took = StageTime(time.monotonic() - began, used_processor_seconds())
        with contextlib.suppress(OSError):
            end_stage(Path(), name, took if fresh else None)
    return code


def report_kernel_settings(replaced: Sequence[str], report: Callable[[str], None]) -> None:
    """Say which settings of the user's environment are not followed, if there are any."""
    if replaced:
        report(
            f"The environment has {', '.join(replaced)}, which would make other bits: not followed here. "
            "Next: nothing, the results are those of params.yaml (docs/reproducibility.md)."
        )


def run_program(main: Main, argv: Sequence[str] | None = None) -> int:
    """Run what is no stage, and return its exit code: 1 instead of 0 where what it printed is lost on a full disk."""
    open_standard_streams()
    forget_no_size()
    restore_module_docstring(getattr(main, "__globals__", {}))
    code = exit_code_of(main, argv)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    problem = output_problem()
    if problem is not None:
        print_sentence(f"error: The output could not be written: {problem.strerror}. Next: send it to another place.")
    return code or int(problem is not None)


def exit_code_of(main: Main, argv: Sequence[str] | None = None) -> int:
    """Call `main` and return its exit code; a known error is one sentence on stderr, a bug a traceback."""
    try:
        main(argv)
    except (LatentWireError, UnbrokenError) as error:
        print_sentence(f"error: {error}")
        return error.exit_code
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except Exception:
        print_sentence(hide_passwords(traceback.format_exc()))
        return 1
    return 0
