#!/usr/bin/python3
"""What Linux has beyond POSIX, checked on the file system mounted at DIR: where
a file's blocks are, file handles, change counters, I/O that must not wait or
leave nothing in the cache.  Usage: linux.py DIR [NAME...]
"""

import ctypes
import errno
import json
import os
import subprocess
import sys
import time

import sysc
from checks import check, fails, main, read, remount, same, write
from extents import DELALLOC, FIEMAP_SYNC, LAST, UNKNOWN, UNWRITTEN, cached, fiemap

KIB = 1024


def device():
    """The block device of the file system we are in."""
    here = os.stat(".").st_dev
    return os.path.realpath(f"/dev/block/{os.major(here)}:{os.minor(here)}")


# ---- FIEMAP

def ranges(extents):
    """Logical ranges, neighbours joined."""
    found = []
    for logical, _, length, _ in extents:
        if found and found[-1][1] == logical:
            found[-1][1] = logical + length
        else:
            found.append([logical, logical + length])
    return found


@check
def fiemap_exact():
    islands = (0, 1024 * KIB, 1280 * KIB, 3000 * KIB)
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    for n, at in enumerate(islands):
        os.pwrite(fd, bytes([n + 1]) * 64 * KIB, at)
    wanted = [[at, at + 64 * KIB] for at in islands]

    found = fiemap(fd)
    same(ranges(found), wanted, "ranges before writeback")
    for logical, _, _, flags in found:
        same(flags & (DELALLOC | UNKNOWN), DELALLOC | UNKNOWN, f"flags at {logical}")
    same([bool(e[3] & LAST) for e in found], [False] * (len(found) - 1) + [True], "last")

    found = fiemap(fd, FIEMAP_SYNC)
    same(ranges(found), wanted, "ranges after writeback")
    for logical, physical, _, flags in found:
        same(flags & (DELALLOC | UNKNOWN | UNWRITTEN), 0, f"flags at {logical}")
        assert physical > 0 and physical % 4096 == 0, f"physical {physical}"
    same(fiemap(fd, room=0), len(found), "count")
    # a part of it: the first extent that is named, and the one that begins inside
    part = fiemap(fd, start=1100 * KIB, length=200 * KIB)
    same(ranges(part)[-1][0], 1280 * KIB, "extent in the asked range")
    same(fiemap(fd, start=100 * KIB, length=100 * KIB), [], "a hole")

    # and it is true
    remount()
    with open(device(), "rb", buffering=0) as dev:
        for logical, physical, length, _ in found:
            dev.seek(physical)
            same(dev.read(length), os.pread(fd, length, logical), f"content at {logical}")

    os.ftruncate(fd, 1300 * KIB)
    same(ranges(fiemap(fd, FIEMAP_SYNC)),
         [[0, 64 * KIB], [1024 * KIB, 1088 * KIB], [1280 * KIB, 1300 * KIB]], "after truncate")
    os.ftruncate(fd, 0)
    same(fiemap(fd, FIEMAP_SYNC), [], "empty file")
    os.close(fd)


@check
def fiemap_two_files():
    """No block is in two files."""
    seen = []
    for n in range(20):
        fd = os.open(f"f{n}", os.O_CREAT | os.O_RDWR)
        os.write(fd, bytes([n]) * (n * 5000 + 1))
        seen += [(e[1], e[1] + e[2]) for e in fiemap(fd, FIEMAP_SYNC)]
        os.close(fd)
    seen.sort()
    for (_, end), (start, _) in zip(seen, seen[1:]):
        assert end <= start, f"blocks {start}..{end} twice"


# ---- file handles

class Handle(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_uint), ("type", ctypes.c_int), ("data", ctypes.c_ubyte * 128)]


def to_handle(path, flags=0):
    handle, mount = Handle(bytes=128), ctypes.c_int()
    sysc.check(sysc.libc.name_to_handle_at(sysc.AT_FDCWD, os.fsencode(path),
                                           ctypes.byref(handle), ctypes.byref(mount), flags),
               f"name_to_handle_at {path}")
    return handle


def by_handle(handle, flags=os.O_RDONLY):
    fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY)
    try:
        return sysc.check(sysc.libc.open_by_handle_at(fd, ctypes.byref(handle), flags),
                          "open_by_handle_at")
    finally:
        os.close(fd)


def content(handle):
    fd = by_handle(handle)
    try:
        return os.read(fd, 100)
    finally:
        os.close(fd)


@check
def handles():
    write("f", b"by handle")
    os.makedirs("d/e")
    file, deep = to_handle("f"), to_handle("d/e")
    same(content(file), b"by handle")
    os.rename("f", "d/g")
    remount()       # the server was started again
    same(content(file), b"by handle", "after rename and drop_caches")
    write("d/e/inside")
    fd = by_handle(deep, os.O_RDONLY | os.O_DIRECTORY)
    same(os.listdir(fd), ["inside"])
    # the way from a directory to the root is found without its name
    same(os.readlink(f"/proc/self/fd/{fd}"), os.getcwd() + "/d/e")
    os.close(fd)
    same(to_handle("d/g").data[:], file.data[:], "handle after rename")


@check
def handles_of_open_files_without_a_name():
    write("f", b"still here")
    handle = to_handle("f")
    with open("f", "rb"):
        os.unlink("f")
        same(content(handle), b"still here")
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
            f.write("3")
        same(content(handle), b"still here", "after drop_caches")
    fails(errno.ESTALE, by_handle, handle)


@check
def handles_go_stale():
    write("f", b"x")
    handle = to_handle("f")
    os.unlink("f")
    fails(errno.ESTALE, by_handle, handle)
    os.sync()
    remount()
    fails(errno.ESTALE, by_handle, handle)
    for at in (0, 4):       # number and generation that never were
        wrong = Handle.from_buffer_copy(to_handle("."))
        wrong.data[at + 3] ^= 0x55
        fails(errno.ESTALE, by_handle, wrong)


@check
def handles_of_numbers_used_again():
    old = {}
    for n in range(64):
        write(f"old{n}", b"old")
        old[os.stat(f"old{n}").st_ino] = to_handle(f"old{n}")
    for n in range(64):
        os.unlink(f"old{n}")
    os.sync()       # deleted inodes give their numbers back
    again = 0
    for n in range(256):
        write(f"new{n}", b"new")
        handle = old.get(os.stat(f"new{n}").st_ino)
        if handle:
            again += 1
            fails(errno.ESTALE, by_handle, handle)
            same(content(to_handle(f"new{n}")), b"new")
    assert again > 0, "no number was used again: nothing tested"


# ---- change counter

def on_disk_version(path):
    """The counter as the inspector reads it from the device, where it is in its
    place once the file system is read-only."""
    ino, dev, top = os.stat(path).st_ino, device(), os.path.dirname(os.getcwd())
    subprocess.run(["mount", "-o", "remount,ro", top], check=True)
    try:
        remount()
        out = subprocess.run(["latchfs", "inode", "--json", dev, str(ino)], check=True,
                             capture_output=True, text=True).stdout
    finally:
        subprocess.run(["mount", "-o", "remount,rw", top], check=True)
    return json.loads(out)["version"]


@check
def version_counts_changes():
    """The counter that NFS compares (STATX_CHANGE_COOKIE is not for user space)."""
    if not sysc.on_latchfs("."):
        return
    write("f", b"x")
    version = on_disk_version("f")
    steps = (("chmod", lambda: os.chmod("f", 0o600)),
             ("append", lambda: write("f", b"longer")),
             ("truncate", lambda: os.truncate("f", 1)),
             ("link", lambda: os.link("f", "g")))
    for what, change in steps:
        change()
        new = on_disk_version("f")
        assert new > version, f"{what}: version {version}, then {new}"
        version = new
    read("f")
    same(on_disk_version("f"), version, "version after a read")


# ---- reads and writes that must not wait

RWF_NOWAIT = 0x8
RWF_DONTCACHE = 0x80


@check
def nowait_reads():
    write("f", b"n" * 64 * KIB)
    remount()
    fd = os.open("f", os.O_RDONLY)
    # readahead is begun all the same, and may end before anybody looks
    buf = bytearray(4096)
    try:
        same(os.preadv(fd, [buf], 32 * KIB, RWF_NOWAIT), 4096, "not cached")
        same(bytes(buf), b"n" * 4096, "not cached")
    except OSError as e:
        same(e.errno, errno.EAGAIN, "not cached")
    same(len(os.pread(fd, 4096, 32 * KIB)), 4096)
    same(os.preadv(fd, [buf], 32 * KIB, RWF_NOWAIT), 4096)
    same(bytes(buf), b"n" * 4096)
    same(os.preadv(fd, [buf], 64 * KIB, RWF_NOWAIT), 0, "at the end of the file")
    os.close(fd)


@check
def nowait_writes():
    write("f", b"o" * 64 * KIB)
    fd = os.open("f", os.O_RDWR)
    os.fsync(fd)
    os.pread(fd, 64 * KIB, 0)
    try:
        same(os.pwritev(fd, [b"w" * 4096], 8192, RWF_NOWAIT), 4096, "over cached blocks")
    except OSError as e:
        if e.errno == errno.EOPNOTSUPP and not sysc.on_latchfs("."):
            return
        raise
    same(os.pread(fd, 4096, 8192), b"w" * 4096)
    # what lies between would have to be made zero
    fails(errno.EAGAIN, os.pwritev, fd, [b"w" * 4096], 1 << 20, RWF_NOWAIT)
    same(os.fstat(fd).st_size, 64 * KIB)
    os.close(fd)
    remount()
    same(read("f"), b"o" * 8192 + b"w" * 4096 + b"o" * (64 * KIB - 12_288))


@check
def uncached_io():
    size = 256 * KIB
    write("f", b"u" * size)
    remount()
    fd = os.open("f", os.O_RDWR)
    same(cached(fd, 0, size), 0, "pages after drop_caches")
    buf = bytearray(size)
    same(os.preadv(fd, [buf], 0, RWF_DONTCACHE), size)
    same(bytes(buf), b"u" * size)
    same(cached(fd, 0, size), 0, "pages after an uncached read")
    os.pread(fd, size, 0)
    same(cached(fd, 0, size), size // 4096, "pages after a read")

    same(os.pwritev(fd, [b"v" * size], size, RWF_DONTCACHE), size)
    os.fsync(fd)
    # they go when their writeback has ended, by a worker
    end = time.monotonic() + 30
    while cached(fd, size, size) and time.monotonic() < end:
        os.sched_yield()
    same(cached(fd, size, size), 0, "pages after an uncached write")
    same(os.pread(fd, size, size), b"v" * size)
    os.close(fd)


if __name__ == "__main__":
    sys.exit(main("linux"))
