"""What docs/security.md promises of the code: nothing that is read can run, and no text becomes a command."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted(path for folder in ("src", "tools", "examples", "benchmarks") for path in (ROOT / folder).rglob("*.py"))
RUNS_WHAT_IT_READS = ("pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal")
IN_MEMORY = {"src/latentwire/reporting/fitting.py": "copies a figure that it drew itself; no byte of it was on a disk"}
"""Files that may import one of these, with the reason."""
COMMANDS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}


def list_dangers(tree: ast.AST) -> Iterator[str]:
    """What a file has that runs what it reads, or makes a command of a text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            yield from (f"imports {name}" for name in names if name.split(".")[0] in RUNS_WHAT_IT_READS)
        if isinstance(node, ast.Call):
            yield from _dangers_of_call(ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords})


def _dangers_of_call(name: str, keywords: dict[str | None, str]) -> Iterator[str]:
    if name in COMMANDS or name in ("eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load"):
        yield f"calls {name}"
    if keywords.get("shell", "False") != "False":
        yield f"gives a text to a shell in {name}"
    unpickles = name == "torch.load" and keywords.get("weights_only") != "True"
    if unpickles or keywords.get("allow_pickle", "False") != "False":
        yield f"unpickles in {name}"
    if keywords.get("trust_remote_code", "False") != "False":
        yield f"runs code of a hub in {name}"


@pytest.mark.parametrize(
    "text",
    [
        "import pickle",
        "from joblib import load",
        "import os\nos.system(f'rm {name}')",
        "import subprocess\nsubprocess.run(line, shell=True)",
        "subprocess.Popen(line, shell=flag)",
        "eval(text)",
        "yaml.load(text)",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
    ],
)
def test_each_danger_is_found(text: str) -> None:
    assert len(list(list_dangers(ast.parse(text)))) >= 1


@pytest.mark.parametrize(
    "text", ["torch.load(path, weights_only=True)", "np.load(path)", "model.eval()", "subprocess.run([a], shell=False)"]
)
def test_what_is_safe_is_not(text: str) -> None:
    assert list(list_dangers(ast.parse(text))) == []


def test_no_code_of_ours_runs_what_it_reads() -> None:
    found = {
        path.relative_to(ROOT).as_posix(): dangers
        for path in FILES
        if (dangers := list(list_dangers(ast.parse(path.read_text(encoding="utf-8")))))
    }
    assert {name: dangers for name, dangers in found.items() if name not in IN_MEMORY} == {}
    assert set(IN_MEMORY) <= set(found), "a reason without a file"


def test_a_page_is_served_to_this_machine_alone() -> None:
    addresses = {
        (path.name, node.value)
        for path in FILES
        if path.is_relative_to(ROOT / "src")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in ("0.0.0.0", "::")
    }
    assert addresses == set()
