"""What `functools.lru_cache` keeps, by the arguments that led there."""

from __future__ import annotations

import functools
import gc
from collections import Counter
from typing import Any

MEMO: Any = type(functools.lru_cache(len))
_LARGEST_NUMBER = 1 << 40
"""A larger key is the address of an object, another one in every process."""


def name_value(key: object) -> str | None:
    """How a key is written; None for an object, which has no name that is the same in every process."""
    if type(key) is tuple:
        names = [name_value(each) for each in key]
        return None if None in names else f"({', '.join(map(str, names))})"
    if type(key) is int and abs(key) >= _LARGEST_NUMBER:
        return None
    return repr(key) if key is None or type(key) in (int, str, bool, float, bytes) else None


def list_results(memo: Any) -> list[tuple[str, Any]]:
    """Arguments and result of each call that is kept, and the function itself."""
    found = [(_name_call(key), value) for key, value in _read_results(memo)]
    count = Counter(name for name, _ in found)
    # Calls that differ by an object alone cannot be told apart in another process.
    return [(".call", vars(memo).get("__wrapped__")), *((name, value) for name, value in found if count[name] == 1)]


def _name_call(key: object) -> str:
    parts = key if type(key) is tuple else (key,)
    return f"[{', '.join(name_value(part) or type(part).__name__ for part in parts)}]"


def _read_results(memo: Any) -> list[tuple[object, Any]]:
    info, held = MEMO.cache_info(memo), gc.get_referents(memo)
    if not info.currsize:
        return []
    if info.maxsize is None:
        return list(next(each for each in held if type(each) is dict).items())
    # Each key is followed by its result; the dict of keys, by which they are found, leads to neither.
    places = {id(each): place for place, each in reversed(list(enumerate(held)))}
    links = next(each for each in held if type(each) is dict and _has_links(each))
    return [(key, held[places[id(key)] + 1]) for key in links]


def _has_links(each: dict[Any, Any]) -> bool:
    return {type(value).__name__ for value in each.values()} == {"_lru_list_elem"}
