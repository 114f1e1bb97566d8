"""Why pip, or the making of an environment, failed: one sentence with the next step, from what was printed."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

AGAIN = "then make setup, which goes on with what was downloaded"
PROXY = re.compile(r"ProxyError|Tunnel connection failed|proxy (?:connection|authentication)|\b407\b", re.I)
DISK = re.compile(r"No space left on device|Disk quota exceeded|Errno (?:28|122)\b", re.I)
HASH = re.compile(r"DO NOT MATCH THE HASHES")
CERTIFICATE = re.compile(r"CERTIFICATE_VERIFY_FAILED|SSLError|SSL: ", re.I)
ABSENT = re.compile(r"No matching distribution found for (\S+)")
NETWORK = re.compile(
    r"NewConnectionError|ConnectTimeout|ReadTimeout|Read timed out|Connection (?:refused|reset|aborted)|"
    r"Name or service not known|Temporary failure in name resolution|Network is unreachable|Max retries exceeded",
    re.I,
)


def explain_failure(what: str, printed: str) -> str:
    """The sentence, without its full stop.

    Args:
        what: The beginning of the command.
        printed: All that it wrote to its standard error.
    """
    if DISK.search(printed):
        return f"a disk is full ({_free()}). Next: free some, or set TMPDIR to a folder with room, {AGAIN}"
    if HASH.search(printed):
        return (
            "the package index has another file than the lock files pin by hash (the lines above say which), and "
            f"nothing of it was installed. Next: look at the index (pip config list), {AGAIN}"
        )
    if PROXY.search(printed):
        return f"the proxy {_proxy()} let nothing through. Next: env | grep -i proxy; pip config list; {AGAIN}"
    if CERTIFICATE.search(printed):
        return (
            "the package index has a certificate that pip does not trust. "
            f"Next: pip config set global.cert FILE, {AGAIN}"
        )
    if NETWORK.search(printed):
        return f"no package index was reached. Next: check the network and the index (pip config list), {AGAIN}"
    absent = ABSENT.search(printed)
    if absent:
        return f"no package index that pip reached has {absent[1]} for this Python. Next: pip config list, {AGAIN}"
    last = [line for line in printed.splitlines() if line.strip()][-1:] or ["it printed nothing"]
    return f"{what} failed: {last[0].strip().rstrip('.')}. Next: see the lines above, {AGAIN}"


def _free() -> str:
    places = (Path.cwd(), Path(tempfile.gettempdir()))
    return ", ".join(f"{place}: {shutil.disk_usage(place).free // 10**6} MB free" for place in places)


def _proxy() -> str:
    """The proxy that was asked, without a password, and where it was set."""
    for name in ("PIP_PROXY", "https_proxy", "HTTPS_PROXY", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        if os.environ.get(name):
            return f"{re.sub(r'//[^/@]*@', '//', os.environ[name])} (of {name})"
    return "of pip's configuration"
