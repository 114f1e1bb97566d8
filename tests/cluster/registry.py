"""A registry on the loopback that serves one image: what `Bootstrap: docker` of Apptainer.def reads in the tests.

`python3 registry.py pack FOLDER < TREE.tar` makes an image of one layer; `python3 registry.py serve FOLDER NAME:TAG --
COMMAND…` serves it while a command runs, in whose words {registry} becomes HOST:PORT, and exits with its code.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import IO

MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIGURATION = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class _Hashed:
    """A file that knows the SHA-256 of what was written to it."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.hash = file, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def pack(tree: IO[bytes], folder: Path) -> None:
    """Write the blobs of an image whose only layer is a tar stream, and, last, the name of its manifest."""
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / "layer.partial"
    unpacked = hashlib.sha256()
    with partial.open("wb") as file:
        packed = _Hashed(file)
        # mtime=0: the same tree is the same image.
        with gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=1, mtime=0) as stream:  # type: ignore[call-overload]
            while block := tree.read(1 << 20):
                unpacked.update(block)
                stream.write(block)
    layer = _described(LAYER, packed.hash.hexdigest(), partial.stat().st_size)
    partial.rename(folder / packed.hash.hexdigest())
    configuration = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Env": [f"PATH={PATH}"], "Cmd": ["python3"]},
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{unpacked.hexdigest()}"]},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": _put(folder, CONFIGURATION, configuration),
        "layers": [layer],
    }
    (folder / "manifest").write_text(str(_put(folder, MANIFEST, manifest)["digest"]))


def _put(folder: Path, kind: str, value: object) -> dict[str, object]:
    data = json.dumps(value).encode()
    digest = hashlib.sha256(data).hexdigest()
    (folder / digest).write_bytes(data)
    return _described(kind, digest, len(data))


def _described(kind: str, digest: str, size: int) -> dict[str, object]:
    return {"mediaType": kind, "digest": f"sha256:{digest}", "size": size}


def serve(folder: Path, name: str) -> ThreadingHTTPServer:
    """A server of one image under one name, on a free port; started by the caller."""
    handler = type("Handler", (_Handler,), {"folder": folder, "wanted": name.rsplit(":", 1)})
    return ThreadingHTTPServer(("127.0.0.1", 0), handler)


class _Handler(BaseHTTPRequestHandler):
    """The part of the registry's protocol, version 2, that is for reading."""

    protocol_version = "HTTP/1.1"
    folder: Path
    wanted: list[str]

    def do_HEAD(self) -> None:
        self._answer(lambda data: None)

    def do_GET(self) -> None:
        self._answer(lambda data: self.wfile.write(data) and None)

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""

    def _answer(self, send: Callable[[bytes], None]) -> None:
        kind, data = self._found()
        self.send_response(200 if data is not None else 404)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data or b"")))
        if data is not None:
            self.send_header("Docker-Content-Digest", f"sha256:{hashlib.sha256(data).hexdigest()}")
        self.end_headers()
        send(data or b"")

    def _found(self) -> tuple[str, bytes | None]:
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts == ["v2"]:
            return "application/json", b"{}"
        name, kind, reference = "/".join(parts[1:-2]), *parts[-2:]
        manifest = (self.folder / "manifest").read_text()
        if kind == "manifests" and [name, reference] == self.wanted:
            reference = manifest
        path = self.folder / reference.removeprefix("sha256:")
        media = MANIFEST if reference == manifest else "application/octet-stream"
        return media, path.read_bytes() if reference.startswith("sha256:") and path.is_file() else None


def run(server: ThreadingHTTPServer, command: list[str]) -> int:
    """Serve while a command runs; returns its exit code."""
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"127.0.0.1:{server.server_address[1]}"
    return subprocess.run([word.replace("{registry}", address) for word in command], check=False).returncode


def main(arguments: list[str]) -> int:
    match arguments:
        case ["pack", folder]:
            pack(sys.stdin.buffer, Path(folder))
            return 0
        case ["serve", folder, name, "--", *command]:
            return run(serve(Path(folder), name), command)
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
