"""The exception tree. Messages are sentences: what was found and expected, where, what is intact, what to do next."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager


class UnbrokenError(Exception):
    """Base of everything this package raises on purpose."""

    exit_code = 1


class ArgumentError(UnbrokenError, ValueError, TypeError):
    """A program gave a function of this package what it cannot take."""


class LockedError(UnbrokenError):
    """Another live process works on the same run folder."""


class CheckpointError(UnbrokenError):
    """A stored file is damaged, of an unknown schema, or does not fit the objects it is restored into.

    `why` is a short tag (letters and dashes) for the name that a bad checkpoint is set aside under.
    """

    def __init__(self, sentence: str, why: str = "damaged") -> None:
        super().__init__(sentence)
        self.why = why


class DamagedError(CheckpointError):
    """The content of a stored file is proven wrong: it was read to its end and differs, or its folder lacks it.

    Only this allows to set a checkpoint aside. What cannot be read now, or not by this version, may be whole.
    """


class StorageError(UnbrokenError):
    """The disk refused: full, read-only, over quota, broken. `number`: what the system answered (errno), or 0."""

    def __init__(self, sentence: str, number: int = 0) -> None:
        super().__init__(sentence)
        self.number = number


class IdentityError(UnbrokenError):
    """The stored state belongs to other parameters, data or code."""

    exit_code = 2


class PeerError(UnbrokenError):
    """Another process of the same training is gone, or did not answer in time."""


TEXT_WIDTH = 80
"""So much of a value stands in a sentence, and so much more of what others say."""


def shorten_text(text: str, width: int = TEXT_WIDTH) -> str:
    """The text in one line, cut after `width` characters."""
    line = " ".join(text.split())
    return line if len(line) <= width else f"{line[: width - 2]} …"


def describe_error(error: BaseException) -> str:
    """`ValueError: what it said`, in one line that is not long: the error may hold whole values."""
    return f"{type(error).__name__}: {shorten_text(str(error), 4 * TEXT_WIDTH)}"


_ADVICE = {
    errno.ENOSPC: "free some space (`df -h`)",
    errno.EDQUOT: "free some of your quota (`quota -s`)",
    errno.EROFS: "make the file system writable or choose another folder",
    errno.EACCES: "give yourself permission to read and write there (`ls -ld`)",
    errno.EIO: "check the disk (`dmesg | tail`)",
    errno.ESTALE: "check the mount of the network file system (`df`, `mount`)",
    errno.ENOTCONN: "check the mount of the file system (`df`, `mount`)",
    errno.EMFILE: "allow more open files (`ulimit -n`)",
    errno.ENOMEM: "free some memory (`free -h`)",
}


def errno_name(error: OSError) -> str:
    """`ENOSPC (No space left on device)`."""
    number = error.errno or 0
    return f"{errno.errorcode.get(number, 'unknown error')} ({os.strerror(number) if number else error})"


@contextmanager
def storage_errors(action: str, path: str | os.PathLike[str], intact: str) -> Iterator[None]:
    """Turn an OSError into a StorageError that says where, why, what is intact and what to do."""
    try:
        yield
    except (OSError, MemoryError) as failure:
        error = failure if isinstance(failure, OSError) else OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
        advice = _ADVICE.get(error.errno or 0, f"check the folder (`ls -ld {os.fspath(path)}`)")
        raise StorageError(
            f"Could not {action} at {os.fspath(path)}: the system answered {errno_name(error)}. "
            f"{intact} Next: {advice}, then run the same command again.",
            error.errno or 0,
        ) from None


def log_sentence(sentence: str) -> None:
    """Log a warning of the logger `unbroken`: where sentences for the user go unless the caller says otherwise."""
    # A warning is visible even where logging is not configured.
    logging.getLogger("unbroken").warning("%s", sentence)
