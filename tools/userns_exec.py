"""`python3 userns_exec.py COMMAND…`: run a command as root of a new user namespace in which every id is itself.

In there the sets of capabilities are full. `apptainer build` as root asks for all of them and refuses to start on a
machine whose own set lacks one, as that of many virtual machines and containers does.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
EVERY_ID = "0 0 65536\n"


def enter_user_namespace() -> None:
    """Move this process into a new user namespace; a child that stays outside writes its id maps."""
    waiting, ready = os.pipe()
    outer = os.getpid()
    child = os.fork()
    if child == 0:
        os.read(waiting, 1)
        for name in ("uid_map", "gid_map"):
            Path(f"/proc/{outer}/{name}").write_text(EVERY_ID)
        os._exit(0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER):
        os.kill(child, 9)
        why = os.strerror(ctypes.get_errno())
        sys.exit(f"error: no user namespace could be made: {why}. Next: build as an ordinary user.")
    os.write(ready, b"x")
    if os.waitpid(child, 0)[1]:
        sys.exit("error: the id maps of the user namespace could not be written. Next: build as an ordinary user.")


def main() -> None:
    """Become the command; everything after this file's name is the command's own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", help="the program to run")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="its arguments")
    options = parser.parse_args()
    enter_user_namespace()
    try:
        os.execvp(options.command, [options.command, *options.arguments])
    except OSError as error:
        sys.exit(f"error: {options.command} could not be started: {error.strerror}. Next: `command -v PROGRAM`.")


if __name__ == "__main__":
    main()
