"""Where the blocks of a file are, and what of it is in the page cache."""

import ctypes
import fcntl
import mmap
import struct

import sysc

FIEMAP_SYNC = 1
LAST, UNKNOWN, DELALLOC, UNWRITTEN = 0x1, 0x2, 0x4, 0x800
HEAD = struct.Struct("=QQIIII")
EXTENT = struct.Struct("=QQQQQIIII")


def fiemap(fd, flags=0, start=0, length=2**64 - 1, room=64):
    """[(logical, physical, length, flags)]"""
    buf = bytearray(HEAD.size + room * EXTENT.size)
    HEAD.pack_into(buf, 0, start, length, flags, 0, room, 0)
    fcntl.ioctl(fd, sysc.FS_IOC_FIEMAP, buf)
    mapped = HEAD.unpack_from(buf)[3]
    if room == 0:
        return mapped
    extents = (EXTENT.unpack_from(buf, HEAD.size + i * EXTENT.size) for i in range(mapped))
    return [(e[0], e[1], e[2], e[5]) for e in extents]


def cached(fd, at, length):
    """Pages of a range that are in the page cache (a look that reads nothing)."""
    libc = sysc.libc
    libc.mmap.restype = ctypes.c_void_p
    start = libc.mmap(None, ctypes.c_size_t(length), mmap.PROT_READ, mmap.MAP_SHARED, fd,
                      ctypes.c_long(at))
    assert start != ctypes.c_void_p(-1).value, "mmap"
    pages = ctypes.create_string_buffer(length // 4096)
    where = (ctypes.c_void_p(start), ctypes.c_size_t(length))
    sysc.check(libc.mincore(*where, pages), "mincore")
    sysc.check(libc.munmap(*where), "munmap")
    return sum(page & 1 for page in pages.raw)
