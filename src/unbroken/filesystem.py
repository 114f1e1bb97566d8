"""The seam through which every byte reaches the disk: tests inject their faults here.

A `FileSystem` method is one system call. To inject a full disk, a short write or a kill between two calls, override
`FileSystem.call`, through which all of them pass.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

FILE_MODE = 0o666  # less the umask, as for any file of the user's: a group's 002 lets the group go on with a run
FOLDER_MODE = 0o777
_CHUNK = 1 << 24  # bytes offered to one call
_WRITEBACK = 1 << 22  # the disk begins after these bytes, not when the last one is in the cache
_NO_RESERVATION = {errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}  # file systems that cannot reserve

Buffer = bytes | bytearray | memoryview
T = TypeVar("T")


class FileSystem:
    """The real file system, one thin method per system call. Each raises OSError as the system does."""

    def call(self, name: str, path: Path, action: Callable[[], T]) -> T:
        """Run one system call. The only place that an injected fault needs to override."""
        del name  # it is for what overrides this
        try:
            return action()
        except OSError as error:
            if error.filename is None:  # a call that was given a descriptor
                error.filename = str(path)
            raise

    def create(self, path: Path) -> int:
        """A descriptor for writing and reading a file that must not exist yet."""
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        return self.call("create", path, lambda: os.open(path, flags, FILE_MODE))

    def open(self, path: Path) -> int:
        """A descriptor for reading a file or syncing a folder."""
        return self.call("open", path, lambda: _open_at_once(path, os.O_RDONLY))

    def update(self, path: Path) -> int:
        """A descriptor for reading and writing in place, created when missing."""
        return self.call("update", path, lambda: _open_at_once(path, os.O_RDWR | os.O_CREAT))

    def append_line(self, path: Path, line: bytes) -> None:
        """A line at the end of a log, which is created when missing; what was torn there stays a line of its own."""
        self.call("append", path, lambda: _append_line(path, line))

    def reserve(self, descriptor: int, path: Path, size: int) -> None:
        """Take the disk space now, so that a full disk is found before anything is written."""
        self.call("reserve", path, lambda: _allocate(descriptor, size))

    def write(self, descriptor: int, path: Path, data: Buffer) -> int:
        """Bytes written, which may be fewer than offered."""
        return self.call("write", path, lambda: os.write(descriptor, data))

    def write_at(self, descriptor: int, path: Path, data: Buffer, offset: int) -> int:
        """Bytes written at `offset`, which may be fewer than offered."""
        return self.call("write", path, lambda: os.pwrite(descriptor, data, offset))

    def read_into(self, descriptor: int, path: Path, target: memoryview) -> int:
        """Bytes read into `target`; 0 at the end of the file."""
        return self.call("read", path, lambda: os.readv(descriptor, [target]))

    def read_at(self, descriptor: int, path: Path, target: memoryview, offset: int) -> int:
        """Bytes read into `target` from `offset` on; 0 at the end of the file."""
        return self.call("read", path, lambda: os.preadv(descriptor, [target], offset))

    def is_at(self, descriptor: int, path: Path, size: int) -> bool:
        """Is the open file, of `size` bytes, the one that has this path? It may have been removed or replaced."""
        return self.call("stat", path, lambda: _is_at(descriptor, path, size))

    def size(self, descriptor: int, path: Path) -> int:
        """Size of the open file in bytes."""
        return self.call("stat", path, lambda: os.fstat(descriptor).st_size)

    def truncate(self, descriptor: int, path: Path, size: int) -> None:
        """Cut the open file to `size` bytes."""
        self.call("truncate", path, lambda: os.ftruncate(descriptor, size))

    def sync(self, descriptor: int, path: Path) -> None:
        """fsync: return when the bytes are durable."""
        self.call("fsync", path, lambda: os.fsync(descriptor))

    def begin_writeback(self, descriptor: int, path: Path, start: int, size: int) -> None:
        """Let the disk begin with a part of the file, without waiting for it."""
        # Linux answers this advice by queueing the dirty pages of the range; sync_file_range is not in `os`.
        self.call("writeback", path, lambda: os.posix_fadvise(descriptor, start, size, os.POSIX_FADV_DONTNEED))

    def forget(self, descriptor: int, path: Path) -> None:
        """Drop clean pages from the page cache, so that the next read asks the disk."""
        self.call("fadvise", path, lambda: os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED))

    def close(self, descriptor: int, path: Path) -> None:
        """Close the descriptor."""
        self.call("close", path, lambda: os.close(descriptor))

    def make_folder(self, path: Path) -> None:
        """One new folder."""
        self.call("mkdir", path, lambda: os.mkdir(path, FOLDER_MODE))

    def rename(self, source: Path, target: Path) -> None:
        """Atomic within a file system."""
        self.call("rename", target, lambda: os.rename(source, target))

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        self.call("unlink", path, lambda: os.unlink(path))

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder."""
        self.call("rmdir", path, lambda: os.rmdir(path))

    def names(self, path: Path) -> list[str]:
        """Sorted names in a folder."""
        return self.call("list", path, lambda: sorted(os.listdir(path)))


def _open_at_once(path: Path, flags: int) -> int:
    """A pipe in the place of a file would be waited for without end, and a device gives what nobody wrote."""
    descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NONBLOCK, FILE_MODE)
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind) or stat.S_ISDIR(kind):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.ENXIO, os.strerror(errno.ENXIO), str(path))  # as the system answers for a socket


def _append_line(path: Path, line: bytes) -> None:
    with open(_open_at_once(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), "a+b") as file:
        is_torn = file.tell() and os.pread(file.fileno(), 1, file.tell() - 1) != b"\n"
        file.write(b"\n" + line if is_torn else line)


def _is_at(descriptor: int, path: Path, size: int) -> bool:
    mine = os.fstat(descriptor)
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    return os.path.samestat(mine, there) and mine.st_size == size


def _find_allocate() -> Any:
    # Not os.posix_fallocate: where the file system cannot reserve, the C library writes a byte into every block.
    library = ctypes.CDLL(None, use_errno=True)
    function = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if function:
        function.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
    return function


_system_allocate = _find_allocate()


def _allocate(descriptor: int, size: int) -> None:
    number = errno.EINTR if _system_allocate else errno.ENOSYS
    while number == errno.EINTR:
        number = ctypes.get_errno() if _system_allocate(descriptor, 0, 0, size) else 0
    if number:
        raise OSError(number, os.strerror(number))


def write_fully(files: FileSystem, descriptor: int, path: Path, data: Buffer) -> None:
    """Write every byte, however short the single writes are."""
    view = memoryview(data)
    while view:
        written = files.write(descriptor, path, view[:_CHUNK])
        if written <= 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        view = view[written:]


def write_fully_at(files: FileSystem, descriptor: int, path: Path, data: Buffer, offset: int) -> None:
    """Write every byte from `offset` on."""
    view = memoryview(data)
    while view:
        written = files.write_at(descriptor, path, view[:_CHUNK], offset)
        if written <= 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        view, offset = view[written:], offset + written


class NewFile(NamedTuple):
    """A file that does not exist yet, and what it will hold: exactly `size` bytes."""

    path: Path
    size: int
    chunks: Iterable[Buffer]


def write_durably(files: FileSystem, path: Path, size: int, chunks: Iterable[Buffer]) -> None:
    """A new file of exactly `size` bytes, on the disk (not only in the cache) when this returns."""
    write_all_durably(files, [NewFile(path, size, chunks)])


def write_all_durably(files: FileSystem, parts: Iterable[NewFile]) -> None:
    """New files, all on the disk when this returns; each is asked for when those before it are written.

    They are synced together, at the end: a journal of the file system is then mostly committed once for all of them.
    """
    with ExitStack() as stack:
        written: list[tuple[int, Path]] = []
        for path, size, chunks in parts:
            descriptor = files.create(path)
            stack.callback(files.close, descriptor, path)
            _reserve_space(files, descriptor, path, size)
            _write_with_early_writeback(files, descriptor, path, chunks)
            written.append((descriptor, path))
        for descriptor, path in written:
            files.sync(descriptor, path)


def _write_with_early_writeback(files: FileSystem, descriptor: int, path: Path, chunks: Iterable[Buffer]) -> None:
    handed_over = written = 0
    for chunk in chunks:
        view = memoryview(chunk)
        for start in range(0, len(view), _WRITEBACK):
            part = view[start : start + _WRITEBACK]
            write_fully(files, descriptor, path, part)
            written += len(part)
            if written - handed_over >= _WRITEBACK:
                files.begin_writeback(descriptor, path, handed_over, written - handed_over)
                handed_over = written


def _reserve_space(files: FileSystem, descriptor: int, path: Path, size: int) -> None:
    if not size:
        return
    try:
        files.reserve(descriptor, path, size)
    except OSError as error:
        if error.errno not in _NO_RESERVATION:
            raise


def read_exactly(files: FileSystem, descriptor: int, path: Path, target: memoryview) -> int:
    """Fill `target`; returns the bytes that were there, fewer only at the end of the file."""
    done = 0
    while done < len(target):
        count = files.read_into(descriptor, path, target[done : done + _CHUNK])
        if count <= 0:
            break
        done += count
    return done


def read_exactly_at(files: FileSystem, descriptor: int, path: Path, target: memoryview, offset: int) -> int:
    """Fill `target` from `offset` on; returns the bytes that were there, fewer only at the end of the file."""
    done = 0
    while done < len(target):
        count = files.read_at(descriptor, path, target[done : done + _CHUNK], offset + done)
        if count <= 0:
            break
        done += count
    return done


def read_all(files: FileSystem, descriptor: int, path: Path, target: memoryview) -> None:
    """Fill `target`; a file that ends before its own size was not read, which proves nothing about its content."""
    if read_exactly(files, descriptor, path, target) != len(target):
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))


def read_file(files: FileSystem, path: Path, from_disk: bool = False) -> bytes:
    """The whole file; `from_disk` does not trust what the cache holds of it."""
    descriptor = files.open(path)
    try:
        if from_disk:
            files.forget(descriptor, path)
        data = bytearray(files.size(descriptor, path))
        read_all(files, descriptor, path, memoryview(data))
        return bytes(data)
    finally:
        files.close(descriptor, path)


def sync_folder(files: FileSystem, path: Path) -> None:
    """Make names in the folder durable: without this a rename may be undone by a power cut."""
    descriptor = files.open(path)
    try:
        files.sync(descriptor, path)
    finally:
        files.close(descriptor, path)


def replace_file(files: FileSystem, path: Path, data: bytes) -> None:
    """The file has its old content or the new one, never a part of it, and is durable when this returns.

    Only the owner of the folder may call this: there is one writer at a time.
    """
    temporary = path.with_name(f".tmp-{path.name}")
    remove_tree(files, temporary)
    write_durably(files, temporary, len(data), [data])
    files.rename(temporary, path)
    sync_folder(files, path.parent)


def replace_unsynced(files: FileSystem, path: Path, data: bytes, writer: int | None = None) -> None:
    """As `replace_file`, for readers of this boot only: after a power cut the file may be empty or missing.

    `writer` tells processes apart where several may write; without it, only the owner of the folder may call this.
    """
    temporary = path.with_name(f".tmp-{path.name}" if writer is None else f".tmp-{path.name}-{writer}")
    remove_tree(files, temporary)
    try:
        descriptor = files.create(temporary)
        try:
            write_fully(files, descriptor, temporary, data)
        finally:
            files.close(descriptor, temporary)
        files.rename(temporary, path)
    except OSError:
        with suppress(OSError):
            remove_tree(files, temporary)  # a full disk has no room for the half of a file
        raise


def remove_tree(files: FileSystem, path: Path) -> None:
    """Remove a file, a link or a whole folder; does nothing when it is missing."""
    try:
        mode = os.lstat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        return
    if not stat.S_ISDIR(mode):
        files.unlink(path)
        return
    for name in files.names(path):
        remove_tree(files, path / name)
    files.remove_folder(path)
