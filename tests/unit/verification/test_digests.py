"""Digests are DVC's own: DVC is the oracle."""

from __future__ import annotations

from pathlib import Path

from dvc_data.hashfile.hash_info import HashInfo
from dvc_data.hashfile.meta import Meta
from dvc_data.hashfile.tree import Tree

from latentwire import digests


def test_a_folder_has_the_digest_that_dvc_gives_it(tmp_path: Path) -> None:
    tree = Tree()
    for name, text in {"b.txt": "1", "a/z.txt": "2", "a.txt": "3", "a/ä ö.txt": ""}.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        tree.add(tuple(name.split("/")), Meta(), HashInfo("md5", digests.dvc_digest(path)))
    tree.digest()
    assert digests.dvc_digest(tmp_path) == tree.hash_info.value
    assert digests.read_listing(tree.as_bytes()) == digests.file_digests(tmp_path)


def test_what_python_generates_does_not_count(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("x = 1")
    before = digests.dvc_digest(tmp_path)
    for name in ("__pycache__/code.pyc", "some.egg-info/PKG-INFO"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("made")
    assert digests.dvc_digest(tmp_path) == before


def test_nothing_has_no_digest(tmp_path: Path) -> None:
    assert digests.dvc_digest(tmp_path / "absent") is None
