"""What stands in for a registry and a privileged machine in tests/cluster, without either."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.cluster.capabilities import NAMES, bounding_set
from tests.cluster.registry import MANIFEST, pack, run, serve
from tools.image import namespace_prefix

ALL = (1 << int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1) - 1
SYS_RESOURCE = 1 << NAMES.index("SYS_RESOURCE")


def tree() -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        entry = tarfile.TarInfo("etc/hostname")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"tiny\n"))
    stream.seek(0)
    return stream


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[HTTPConnection]:
    pack(tree(), tmp_path)
    server = serve(tmp_path, "library/python:3.11")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    found = HTTPConnection("127.0.0.1", server.server_address[1], timeout=20)
    yield found
    found.close()
    server.shutdown()
    thread.join()
    server.server_close()


def get(connection: HTTPConnection, path: str, method: str = "GET") -> tuple[int, str | None, bytes]:
    connection.request(method, path)
    answer = connection.getresponse()
    return answer.status, answer.headers["Content-Type"], answer.read()


def test_an_image_is_found_by_its_name_and_its_parts_by_their_digests(connection: HTTPConnection) -> None:
    assert get(connection, "/v2/")[0] == 200
    status, kind, data = get(connection, "/v2/library/python/manifests/3.11")
    assert (status, kind) == (200, MANIFEST)
    manifest = json.loads(data)
    for part in (manifest["config"], *manifest["layers"]):
        status, _, blob = get(connection, f"/v2/library/python/blobs/{part['digest']}")
        assert (status, len(blob)) == (200, part["size"])
        assert f"sha256:{hashlib.sha256(blob).hexdigest()}" == part["digest"]
    assert gzip.decompress(blob) == tree().read()
    assert get(connection, "/v2/library/python/manifests/3.11", "HEAD") == (200, MANIFEST, b"")


@pytest.mark.parametrize("path", ["library/python/manifests/3.12", "other/python/manifests/3.11", "a/blobs/../x"])
def test_nothing_else_is_served(connection: HTTPConnection, path: str) -> None:
    assert get(connection, f"/v2/{path}")[0] == 404


def test_the_same_tree_is_the_same_image(tmp_path: Path) -> None:
    for name in ("one", "two"):
        pack(tree(), tmp_path / name)
    assert (tmp_path / "one/manifest").read_text() == (tmp_path / "two/manifest").read_text()


def test_a_command_is_told_the_address_and_its_code_comes_back(tmp_path: Path) -> None:
    pack(tree(), tmp_path)
    ask = 'test "$1" = "at $2" && exec 3<>"/dev/tcp/${2%:*}/${2#*:}" && exit 7'
    assert run(serve(tmp_path, "a:b"), ["bash", "-c", ask, "bash", "at {registry}", "{registry}"]) == 7


def test_capabilities_by_name() -> None:
    assert bounding_set("CapBnd:\t0000000000000003\n") == ["CAP_CHOWN", "CAP_DAC_OVERRIDE"]
    assert "CAP_SYS_RESOURCE" not in bounding_set(f"CapBnd:\t{ALL & ~SYS_RESOURCE:016x}\n")


def test_a_namespace_only_where_a_capability_is_lacking() -> None:
    assert namespace_prefix(f"Name:\tx\nCapBnd:\t{ALL:016x}\n") == []
    assert namespace_prefix(f"CapBnd:\t{ALL & ~SYS_RESOURCE:016x}\n")[1].endswith("tools/userns_exec.py")
