"""A parked checkpoint goes on elsewhere in the same bytes, and nothing that went wrong on the way is used."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from latentwire.parking import store as stores
from latentwire.parking.fetch import FetchResult, NothingParkedError
from latentwire.parking.park import REF, NothingToParkError
from latentwire.parking.pointer import ParkingError, Pointer, RemoteError, parse_pointer
from latentwire.parking.store import open_store
from tests.support import toy_training
from tests.support.forks import in_child
from tests.support.parking_machines import ITEM, Machine
from unbroken.errors import IdentityError, LockedError, StorageError
from unbroken.filesystem import FileSystem
from unbroken.preemption import Preempted
from unbroken.run import Run
from unbroken.run_folder import events
from unbroken.run_folder.identity import Identity

Machines = Callable[[str], Machine]


def objects(remote: Path) -> list[Path]:
    """Every object of DVC in the remote."""
    return sorted(path for path in (remote / "files").rglob("*") if path.is_file())


def damage(path: Path) -> None:
    """Flip a bit in the middle of a file, whatever its mode."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.unlink()
    path.write_bytes(data)


def parked(machine: Machines, step: int = 13) -> Machine:
    one = machine("one")
    one.train(until=step)
    one.park()
    return one


def test_another_machine_goes_on_to_the_same_bytes(machine: Machines, uninterrupted: dict[str, bytes]) -> None:
    one = parked(machine)
    shutil.rmtree(one.root)
    two = machine("two")
    assert two.fetch() == FetchResult(13, new=True)
    assert two.steps() == [13]
    assert any("Going on from step 13" in sentence for sentence in two.train())
    assert two.exported == uninterrupted


def test_back_and_forth(machine: Machines, uninterrupted: dict[str, bytes]) -> None:
    one, two = machine("one"), machine("two")
    for here, there, step in ((one, two, 9), (two, one, 20), (one, two, 33)):
        here.train(until=step)
        here.park()
        assert there.fetch().step == step
    two.train()
    assert two.exported == uninterrupted
    assert len([e for e in events.read_events(two.location.folder / events.EVENTS_FILE) if e["event"] == "start"]) == 4


def test_parking_does_not_disturb_the_training(machine: Machines, uninterrupted: dict[str, bytes]) -> None:
    one, two = machine("one"), machine("two")
    found: list[int] = []

    def hook(run: Run, step: int) -> None:
        if step in (10, 11, 12, 24, 40):
            found.append(one.park().step)

    one.train(hook=hook, background=False)
    assert found == [7, 7, 7, 21, 35]
    assert one.exported == uninterrupted
    assert two.fetch().step == 35
    two.train()
    assert two.exported == uninterrupted


def test_a_run_that_is_being_trained_here_is_not_fetched(machine: Machines) -> None:
    parked(machine, 30)
    two = machine("two")
    refused: list[str] = []

    def hook(run: Run, step: int) -> None:
        if step == 10:
            with pytest.raises(LockedError) as error:
                two.fetch()
            refused.append(str(error.value))

    two.train(hook=hook)
    assert "is in use by process" in refused[0]


def test_a_newer_checkpoint_of_this_machine_stays(machine: Machines) -> None:
    parked(machine, 13)
    two = machine("two")
    two.train(until=20)
    before = {path: path.read_bytes() for path in two.location.checkpoints.rglob("*") if path.is_file()}
    fetched = two.fetch()
    assert (fetched.step, fetched.new) == (20, False)
    assert {path: path.read_bytes() for path in two.location.checkpoints.rglob("*") if path.is_file()} == before


def test_a_damaged_checkpoint_of_this_machine_is_replaced(machine: Machines, uninterrupted: dict[str, bytes]) -> None:
    one = parked(machine, 13)
    damage(one.location.newest_first()[0] / "tensors.safetensors")
    fetched = one.fetch()
    assert (fetched.step, fetched.new) == (13, True)
    assert len(list(one.location.checkpoints.glob("bad-step-00000013-*"))) == 1
    assert any("Going on from step 13" in sentence for sentence in one.train())
    assert one.exported == uninterrupted


def test_another_identity_is_refused_with_what_differs(machine: Machines) -> None:
    parked(machine)
    two = machine("two")
    two.identity = Identity({"train": {"lr": 0.01, "steps": toy_training.STEPS}, "seed": 3})
    with pytest.raises(IdentityError, match=r"train\.lr: 0\.05 -> 0\.01\. Nothing was fetched\. Next: ") as error:
        two.fetch()
    assert error.value.exit_code == 2
    assert not two.location.folder.exists()


@pytest.mark.parametrize("number", range(6))
def test_a_changed_object_is_refused(number: int, machine: Machines, remote: Path) -> None:
    """One of: three files of the checkpoint, identity, execution record, listing."""
    parked(machine)
    assert len(objects(remote)) == 6
    damage(objects(remote)[number])
    two = machine("two")
    with pytest.raises(ParkingError, match=r"is not what was parked: .* Next: remove that object, then"):
        two.fetch()
    assert not two.location.folder.exists()


@pytest.mark.parametrize("number", range(6))
def test_an_object_that_is_gone_is_named(number: int, machine: Machines, remote: Path) -> None:
    parked(machine)
    gone = objects(remote)[number]
    gone.unlink()
    two = machine("two")
    with pytest.raises(ParkingError, match=f"has no {gone}, which a parked checkpoint needs: .* Next: "):
        two.fetch()
    assert not two.location.folder.exists()


def test_an_object_of_a_valid_name_but_of_other_weights_is_refused(machine: Machines, tmp_path: Path) -> None:
    """Whoever can write to the remote can make names fit; the digests inside the checkpoint do not."""
    one = parked(machine)
    with stores.open_store(one.root, None, one.said.append) as store:
        honest = store.pointers(one.location.run)[0]
        files = {}
        for relative, oid in store.listing(honest).items():
            files[relative] = tmp_path / relative.replace("/", "-")
            store.download(oid, files[relative])
        damage(files["checkpoints/step-00000013/tensors.safetensors"])
        listing, size = store.upload(files, tmp_path)
        forged = honest.model_copy(update={"listing": listing, "size": size, "events": 99})
        (tmp_path / "pointer").write_bytes(forged.text())
        store.put_pointer(forged, tmp_path / "pointer")
        store.drop(honest)
    with pytest.raises(ParkingError, match="No parked version of wire-r8-0 is whole"):
        machine("two").fetch()


def test_a_listing_that_leads_out_of_the_folder_is_refused(machine: Machines, tmp_path: Path) -> None:
    one = parked(machine)
    with stores.open_store(one.root, None, one.said.append) as store:
        honest = store.pointers(one.location.run)[0]
        (tmp_path / "evil").write_text("evil")
        listing, _ = store.upload({"../../../evil": tmp_path / "evil"}, tmp_path)
        forged = honest.model_copy(update={"listing": listing})
        (tmp_path / "pointer").write_bytes(forged.text())
        store.put_pointer(forged, tmp_path / "pointer")
        store.drop(honest)
    with pytest.raises(ParkingError, match="has other files than a checkpoint has"):
        machine("two").fetch()


def test_the_version_before_a_damaged_one_is_used(machine: Machines, remote: Path) -> None:
    one = parked(machine, 13)
    before = set(objects(remote))
    one.train(until=20)
    one.park()
    damage(next(path for path in objects(remote) if path not in before and path.stat().st_size > 4000))
    two = machine("two")
    assert two.fetch().step == 13
    assert any("The parked step 20 of wire-r8-0 is not used." in sentence for sentence in two.said)


def test_pointers_that_are_old_are_dropped_and_objects_are_not(machine: Machines, remote: Path) -> None:
    one = machine("one")
    kept = 0
    for step in (8, 16, 24):
        one.train(until=step)
        one.park(keep=2)
        assert len(objects(remote)) > kept
        kept = len(objects(remote))
    assert [pointer.step for pointer in one.versions()] == [24, 16]


def test_parked_twice_is_parked_once(machine: Machines, remote: Path) -> None:
    one = parked(machine)
    before = objects(remote)
    assert one.park() == one.versions()[0]
    assert objects(remote) == before
    assert len(one.versions()) == 1


def test_a_damaged_checkpoint_is_not_parked(machine: Machines) -> None:
    one = machine("one")
    one.train(until=20)
    newest, older = one.location.newest_first()[:2]
    damage(newest / "tensors.safetensors")
    assert one.park().step == int(older.name[5:])
    assert any(f"{newest} is not parked: " in sentence for sentence in one.said)
    for path in one.location.newest_first():
        (path / "manifest.json").unlink()
    with pytest.raises(ParkingError, match=r"none is whole\. Next: "):
        one.park()


def test_nothing_to_park_and_nothing_parked(machine: Machines) -> None:
    one = machine("one")
    with pytest.raises(NothingToParkError, match=r"wire-r8-0 has no state in .* Next: `dvc repro train@wire-r8-0`"):
        one.park()
    with pytest.raises(NothingParkedError, match=r"has nothing of wire-r8-0 .* Next: `latentwire park wire-r8-0`"):
        one.fetch()
    one.train(until=3, every=100, hook=lambda run, step: None if step < 3 else (_ for _ in ()).throw(Preempted()))
    shutil.rmtree(one.location.checkpoints)
    with pytest.raises(NothingToParkError, match="there is none yet"):
        one.park()
    one.identity = Identity({"seed": 4})
    with pytest.raises(NothingToParkError, match=r"is of another identity: .*seed: 3 -> 4"):
        one.park()


class TestKills:
    """SIGKILL inside of each call that changes the cache or the remote."""

    def parked_until(self, one: Machine, call: int) -> int:
        """Park in a process that kills itself half-way in a write after `call` whole ones; the exit status."""

        def action() -> None:
            from dvc_objects.fs.local import FsspecLocalFileSystem

            real, count = FsspecLocalFileSystem.put_file, iter(range(1000))

            def put_file(self: object, source: str, target: str, **options: object) -> None:
                if next(count) == call:
                    Path(target).parent.mkdir(parents=True, exist_ok=True)
                    Path(target).with_name("tmp-half").write_bytes(Path(source).read_bytes()[:100])
                    os.kill(os.getpid(), signal.SIGKILL)
                real(self, source, target, **options)  # type: ignore[arg-type]

            def reflink(self: object, source: str, target: str) -> None:
                raise OSError(errno.ENOTSUP, "each file is copied, whatever the file system can do")

            FsspecLocalFileSystem.put_file = put_file  # type: ignore[method-assign]
            FsspecLocalFileSystem.reflink = reflink  # type: ignore[method-assign]
            one.park()

        return in_child(action, keep="latentwire")

    def test_a_killed_park_leaves_the_remote_usable(
        self, machine: Machines, remote: Path, uninterrupted: dict[str, bytes]
    ) -> None:
        one = parked(machine, 13)
        one.train(until=20)
        assert self.parked_until(one, 0) == -signal.SIGKILL
        kills = 1
        while self.parked_until(one, 1):  # one write further each time
            assert machine(f"two-{kills}").fetch().step == 13
            kills += 1
        # Four new objects (the identity is there) and a listing, in the cache and in the remote, and the pointer.
        assert kills == 11
        two = machine("two")
        assert two.fetch().step == 20
        two.train()
        assert two.exported == uninterrupted

    def test_a_killed_fetch_is_done_again(
        self, machine: Machines, uninterrupted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parked(machine, 13)
        two = machine("two")
        for call in range(5):

            def action(call: int = call) -> None:
                real, count = stores.RemoteStore.download, iter(range(100))

                def download(self: stores.RemoteStore, oid: str, target: Path) -> None:
                    real(self, oid, target)
                    if next(count) == call:
                        os.kill(os.getpid(), signal.SIGKILL)

                stores.RemoteStore.download = download  # type: ignore[method-assign]
                two.fetch()

            assert in_child(action, keep="latentwire") == -signal.SIGKILL
            assert not two.location.folder.exists()
        assert two.fetch().new
        two.train()
        assert two.exported == uninterrupted


def test_parks_at_the_same_time(machine: Machines, uninterrupted: dict[str, bytes]) -> None:
    """Three processes on one machine, and one on another that is further."""
    one, two = machine("one"), machine("two")
    one.train(until=13)
    two.train(until=20)
    children = []
    for here in (one, one, two, one):
        pid = os.fork()
        if pid == 0:
            try:
                here.park()
                os._exit(0)
            finally:
                os._exit(1)
        children.append(pid)
    assert [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in children] == [0, 0, 0, 0]
    three = machine("three")
    assert [pointer.step for pointer in three.versions()] == [20, 13]
    assert three.fetch().step == 20
    three.train()
    assert three.exported == uninterrupted


def test_the_pointer_is_one_of_dvc(machine: Machines, remote: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plain DVC pulls what it names, and keeps it in a garbage collection; without the pointer it is deleted."""
    from dvc.repo import Repo

    one = parked(machine)
    two = machine("two")
    shutil.copytree(one.root / "checkpoints", two.root / "checkpoints")
    monkeypatch.chdir(two.root)
    with Repo() as repo:
        repo.pull([f"checkpoints/{ITEM}.dvc"])
        assert not repo.status()
        before = objects(remote)
        repo.gc(workspace=True, cloud=True)
        assert objects(remote) == before
    shutil.move(two.root / "parked" / ITEM, two.location.state.joinpath(two.location.run))
    assert any("Going on from step 13" in sentence for sentence in two.train())
    with Repo(str(machine("three").root)) as repo:
        repo.gc(workspace=True, cloud=True)
    with pytest.raises(ParkingError, match="or `dvc gc` deleted it"):
        machine("four").fetch()


def test_the_same_bytes_in_repository_remote_and_ref(machine: Machines, remote: Path) -> None:
    one = parked(machine)
    text = (one.root / "checkpoints" / f"{ITEM}.dvc").read_bytes()
    (there,) = (remote / "latentwire/parked" / one.location.run).iterdir()
    assert there.read_bytes() == text
    shown = subprocess.run(["git", "cat-file", "blob", f"{REF}/{one.location.run}"], cwd=one.root, capture_output=True)
    assert shown.stdout == text
    assert parse_pointer(text, "there").name == there.name


def test_a_file_of_that_name_that_is_no_pointer_stays(machine: Machines) -> None:
    one = machine("one")
    one.train(until=13)
    other = one.root / "checkpoints" / f"{ITEM}.dvc"
    other.parent.mkdir()
    other.write_text("outs:\n- path: mine\n")
    with pytest.raises(ParkingError, match="is not overwritten; the remote has the checkpoint"):
        one.park()
    assert other.read_text() == "outs:\n- path: mine\n"
    assert machine("two").fetch().step == 13


def test_an_upload_that_was_cut_off_is_not_taken_for_one(machine: Machines, remote: Path) -> None:
    one = parked(machine)
    largest = max(objects(remote), key=lambda path: path.stat().st_size)
    largest.unlink()
    largest.write_bytes(b"short")
    with pytest.raises(ParkingError, match=r"has 5 bytes, expected \d+: .* Next: remove that object"):
        one.park()


def test_a_damaged_pointer_is_reported(machine: Machines, remote: Path) -> None:
    one = parked(machine)
    (there,) = (remote / "latentwire/parked" / one.location.run).iterdir()
    (there.parent / "tmp123").write_bytes(b"left by a killed upload")
    text = there.read_text()
    there.unlink()
    for wrong in (text.replace("step: 13", "step: 14"), text + "# \n", text.replace("files", "lies"), "{", "\x00"):
        there.write_text(wrong)
        two = machine(f"two-{hash(wrong)}")
        with pytest.raises(NothingParkedError):
            two.fetch()
        assert len(two.said) == 1


@pytest.mark.parametrize("text", ["", "[]", "meta: {latentwire: {}}\nouts: [{}]", "outs: 3"])
def test_what_is_no_pointer_is_refused(text: str) -> None:
    with pytest.raises(ParkingError, match="there is no pointer to a parked checkpoint"):
        parse_pointer(text.encode(), "there")


def test_pointers_sort_by_step_and_name_no_other_folder() -> None:
    fields = {"identity": "a" * 64, "step": 5, "events": 1, "listing": "b" * 32 + ".dir", "size": 1, "files": 1}
    assert Pointer(item="wire-r8-0", **fields).name == "00000005-000001-" + "b" * 32 + ".dvc"  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="item"):
        Pointer(item="../x", **fields)  # type: ignore[arg-type]


def test_without_a_remote_or_a_repository(machine: Machines, tmp_path: Path) -> None:
    one = machine("one")
    (one.root / ".dvc/config").write_text("[core]\n    analytics = false\n")
    with pytest.raises(ParkingError, match=r"no default remote, .* Next: `dvc remote add --default NAME URL`"):
        one.fetch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(ParkingError, match="is no usable DVC repository"):
        Machine(tmp_path / "empty").fetch()
    two = machine("two")
    with (
        pytest.raises(ParkingError, match="Next: `dvc remote list`"),
        stores.open_store(two.root, "nosuch", two.said.append),
    ):
        pass


def test_a_remote_that_does_not_answer(machine: Machines, remote: Path) -> None:
    one = machine("one")
    one.train(until=13)
    remote.write_text("a file where the folder of the remote should be")
    with pytest.raises(ParkingError, match=r"Nothing was parked: the DVC remote store .* answered \w+Error: .* Next: "):
        one.park()
    assert one.steps()[0] == 13


def test_what_cannot_be_read_now_is_neither_replaced_nor_passed_over(
    machine: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = parked(machine, 13)
    before = {path: path.read_bytes() for path in one.location.folder.rglob("*") if path.is_file()}

    class Stale(FileSystem):
        def open(self, path: Path) -> int:
            if path.name == "manifest.json":
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))
            return super().open(path)

    with monkeypatch.context() as patch:
        patch.setattr("unbroken.checkpoint.store.FileSystem", Stale)
        patch.setattr("unbroken.checkpoint.reading.FileSystem", Stale)
        with pytest.raises(StorageError, match="ESTALE"):
            one.fetch()
        with pytest.raises(StorageError, match="ESTALE"):
            one.park()
    after = {path: path.read_bytes() for path in one.location.folder.rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if path.name != "lock"} == {
        path: data for path, data in before.items() if path.name != "lock"
    }


def test_checkpoints_that_cannot_be_listed_are_not_no_checkpoints(
    machine: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = parked(machine, 13)

    list_names = os.listdir

    def refuse(path: Path) -> list[str]:
        if path == one.location.checkpoints:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        return list_names(path)

    monkeypatch.setattr("latentwire.parking.run_location.os.listdir", refuse)
    with pytest.raises(StorageError, match=r"list the checkpoints.*EACCES.*not touched"):
        one.park()


@pytest.mark.parametrize("what", ["pointer", "object"])
def test_a_version_that_the_remote_does_not_give_now_is_not_passed_over_for_an_older_one(
    what: str, machine: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = parked(machine, 13)
    one.train(until=20)
    newest = one.park()
    two = machine("two")
    with open_store(two.root, None, two.said.append) as store:
        kind, objects_of = type(store.fs), store.listing(newest)
        refused = {
            "pointer": newest.name,
            "object": store.objects.oid_to_path(objects_of["checkpoints/step-00000020/tensors.safetensors"]),
        }[what]

    def refusing(method: Callable[..., object]) -> Callable[..., object]:
        def call(self: object, source: str, *arguments: object, **options: object) -> object:
            if source.endswith(refused):
                raise TimeoutError("no answer")
            return method(self, source, *arguments, **options)

        return call

    for name in ("get_file", "cat_file"):
        monkeypatch.setattr(kind, name, refusing(getattr(kind, name)))
    with pytest.raises(RemoteError, match="answered TimeoutError: no answer"):
        two.fetch()
    assert two.steps() == []
