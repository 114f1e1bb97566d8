"""Claims of two versions of `stats.json`: which turned into their opposite, and which only one of them decides."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from latentwire.statistics.control_records import LEAK
from latentwire.statistics.unseen_records import CARRIED
from latentwire.statistics.write import signed_entries

DECIDED = {LEAK, CARRIED}
"""Claims besides the opposites that something was shown."""
OPPOSITES = ({"better", "worse"}, {"non-inferior", "inferior"}, {"equivalent", "different"})


@dataclass(frozen=True)
class ChangedClaim:
    """A claim of the entry `id` that is another one here."""

    id: str
    said: str
    opposite: bool


def changed_claims(published: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[ChangedClaim]:
    """Every claim of both versions that differs; entries that only one version has are not looked at."""
    before, after = signed_entries(published), signed_entries(here)
    for key in sorted(set(before) & set(after)):
        was, now = dict(_claims(before[key])), dict(_claims(after[key]))
        for what in sorted(set(was) & set(now)):
            if was[what] and now[what] and was[what] != now[what]:
                yield _change(key, what, was[what], now[what])
    yield from _changed_bests(published, here)


def _claims(entry: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    if "adjusted" in entry:
        yield entry["adjusted"]["family"], entry["adjusted"]["verdict"]
    for name in ("retention", "equivalence"):
        if name in entry:
            yield name, entry[name].get("outcome")


def _change(key: str, what: str, was: str, now: str) -> ChangedClaim:
    if {was, now} in OPPOSITES:
        return ChangedClaim(key, f"{what} is {now!r}, published {was!r}: the opposite", True)
    decided = now in DECIDED.union(*OPPOSITES)
    state = "decided here, undecided as published" if decided else "undecided here"
    return ChangedClaim(key, f"{what} is {now!r}, published {was!r}: {state}", False)


def _changed_bests(published: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[ChangedClaim]:
    """Blocks whose best method is another one: an opposite where neither is among the best of the other run."""
    after = {(block["task"], block["receiver"]): block for block in here.get("blocks", ())}
    for block in published.get("blocks", ()):
        other = after.get((block["task"], block["receiver"]))
        if other and other["best"] != block["best"]:
            apart = other["best"] not in block["tied"] and block["best"] not in other["tied"]
            end = "and neither is among the best of the other" if apart else "and they are not told apart"
            said = f"the best method is {other['best']}, published {block['best']}, {end}"
            yield ChangedClaim(f"{block['task']}/{block['receiver']}/ranks", said, apart)
