"""`latentwire trace`: a number, what it was made from, and whether its predictions still yield it."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from latentwire.errors import ConfigurationError, EvidenceError
from latentwire.params.load import AnyParams, load_any_params
from latentwire.statistics.write import signed_entries
from latentwire.tracking.lookup import NONE, RunReader, open_reader
from latentwire.tracking.store import TrackingError
from latentwire.verification import chain, rebuild
from latentwire.verification.chain import Link
from latentwire.verification.code_changes import CodeNow
from latentwire.verification.differences import ABSENT, format_leaf, json_differences, nearly_equal
from latentwire.verification.lockfile import read_lock, say_how_to_get
from latentwire.verification.published import PROVENANCE, STATS_FILE
from latentwire.verification.stages import list_some


@dataclass(frozen=True)
class _Recomputed:
    said: str
    exit_code: int


def trace_number(root: Path, name: str) -> int:
    """Print the chain of a number, or the ids in a table or figure.

    Returns:
        The exit code: 0, 3 where the chain is broken or the predictions yield something else, or 4 where files are
        missing and nothing contradicts the number.

    Raises:
        ConfigurationError: Nothing has this name; the message has the names most like it.
        EvidenceError: There are no statistics here.
    """
    values = load_any_params(root / "params.yaml")
    stats = rebuild.read_stats(root)
    if stats is None:
        raise EvidenceError(f"{STATS_FILE} is missing, expected the statistics. {say_how_to_get(root)}.")
    entry = signed_entries(stats).get(name)
    if entry is None:
        print("\n".join(_ids_in(root, stats, name)))
        return 0
    links = _links(root, values, stats, entry)
    print("\n".join([f"{name} = {_number(entry)}", *map(format_link, links)]))
    found = _recompute(root, values, name, entry, [link.missing for link in links if link.missing])
    print(f"recomputed from the predictions: {found.said}")
    if broken := [f"{link.what}: {link.broken}" for link in links if link.broken]:
        print(f"the chain is broken: {'; '.join(broken)}")
    return 3 if broken else found.exit_code


def format_link(link: Link) -> str:
    """A link as printed."""
    notes = [f"BROKEN: {link.broken}"] if link.broken else [f"NOT HERE: {link.missing}"] if link.missing else []
    return "\n".join([f"  {link.what:14} {link.value}", *(f"  {'':14} {note}" for note in notes)])


def first_change(stored: Mapping[str, Any], fresh: Mapping[str, Any] | None) -> str | None:
    """Name the first value of an entry that comes out differently when recomputed; None where all are equal."""
    for path, was, now in json_differences(stored, ABSENT if fresh is None else fresh):
        if not nearly_equal(was, now):
            return f"{path or 'it'} is {format_leaf(was)} in {STATS_FILE}, recomputed {format_leaf(now)}"
    return None


def _recompute(root: Path, values: AnyParams, name: str, entry: Mapping[str, Any], missing: list[str]) -> _Recomputed:
    """Compute an entry again; `missing` are files of its chain that are not here."""
    try:
        change = first_change(entry, signed_entries(rebuild.recompute_statistics(root, values)).get(name))
    except rebuild.DAMAGE as error:
        # The statistics are computed as a whole, so that a file of another number may be what is missing.
        absent = chain.missing_outs(root, read_lock(root)) or missing
        if absent:
            return _Recomputed(f"could not be computed: {list_some(absent)} missing. {say_how_to_get(root)}.", 4)
        change = f"the predictions give no number: {rebuild.error_sentence(error)}"
    return _Recomputed("equal", 0) if change is None else _Recomputed(f"different: {change}", 3)


def _links(root: Path, values: AnyParams, stats: Mapping[str, Any], entry: Mapping[str, Any]) -> list[Link]:
    lock = read_lock(root)
    links: list[Link] = []
    mlflow, code_now = _reader(root, values), CodeNow(root)
    for path in chain.prediction_sources(stats, entry):
        recorded = stats["sources"][path]
        links += chain.links_from_source(root, path, recorded, lock, code_now)
        if recorded["checkpoint"]:
            links += _links_from_run(root, Path(path).parent.name, mlflow)
    tasks = [entry["task"]] if "task" in entry else list(stats["tasks"])
    data = [chain.link_to_data(root, task, stats["tasks"][task]["data_digest"]) for task in tasks]
    return [*links, *data, chain.link_to_code(root)]


def _links_from_run(root: Path, item: str, mlflow: RunReader | str | None) -> list[Link]:
    identity = chain.read_identity(root, item)
    if identity is None:
        return []
    image = chain.link_to_image(chain.find_state_folder(root, item, identity))
    return [Link("run identity", identity), image, Link("MLflow run", _run_id(mlflow, identity))]


def _run_id(mlflow: RunReader | str | None, identity: str) -> str:
    if not isinstance(mlflow, RunReader):
        return mlflow or NONE
    run = mlflow.run_of(identity)
    return NONE if run is None else f"{run.info.run_id} ({run.info.status})"


def _reader(root: Path, values: AnyParams) -> RunReader | str | None:
    """MLflow, None where it has nothing, or why it cannot be asked."""
    try:
        return open_reader(root, values.tracking.experiment)
    except TrackingError as error:
        return str(error)


def _number(entry: Mapping[str, Any]) -> str:
    value = f"{entry['value']:.6g}" if "value" in entry else "several values"
    ends = "" if entry.get("low") is None else f" [{entry['low']:.6g}, {entry['high']:.6g}]"
    return f"{value}{ends}  ({entry['signature']})"


def _ids_in(root: Path, stats: Mapping[str, Any], name: str) -> list[str]:
    outputs = chain.read_provenance(root).get("outputs", {})
    for file, facts in outputs.items():
        if name in (file, Path(file).name, Path(file).stem):
            return list(facts["ids"]) or [f"{file} has no number with an id; it is drawn from the journals"]
    known = [*outputs, *signed_entries(stats)]
    near = difflib.get_close_matches(name, known, n=5, cutoff=0.4)
    raise ConfigurationError(
        f"Nothing is called {name!r} in {STATS_FILE} or {PROVENANCE}; expected the id of a number, a table or a figure"
        f"{', such as ' + ', '.join(near) if near else ''}. Next: `latentwire trace TABLE` lists the ids of a table."
    )
