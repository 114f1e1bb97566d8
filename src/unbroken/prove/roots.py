"""Where a program keeps its objects: the globals of its modules, the variables of its running functions, and more."""

from __future__ import annotations

import gc
import inspect
import sys
import sysconfig
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from types import CodeType, FrameType, GeneratorType, ModuleType
from typing import Any

import torch

OWN_PACKAGE = __name__.partition(".")[0]
TRAINED = (
    torch.nn.Module,
    torch.optim.Optimizer,
    torch.optim.lr_scheduler.LRScheduler,
    torch.amp.GradScaler,
)
"""Types of which every live object is looked at, whether a variable leads to it or not."""

_TESTERS = frozenset({"_pytest", "pytest", "pluggy", "xdist", "execnet", "__channelexec__", "coverage"})
"""Packages; `__channelexec__` is the name of the program of an xdist worker, whose variables lead to every test."""
_STANDARD = tuple(str(Path(sysconfig.get_path(name)).resolve()) + "/" for name in ("stdlib", "platstdlib"))
_OWN_FOLDER = str(Path(__file__).parents[1])
_INSTALLED = ("site-packages", "dist-packages")


def find_namespaces() -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Prefix and variables: `` for those of `__main__`, `module.` for other modules, `function.` for local ones.

    Modules are those of the program, and all in which a function of the stack stands; the outermost function is first.
    Variables are in the order of their names: that of their making may be another one after an interruption.
    """
    frames = [frame for frame in _list_stack() if not _is_foreign(frame.f_globals.get("__name__", ""), frame.f_code)]
    running = {frame.f_globals.get("__name__") for frame in frames}
    for name, module in sorted(sys.modules.items()):
        if isinstance(module, ModuleType) and (name in running or is_own_module(name)):
            yield "" if name == "__main__" else f"{name}.", _drop_dunders(vars(module))
    for frame in frames:
        if frame.f_code.co_flags & inspect.CO_OPTIMIZED:
            yield f"{frame.f_code.co_name}.", dict(sorted(read_locals(frame).items()))


def _drop_dunders(names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in sorted(names.items()) if not name.startswith("__")}


def _list_stack() -> list[FrameType]:
    stack: list[FrameType] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        stack.append(frame)
        frame = frame.f_back
    return stack[::-1]


def read_locals(frame: FrameType) -> dict[str, Any]:
    """The local variables of a function by name; nothing of them is kept alive."""
    live = frame.f_locals
    found = dict(live)
    # Up to Python 3.12 the frame keeps this dict to its end, and so would all that is in it. `locals()` is the same
    # one, and is the program's own if it has kept it.
    if type(live) is dict and sys.getrefcount(live) <= 3:
        live.clear()
    return found


def _is_foreign(module: str, code: CodeType) -> bool:
    package = module.partition(".")[0]
    return package in _TESTERS or package == OWN_PACKAGE or _is_standard(code.co_filename)


@cache
def _is_standard(file: str) -> bool:
    return file.startswith("<frozen") or (
        str(Path(file).resolve()).startswith(_STANDARD) and not any(part in file for part in _INSTALLED)
    )


def _is_own_file(file: str) -> bool:
    return not any(part in file for part in _INSTALLED) and not _is_standard(file)


@cache
def is_own_module(name: str) -> bool:
    """Is it a module of the program: neither installed, nor of Python, nor of this package?"""
    package = name.partition(".")[0]
    if package == OWN_PACKAGE or name not in sys.modules:
        return False
    files = [getattr(sys.modules.get(each), "__file__", None) for each in {name, package}]
    return all(_is_own_file(file) for file in files if file) if any(files) else name == "__main__"


def name_module(kind: type) -> str:
    """The module that a class says that it is of."""
    return kind.__module__ if isinstance(kind.__module__, str) else ""


@cache
def is_standard_module(name: str) -> bool:
    """Is it a module of Python itself?"""
    return name.partition(".")[0] in sys.stdlib_module_names


def find_nameless(seen: Mapping[int, object]) -> Iterator[tuple[str, Any]]:
    """Live objects that are not in `seen`, such as the iterator of a running `for`: what trains, and what is its own.

    An object is called by its type; of several of one type, those that train are numbered, others are left out.
    """
    groups: dict[str, list[Any]] = defaultdict(list)
    dull: set[type] = set()  # nearly all of them
    for thing in gc.get_objects():
        if type(thing) in dull or id(thing) in seen:
            continue
        if label := _label_nameless(thing):
            groups[label].append(thing)
        elif type(thing) is not GeneratorType:
            dull.add(type(thing))
    for label, things in sorted(groups.items()):
        whole = _drop_children(things)
        if len(whole) == 1:
            yield f"{label}()", whole[0]
        elif issubclass(type(whole[0]), TRAINED):
            yield from ((f"{label}()#{number}", thing) for number, thing in enumerate(whole))


def _label_nameless(thing: Any) -> str | None:
    kind: Any = type(thing)
    if kind is GeneratorType:
        code = thing.gi_code
        return code.co_qualname if is_own_code(code) else None
    return kind.__qualname__ if _is_of_interest(kind) else None


@cache
def is_own_code(code: CodeType) -> bool:
    """Is it code of the program?"""
    return _is_own_file(code.co_filename) and not code.co_filename.startswith(_OWN_FOLDER)


@cache
def _is_of_interest(kind: type[Any]) -> bool:
    return issubclass(kind, (*TRAINED, torch.utils.data.DataLoader)) or is_own_module(name_module(kind))


def _drop_children(things: list[Any]) -> list[Any]:
    modules = [thing for thing in things if issubclass(type(thing), torch.nn.Module)]
    children = {id(child) for module in modules for child in module.modules() if child is not module}
    return [thing for thing in things if id(thing) not in children]
