"""What the processor says of itself to this process, which under qemu is not what /proc/cpuinfo says.

The instruction `cpuid` is the source of numpy, torch, MKL, oneDNN and OpenBLAS too.
"""

from __future__ import annotations

import ctypes
import mmap
import struct
from dataclasses import dataclass

CODE = bytes.fromhex(
    "53"  # push rbx
    "4889d1"  # mov rcx, rdx: the subleaf comes third
    "4889f0"  # mov rax, rsi: the leaf comes second
    "0fa2"  # cpuid
    "8907"  # mov [rdi], eax
    "895f04"  # mov [rdi+4], ebx
    "894f08"  # mov [rdi+8], ecx
    "89570c"  # mov [rdi+12], edx
    "5bc3"  # pop rbx; ret
)
"""System V: rdi is where the four registers go."""
CACHE_LEAVES = {b"GenuineIntel": 4, b"AuthenticAMD": 0x8000001D}


@dataclass(frozen=True)
class Seen:
    """The processor that a process runs on, as it sees it."""

    vendor: str
    isa: str
    """The widest vectors: `AVX-512`, `AVX2` or `SSE`."""
    caches: str
    """KiB of the data caches, the first level first."""


def cpuid(leaf: int, subleaf: int = 0) -> tuple[int, int, int, int]:
    """Registers eax, ebx, ecx and edx after the instruction."""
    registers = (ctypes.c_uint32 * 4)()
    with mmap.mmap(-1, len(CODE), prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC) as page:
        page.write(CODE)
        buffer = (ctypes.c_char * len(CODE)).from_buffer(page)
        call = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_uint64, ctypes.c_uint64)(ctypes.addressof(buffer))
        call(ctypes.addressof(registers), leaf, subleaf)
        del buffer
    eax, ebx, ecx, edx = registers
    return eax, ebx, ecx, edx


def read_processor() -> Seen:
    """Vendor, widest vectors and caches."""
    _, b, c, d = cpuid(0)
    vendor = struct.pack("<III", b, d, c)
    return Seen(vendor.decode(), _widest_vectors(), "/".join(map(str, _caches(vendor))))


def _widest_vectors() -> str:
    features = cpuid(7)[1]
    if features >> 16 & 1:
        return "AVX-512"
    return "AVX2" if features >> 5 & 1 else "SSE"


def _caches(vendor: bytes) -> list[int]:
    """KiB of each level that holds data."""
    sizes = []
    leaf = CACHE_LEAVES.get(vendor, 4)
    for level in range(8):
        kind, b, c, _ = cpuid(leaf, level)
        if kind & 31 == 0:
            break
        if kind & 31 != 2:  # an instruction cache
            sizes.append(((b >> 22) + 1) * ((b >> 12 & 1023) + 1) * ((b & 4095) + 1) * (c + 1) // 1024)
    return sizes
