"""The store: commit, verify, fall back, rotate, refuse."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import random
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from tests.support.journals import journal_part
from unbroken.checkpoint import manifest as manifests
from unbroken.checkpoint.state import Snapshot, capture_state
from unbroken.checkpoint.store import CheckpointStore, load_checkpoint
from unbroken.errors import CheckpointError, DamagedError, IdentityError, StorageError
from unbroken.filesystem import FileSystem

IDENTITY = "a" * 64


def snapshot(value: float) -> Snapshot:
    tensors = {"w": torch.full((3, 5), value), "b": torch.full((2,), value, dtype=torch.bfloat16)}
    return capture_state({"weights": tensors, "cursor": {"epoch": int(value)}})


@pytest.fixture
def reports() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, reports: list[str]) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints", report=reports.append)


class Unreadable(FileSystem):
    """Opening anything of one checkpoint for reading fails as long as there is a number."""

    def __init__(self, checkpoint: str, number: int = 0) -> None:
        self.checkpoint, self.number = checkpoint, number

    def open(self, path: Path) -> int:
        if self.number and path.parent.name == self.checkpoint:
            raise OSError(self.number, os.strerror(self.number), str(path))
        return super().open(path)


def names(store: CheckpointStore) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def test_round_trip_and_format(store: CheckpointStore) -> None:
    saved = snapshot(1)
    path = store.save(10, saved, IDENTITY, journal_part(store.folder, b"line\n"))
    loaded = store.latest_good(IDENTITY)
    assert loaded is not None
    assert loaded.step == 10
    assert b"".join(loaded.journal.chunks()) == b"line\n"
    assert sorted(file.name for file in path.iterdir()) == ["manifest.json", "tensors.safetensors"]
    assert loaded.snapshot.tree == saved.tree
    assert loaded.snapshot.digests() == saved.digests()
    assert loaded.manifest.state == saved.digest()
    with_library = safetensors.torch.load_file(path / "tensors.safetensors")
    assert with_library.keys() == saved.tensors.keys()
    assert all(torch.equal(with_library[name], saved.tensors[name]) for name in with_library)
    assert {oct(p.stat().st_mode & 0o777) for p in path.iterdir()} == {"0o644"}
    assert json.loads((path / "manifest.json").read_text())["schema"] == "unbroken/1"


def test_many_megabytes_are_hashed_in_groups_and_each_tensor_is_still_checked(store: CheckpointStore) -> None:
    sizes = [5_000_000, 3_000_000, 700_000, 0, 3, *[900_000] * 6]
    tensors = {f"t{index}": torch.randn(size // 4) for index, size in enumerate(sizes)}
    saved = capture_state({"weights": tensors}, copy=False)
    path = store.save(1, saved, IDENTITY) / "tensors.safetensors"
    loaded = store.load(1, IDENTITY)
    assert loaded.manifest.digests == saved.digests() == loaded.snapshot.digests()
    for name, bytes_of in safetensors.torch.load_file(path).items():
        if len(bytes_of):
            good = path.read_bytes()
            at = good.index(bytes_of.numpy().tobytes()) + bytes_of.nbytes - 1
            path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
            with pytest.raises(CheckpointError, match=f"Tensor {name} in "):
                store.load(1, IDENTITY)
            path.write_bytes(good)


def test_the_library_writes_the_same_tensor_order(store: CheckpointStore) -> None:
    saved = snapshot(1)
    ours = (store.save(1, saved, IDENTITY) / "tensors.safetensors").read_bytes()
    theirs = safetensors.torch.save(saved.tensors)
    assert ours[8 + int.from_bytes(ours[:8], "little") :] == theirs[8 + int.from_bytes(theirs[:8], "little") :]


def test_rotation_keeps_the_last_and_the_pinned(store: CheckpointStore) -> None:
    for step in range(1, 8):
        store.save(step, snapshot(step), IDENTITY, pinned=step == 2)
    assert store.steps() == [2, 5, 6, 7]
    assert names(store) == [f"step-{step:08d}" for step in (2, 5, 6, 7)]


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def garbage(path: Path) -> None:
    path.write_bytes(random.Random(1).randbytes(500))


def empty(path: Path) -> None:
    path.write_bytes(b"")


DAMAGES: list[tuple[Callable[[Path], None], str]] = [
    (damage, name)
    for damage in (flip, truncate, garbage, empty, Path.unlink)
    for name in ("manifest.json", "tensors.safetensors", "journal.jsonl")
]


@pytest.mark.parametrize(("damage", "name"), DAMAGES, ids=lambda value: getattr(value, "__name__", value))
def test_a_damaged_newest_falls_back(
    damage: Callable[[Path], None], name: str, store: CheckpointStore, reports: list[str]
) -> None:
    for step in (10, 20, 30):
        path = store.save(step, snapshot(step), IDENTITY, journal_part(store.folder, b"journal\n"))
        # As an older version stored it, and as it stands alone.
        (path / "journal.jsonl").write_bytes(b"journal\n")
    (store.folder / "journal.jsonl").unlink()
    damage(store.path(30) / name)
    loaded = store.latest_good(IDENTITY)
    assert loaded is not None
    assert loaded.step == 20
    (sentence,) = reports
    assert "The next older checkpoint is tried. It is kept as" in sentence
    assert name in sentence
    (aside,) = [n for n in names(store) if n.startswith("bad-step-00000030-")]
    assert aside in sentence
    assert store.steps() == [10, 20]


def test_all_damaged_starts_afresh_when_the_user_says_so(store: CheckpointStore, reports: list[str]) -> None:
    for step in (1, 2):
        store.save(step, snapshot(step), IDENTITY)
        flip(store.path(step) / "tensors.safetensors")
    expected = rf"folder {store.folder} has checkpoints .*step-00000001.*none is whole.*`UNBROKEN_START_OVER=1`"
    with pytest.raises(CheckpointError, match=expected) as error:
        store.latest_good(IDENTITY)
    assert error.value.exit_code == 1
    assert len(reports) == 2
    assert all("SHA-256" in sentence and "It stays where it is" in sentence for sentence in reports)
    assert names(store) == ["step-00000001", "step-00000002"]
    reports.clear()
    assert store.latest_good(IDENTITY, start_over=True) is None
    assert len(reports) == 2
    assert names(store) == ["bad-step-00000001-digest", "bad-step-00000002-digest"]
    with pytest.raises(CheckpointError, match=r"has checkpoints \(bad-step-00000001-digest"):
        store.latest_good(IDENTITY)


def test_only_a_proven_mismatch_moves_a_checkpoint_and_only_once_a_whole_one_was_read(
    store: CheckpointStore, reports: list[str]
) -> None:
    """The newest is damaged, the next one cannot be read now: nobody knows yet from where the run goes on."""
    for step in (1, 2, 3):
        store.save(step, snapshot(step), IDENTITY)
    flip(store.path(3) / "tensors.safetensors")
    (store.folder / ".tmp-step-00000004").mkdir()
    unreadable = store.path(2) / "tensors.safetensors"
    hidden = unreadable.rename(store.folder.parent / "hidden")
    unreadable.symlink_to(store.folder.parent / "not mounted")
    before = names(store)
    with pytest.raises(StorageError, match=r"ENOENT.* not touched.*older one.*Next"):
        store.latest_good(IDENTITY)
    assert (names(store), reports) == (before, [])
    unreadable.unlink()
    hidden.rename(unreadable)
    loaded = store.latest_good(IDENTITY)
    assert loaded is not None
    assert loaded.step == 2
    assert names(store) == ["bad-step-00000003-digest", "step-00000001", "step-00000002"]


@pytest.mark.parametrize("sealed", [True, False], ids=["sealed as ours", "sealed in another way"])
def test_a_newer_schema_is_an_error_that_touches_nothing(
    sealed: bool, store: CheckpointStore, reports: list[str]
) -> None:
    for step in range(1, 4):
        store.save(step, snapshot(step), IDENTITY)
    path = store.path(3) / "manifest.json"
    resealed(path, FORGERIES["schema"])
    if not sealed:
        path.write_bytes(path.read_bytes().replace(b'"seal":"', b'"seal":"blake3-'))
    before = {file: file.read_bytes() for file in store.folder.rglob("*") if file.is_file()}
    with pytest.raises(CheckpointError, match=r"written by .* 'unbroken/2', expected 'unbroken/1'.* nothing was touch"):
        store.latest_good(IDENTITY)
    assert {file: file.read_bytes() for file in store.folder.rglob("*") if file.is_file()} == before
    assert reports == []


@pytest.mark.parametrize("forgery", ["schema", "unknown", "dtype"])
def test_rotation_spares_what_another_version_wrote(forgery: str, store: CheckpointStore) -> None:
    store.save(1, snapshot(1), IDENTITY)
    resealed(store.path(1) / "manifest.json", FORGERIES[forgery])
    for step in range(2, 8):
        store.save(step, snapshot(step), IDENTITY)
    assert store.steps() == [1, 5, 6, 7]


def test_rotation_spares_what_cannot_be_read_now_or_is_of_another_run(tmp_path: Path) -> None:
    files = Unreadable("step-00000001")
    store = CheckpointStore(tmp_path, files=files)
    store.save(1, snapshot(1), IDENTITY)
    store.save(2, snapshot(2), "b" * 64)
    files.number = errno.EIO
    for step in range(3, 9):
        store.save(step, snapshot(step), IDENTITY)
    assert store.steps() == [1, 2, 6, 7, 8]


def test_what_was_set_aside_without_a_proof_is_not_removed(store: CheckpointStore) -> None:
    """Such as an older version of this package did with what it could not read."""
    for step in range(1, 7):
        (store.folder / f"bad-step-0000000{step}-{'unreadable' if step < 4 else 'schema'}").mkdir()
    for step in range(7, 9):
        store.save(step, snapshot(step), IDENTITY)
    assert len([name for name in names(store) if name.startswith("bad-")]) == 6


def test_a_save_that_cannot_be_read_back_stays_and_the_next_start_checks_it(tmp_path: Path) -> None:
    reports: list[str] = []
    files = Unreadable("step-00000002")
    store = CheckpointStore(tmp_path, files=files, report=reports.append)
    store.save(1, snapshot(1), IDENTITY)
    files.number = errno.EIO
    with pytest.raises(StorageError, match=r"could not be read back: .*EIO.*next start checks it.*step 1 is intact"):
        store.save(2, snapshot(2), IDENTITY)
    assert (names(store), reports) == (["step-00000001", "step-00000002"], [])
    files.number = 0
    loaded = store.latest_good(IDENTITY)
    assert loaded is not None
    assert loaded.step == 2


def test_a_stored_result_that_cannot_be_read_now_is_not_called_missing(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = store.save(1, snapshot(1), IDENTITY)
    with pytest.raises(DamagedError, match="No checkpoint could be read"):
        load_checkpoint(path.with_name("step-00000002"))
    with pytest.raises(DamagedError, match="No checkpoint could be read"):
        load_checkpoint(path.parent / "never" / "made")
    files = Unreadable("step-00000001", errno.ESTALE)
    monkeypatch.setattr("unbroken.checkpoint.reading.FileSystem", lambda: files)
    with pytest.raises(StorageError, match=r"ESTALE.*It was not touched.*mount"):
        load_checkpoint(path)


def test_swapped_and_replayed_files_are_found(store: CheckpointStore, reports: list[str]) -> None:
    for step in (1, 2, 3):
        store.save(step, snapshot(step), IDENTITY)
    (store.path(3) / "tensors.safetensors").write_bytes((store.path(1) / "tensors.safetensors").read_bytes())
    store.path(1).rename(store.path(9))
    loaded = store.latest_good(IDENTITY)
    assert loaded is not None
    assert loaded.step == 2
    assert "holds step 1, expected 9" in reports[0]
    assert "SHA-256" in reports[1]


def test_garbage_in_the_folder_is_left_alone(store: CheckpointStore) -> None:
    store.save(5, snapshot(5), IDENTITY)
    (store.folder / "notes.txt").write_text("mine")
    (store.folder / "step-abc").mkdir()
    (store.folder / "step-00000099").write_text("a file, not a folder")
    loaded = store.latest_good(IDENTITY)
    assert loaded is not None
    assert loaded.step == 5
    assert (store.folder / "notes.txt").read_text() == "mine"
    assert (store.folder / "step-abc").is_dir()


def test_leftovers_of_a_killed_save_are_removed_at_the_next_start(store: CheckpointStore) -> None:
    leftover = store.folder / ".tmp-step-00000007"
    leftover.mkdir()
    (leftover / "tensors.safetensors").write_bytes(b"half")
    CheckpointStore(store.folder)
    assert names(store) == [".tmp-step-00000007"], "until it is known from where the run goes on"
    assert store.latest_good(IDENTITY) is None
    assert names(store) == []


def test_another_identity_is_refused(store: CheckpointStore) -> None:
    store.save(5, snapshot(5), IDENTITY)
    with pytest.raises(IdentityError, match=r"belongs to identity aaaaaaaaaaaa, but this run is bbbbbbbbbbbb") as error:
        store.latest_good("b" * 64)
    assert error.value.exit_code == 2
    assert store.steps() == [5]


def resealed(path: Path, change: Callable[[dict[str, object]], None]) -> None:
    """A forged manifest whose seal is right."""
    fields = json.loads(path.read_bytes())
    del fields["seal"]
    change(fields)
    body = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()[:-1]
    path.write_bytes(body + b',"seal":"' + hashlib.sha256(body).hexdigest().encode() + b'"}\n')


FORGERIES: dict[str, Callable[[dict[str, object]], None]] = {
    "schema": lambda fields: fields.update(schema="unbroken/2"),
    "unknown": lambda fields: fields.update(extra=1),
    "missing": lambda fields: fields.pop("tree"),
    "state": lambda fields: fields.update(state="0" * 64),
    "tensors": lambda fields: fields.update(tensors=[1]),
    "negative": lambda fields: fields["tensors"]["weights/w"].update(shape=[-3, 5]),  # type: ignore[index]
    "huge": lambda fields: fields["tensors"]["weights/w"].update(shape=[10**18, 5]),  # type: ignore[index]
    "dtype": lambda fields: fields["tensors"]["weights/w"].update(dtype="OBJECT"),  # type: ignore[index]
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_forged_manifests_are_refused(forgery: str, store: CheckpointStore) -> None:
    path = store.save(5, snapshot(5), IDENTITY) / "manifest.json"
    resealed(path, FORGERIES[forgery])
    with pytest.raises(CheckpointError):
        store.load(5, IDENTITY)


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {Malicious.trace}",)

    trace = ""


def test_a_malicious_pickle_is_never_executed(store: CheckpointStore, tmp_path: Path) -> None:
    Malicious.trace = str(tmp_path / "executed")
    bomb = pickle.dumps(Malicious())
    path = store.save(5, snapshot(5), IDENTITY)
    for name in ("data.pkl", "checkpoint.pt", "training_args.bin"):
        (path / name).write_bytes(bomb)
    assert store.latest_good(IDENTITY) is not None
    for name in ("manifest.json", "tensors.safetensors", "journal.jsonl"):
        path = store.save(5, snapshot(5), IDENTITY)
        (path / name).write_bytes(bomb)
        assert store.latest_good(IDENTITY, start_over=True) is None
    assert not Path(Malicious.trace).exists()


def test_saving_a_step_again_keeps_the_old_one_aside(store: CheckpointStore) -> None:
    store.save(5, snapshot(5), IDENTITY)
    store.save(5, snapshot(6), IDENTITY)
    loaded = store.latest_good(IDENTITY)
    assert loaded is not None
    assert loaded.snapshot.digests() == snapshot(6).digests()
    assert names(store) == ["bad-step-00000005-superseded", "step-00000005"]


def test_of_those_set_aside_the_newest_three_are_kept_once_a_newer_one_is_verified(
    store: CheckpointStore, reports: list[str]
) -> None:
    for step in range(1, 6):
        store.save(step, snapshot(step), IDENTITY)
        flip(store.path(step) / "manifest.json")
        assert store.latest_good(IDENTITY, start_over=True) is None
    for value in (1, 2):
        store.save(5, snapshot(value), IDENTITY)
    aside = [name for name in names(store) if name.startswith("bad-")]
    assert aside == ["bad-step-00000004-manifest", "bad-step-00000005-manifest", "bad-step-00000005-superseded"]
    removed = [report for report in reports if "was removed: of the checkpoints set aside, 3 are kept." in report]
    assert [report.split(" ")[0].rpartition("/")[2] for report in removed] == [
        f"bad-step-0000000{step}-manifest" for step in (1, 2, 3)
    ]


def test_nothing_set_aside_is_removed_without_a_verified_one(store: CheckpointStore) -> None:
    for step in range(1, 7):
        store.save(step, snapshot(step), IDENTITY, pinned=True)
    for step in range(1, 7):
        flip(store.path(step) / "tensors.safetensors")
    assert store.latest_good(IDENTITY, start_over=True) is None
    store.save(9, snapshot(9), IDENTITY, verify=False)
    assert len([name for name in names(store) if name.startswith("bad-")]) == 6


def test_manifest_text_is_canonical(store: CheckpointStore) -> None:
    data = (store.save(5, snapshot(5), IDENTITY) / "manifest.json").read_bytes()
    assert manifests.parse_manifest(data, "here").text() == data
    with pytest.raises(CheckpointError, match="does not match its own seal"):
        manifests.parse_manifest(data + b" ", "here")
