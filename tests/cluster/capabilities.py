"""`python3 capabilities.py`: let root run Apptainer where its bounding set lacks a capability.

Apptainer gives a container of root every capability that Linux has, and stops where one may not be given. Its own list
of root's capabilities (`root default capabilities = file`) is then made of those that there are.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

CONFIGURATION = Path("/etc/apptainer/apptainer.conf")
LIST = Path("/etc/apptainer/capability.json")
# In the order of linux/capability.h: bit 0 first.
NAMES = (
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
)


def bounding_set(status: str) -> list[str]:
    """Names of the capabilities in a text of /proc/PID/status."""
    match = re.search(r"^CapBnd:\s*([0-9a-f]+)$", status, re.M)
    bits = int(match[1], 16) if match else 0
    return [f"CAP_{name}" for bit, name in enumerate(NAMES) if bits >> bit & 1]


def main() -> None:
    there = bounding_set(Path("/proc/self/status").read_text())
    mode = "full" if len(there) == len(NAMES) else "file"
    text = CONFIGURATION.read_text()
    CONFIGURATION.write_text(
        re.sub(r"(?m)^root default capabilities = \w+", f"root default capabilities = {mode}", text)
    )
    if mode == "file":
        LIST.write_text(json.dumps({"users": {"root": there}}, indent=1))


if __name__ == "__main__":
    main()
