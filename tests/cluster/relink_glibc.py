"""`python3 relink_glibc.py FILE…`: let x86-64 ELF files that were linked with glibc 2.38 load with glibc 2.36.

Two symbols only keep Debian sid's Apptainer from bookworm: `__isoc23_strtol` and `__isoc23_strtoul` of GLIBC_2.38,
which differ from `strtol` and `strtoul` in that they also read a 0b prefix. For each of them the name moves nine bytes
on, so that it reads `strtol`, and the needed version GLIBC_2.38 becomes a second entry of GLIBC_2.2.5. Any other symbol
that is newer than glibc 2.36 is refused.
"""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

NEWEST = (2, 36)
PREFIX = "__isoc23_"
OLDEST = "GLIBC_2.2.5"


class Elf:
    """The bytes of a file and where its sections are: name → (offset, size)."""

    def __init__(self, data: bytearray) -> None:
        self.data = data
        (table,) = self.unpack("Q", 0x28)
        size, count, names = self.unpack("HHH", 0x3A)
        headers = [self.unpack("IIQQQQ", table + number * size) for number in range(count)]
        self.sections = {self.text(headers[names][4] + header[0]): (header[4], header[5]) for header in headers}

    def unpack(self, layout: str, offset: int) -> tuple[int, ...]:
        return struct.unpack_from("<" + layout, self.data, offset)

    def text(self, offset: int) -> str:
        return self.data[offset : self.data.index(0, offset)].decode()

    def name(self, offset: int) -> str:
        """A name of the dynamic string table."""
        return self.text(self.sections[".dynstr"][0] + offset)

    def needed_versions(self) -> Iterator[tuple[str, int, int]]:
        """(version, its index, offset of its entry) of everything in .gnu.version_r."""
        library = self.sections[".gnu.version_r"][0]
        while True:
            _, count, _, entry, following = self.unpack("HHIII", library)
            entry += library
            for _ in range(count):
                _, _, index, name, after = self.unpack("IHHII", entry)
                yield self.name(name), index, entry
                entry += after
            if not following:
                return
            library += following

    def symbols(self) -> Iterator[tuple[int, int, str]]:
        """(offset, index of the needed version, name) of every dynamic symbol."""
        start, size = self.sections[".dynsym"]
        versions = self.sections[".gnu.version"][0]
        for number in range(size // 24):
            (version,) = self.unpack("H", versions + 2 * number)
            offset = start + 24 * number
            yield offset, version & 0x7FFF, self.name(self.unpack("I", offset)[0])


def relink(elf: Elf) -> int:
    """Change the symbols in place and return how many there were. Raises ValueError for one that has no older twin."""
    entries = {index: (version, offset) for version, index, offset in elf.needed_versions()}
    new = {index for index, (version, _) in entries.items() if _number(version) > NEWEST}
    found = [symbol for symbol in elf.symbols() if symbol[1] in new]
    for offset, index, name in found:
        if not name.startswith(PREFIX):
            raise ValueError(f"it needs {name} of {entries[index][0]}, which glibc {'.'.join(map(str, NEWEST))} lacks")
        (start,) = elf.unpack("I", offset)
        struct.pack_into("<I", elf.data, offset, start + len(PREFIX))
    old = next(offset for version, offset in entries.values() if version == OLDEST)
    for offset in (entries[index][1] for index in new):
        elf.data[offset : offset + 4] = elf.data[old : old + 4]
        elf.data[offset + 8 : offset + 12] = elf.data[old + 8 : old + 12]
    return len(found)


def _number(version: str) -> tuple[int, ...]:
    match = re.fullmatch(r"GLIBC_(\d+(?:\.\d+)*)", version)
    return tuple(map(int, match[1].split("."))) if match else (0,)


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        elf = Elf(bytearray(path.read_bytes()))
        try:
            count = relink(elf)
        except ValueError as error:
            sys.exit(f"error: {path}: {error}. Next: install Apptainer in another way (apptainer.org).")
        path.write_bytes(elf.data)
        print(f"{path}: {count} symbols relinked")


if __name__ == "__main__":
    main()
