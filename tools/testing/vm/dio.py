#!/usr/bin/python3
"""Direct I/O on the file system mounted at DIR: what goes where, beside the page
cache, to the last sector, from any buffer, at once or later.
Usage: dio.py DIR [NAME...]
"""

import ctypes
import errno
import mmap
import os
import random
import struct
import sys
import threading
import time

import sysc
from checks import check, fails, main, read, remount, same, write
from extents import DELALLOC, cached, fiemap

KIB = 1024
BLOCK = 4096
SECTOR = 512
RWF_NOWAIT = 0x8
RWF_DSYNC = 0x2


def buffer(content):
    """Memory at a page boundary, with that content."""
    mem = mmap.mmap(-1, max(len(content), 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    mem[:len(content)] = content
    return mem


def dwrite(fd, content, at, flags=0):
    with buffer(content) as mem, memoryview(mem) as view:
        return os.pwritev(fd, [view[:len(content)]], at, flags)


def dread(fd, length, at, flags=0):
    with mmap.mmap(-1, length) as mem:
        n = os.preadv(fd, [mem], at, flags)
        return bytes(mem[:n])


def direct(path, flags=0):
    return os.open(path, os.O_CREAT | os.O_RDWR | os.O_DIRECT | flags, 0o644)


def pattern(n, length):
    return bytes([n]) * length


def stale_space(size, name="doomed"):
    """Free blocks that have 0xee in them: whoever shows one shows what it must not."""
    write(name, b"\xee" * size)
    os.sync()
    os.unlink(name)
    os.sync()


# ---- what is written where

@check
def whole_blocks():
    fd = direct("f")
    os.ftruncate(fd, 1024 * KIB)
    same(dwrite(fd, pattern(1, 64 * KIB), 128 * KIB), 64 * KIB)
    same(cached(fd, 0, 1024 * KIB), 0, "pages in the page cache")
    same(os.fstat(fd).st_blocks, 128, "sectors of the file")
    same([e[:1] + e[2:3] for e in fiemap(fd)], [(128 * KIB, 64 * KIB)], "extents")
    same(dread(fd, 192 * KIB, 64 * KIB),
         bytes(64 * KIB) + pattern(1, 64 * KIB) + bytes(64 * KIB))
    # over what is there, a hole, and what is there
    same(dwrite(fd, pattern(2, 8 * KIB), 256 * KIB), 8 * KIB)
    same(dwrite(fd, pattern(3, 128 * KIB), 160 * KIB), 128 * KIB)
    same(os.fstat(fd).st_size, 1024 * KIB)
    os.close(fd)
    remount()
    same(read("f"), bytes(128 * KIB) + pattern(1, 32 * KIB) + pattern(3, 128 * KIB)
         + bytes(736 * KIB))


@check
def sectors():
    stale_space(4096 * KIB)
    fd = direct("f")
    model = bytearray()
    rng = random.Random(5)
    for n in range(120):
        at = rng.randrange(256) * SECTOR
        content = pattern(1 + n % 250, rng.randrange(1, 40) * SECTOR)
        same(dwrite(fd, content, at), len(content))
        model.extend(bytes(max(0, at + len(content) - len(model))))
        model[at:at + len(content)] = content
        same(os.fstat(fd).st_size, len(model), f"size after write {n}")
    same(dread(fd, 256 * KIB, 0), bytes(model))
    same(read("f"), bytes(model))
    for length, at in ((511, 0), (512, 100), (4096, 256)):
        fails(errno.EINVAL, dwrite, fd, pattern(9, length), at)
    same(dwrite(fd, b"", 77), 0)
    os.close(fd)
    remount()
    same(read("f"), bytes(model))


@check
def appends():
    stale_space(4096 * KIB)
    fd = direct("f", os.O_APPEND)
    same(os.write(fd, buffer(pattern(1, BLOCK))), BLOCK)
    same(os.write(fd, buffer(pattern(2, SECTOR))), SECTOR)
    same(os.write(fd, buffer(pattern(3, 3 * BLOCK))), 3 * BLOCK)
    os.close(fd)
    # behind the end: what lies between is zero, on the device as well
    fd = direct("f")
    same(dwrite(fd, pattern(4, SECTOR), 64 * KIB + SECTOR), SECTOR)
    want = (pattern(1, BLOCK) + pattern(2, SECTOR) + pattern(3, 3 * BLOCK)).ljust(
        64 * KIB + SECTOR, b"\0") + pattern(4, SECTOR)
    same(os.fstat(fd).st_size, len(want))
    same(read("f"), want)
    # the last block is shown when the file grows over it
    os.ftruncate(fd, 80 * KIB)
    remount()
    same(read("f"), want.ljust(80 * KIB, b"\0"))
    os.close(fd)
    # an end inside of a sector
    write("g", b"x" * 700)
    fd = direct("g")
    same(dwrite(fd, pattern(5, BLOCK), BLOCK), BLOCK)
    os.close(fd)
    remount()
    same(read("g"), b"x" * 700 + bytes(BLOCK - 700) + pattern(5, BLOCK))


@check
def behind_the_end_without_space():
    """The page cache is asked next, and has none either: the file is not larger by the hole."""
    fd = direct("f")
    hoard = os.open("hoard", os.O_CREAT | os.O_RDWR, 0o644)
    at, step = 0, 1 << 30
    while step >= BLOCK:
        try:
            os.posix_fallocate(hoard, at, step)
            at += step
        except OSError as e:
            same(e.errno, errno.ENOSPC)
            step //= 2
    size = 0
    try:
        while True:
            at = size + 64 * KIB
            size = at + dwrite(fd, pattern(1, 4 * BLOCK), at)
    except OSError as e:
        same(e.errno, errno.ENOSPC)
    same(os.fstat(fd).st_size, size, "size")
    os.close(fd)
    os.close(hoard)
    os.unlink("hoard")
    os.unlink("f")
    os.sync()


@check
def beside_the_page_cache():
    """Each way sees what the others wrote before."""
    fd, plain = direct("f"), os.open("f", os.O_RDWR)
    os.ftruncate(fd, 64 * KIB)
    with mmap.mmap(plain, 64 * KIB) as m:
        os.pwrite(plain, pattern(1, 64 * KIB), 0)
        m[100] = 7
        same(dread(fd, BLOCK, 0), pattern(1, 100) + b"\x07" + pattern(1, BLOCK - 101))
        dwrite(fd, pattern(2, 16 * KIB), 8 * KIB)
        same(m[8 * KIB:24 * KIB], pattern(2, 16 * KIB), "through the mapping")
        same(os.pread(plain, 16 * KIB, 8 * KIB), pattern(2, 16 * KIB), "through read")
        m[8 * KIB] = 9
        os.pwrite(plain, b"\x08", 24 * KIB - 1)
        same(dread(fd, 16 * KIB, 8 * KIB), b"\x09" + pattern(2, 16 * KIB - 2) + b"\x08")
        dwrite(fd, pattern(3, SECTOR), 8 * KIB + SECTOR)
        same(m[8 * KIB:9 * KIB], b"\x09" + pattern(2, SECTOR - 1) + pattern(3, SECTOR))
    os.close(fd)
    os.close(plain)
    remount()
    same(read("f")[8 * KIB:9 * KIB], b"\x09" + pattern(2, SECTOR - 1) + pattern(3, SECTOR))


@check
def buffers_of_the_same_file():
    """The memory is a mapping of the file that is written or read (generic/647, 708, 729)."""
    fd = direct("f")
    dwrite(fd, b"".join(pattern(n + 1, 16 * KIB) for n in range(8)), 0)
    with mmap.mmap(fd, 128 * KIB) as m, memoryview(m) as view:
        # from another place, in a hole, and from the place itself
        same(os.pwritev(fd, [view[:32 * KIB]], 64 * KIB), 32 * KIB)
        same(dread(fd, 32 * KIB, 64 * KIB), pattern(1, 16 * KIB) + pattern(2, 16 * KIB))
        same(os.pwritev(fd, [view[:32 * KIB]], 256 * KIB), 32 * KIB)
        same(dread(fd, 32 * KIB, 256 * KIB), pattern(1, 16 * KIB) + pattern(2, 16 * KIB))
        same(os.pwritev(fd, [view[16 * KIB:48 * KIB]], 16 * KIB), 32 * KIB)
        same(dread(fd, 32 * KIB, 16 * KIB), pattern(2, 16 * KIB) + pattern(3, 16 * KIB))
        same(os.pwritev(fd, [view[16 * KIB:48 * KIB]], 24 * KIB), 32 * KIB)
        same(os.preadv(fd, [view[:32 * KIB]], 96 * KIB), 32 * KIB)
        same(m[:32 * KIB], pattern(7, 16 * KIB) + pattern(8, 16 * KIB))
        # what is read comes from under the buffer itself, and from a hole
        same(os.preadv(fd, [view[48 * KIB:80 * KIB]], 48 * KIB), 32 * KIB)
        same(os.preadv(fd, [view[:32 * KIB]], 192 * KIB), 32 * KIB)
        same(m[:32 * KIB], bytes(32 * KIB))
    os.close(fd)


@check
def buffers_that_end():
    """Memory that cannot be read or written: what was before it is transferred."""
    fd = direct("f")
    dwrite(fd, pattern(1, 64 * KIB), 0)
    prot = sysc.libc.mprotect
    mem = buffer(pattern(2, 64 * KIB))
    start = ctypes.addressof(ctypes.c_char.from_buffer(mem))
    sysc.check(prot(ctypes.c_void_p(start + 16 * KIB), ctypes.c_size_t(48 * KIB), 0), "mprotect")
    view = memoryview(mem)
    for at in (0, 1024 * KIB):
        try:
            n = os.pwritev(fd, [view], at)
        except OSError as e:
            same(e.errno, errno.EFAULT)
            n = 0
        assert n <= 16 * KIB, f"{n} bytes of 16 KiB"
        same(dread(fd, 16 * KIB, at)[:n], pattern(2, n))
        rest = dread(fd, 64 * KIB, at)[16 * KIB:]
        assert not set(rest) - {0, 1}, "bytes from nowhere"
        try:
            n = os.preadv(fd, [view], at)
        except OSError as e:
            same(e.errno, errno.EFAULT)
            n = 0
        assert n <= 16 * KIB, f"{n} bytes into 16 KiB"
    sysc.check(prot(ctypes.c_void_p(start), ctypes.c_size_t(64 * KIB), 3), "mprotect")
    fails(errno.EFAULT, pwrite_at, fd, 0, BLOCK, 0)
    os.close(fd)


def pwrite_at(fd, address, length, at):
    sysc.check(sysc.libc.pwrite(fd, ctypes.c_void_p(address), ctypes.c_size_t(length),
                                ctypes.c_long(at)), "pwrite")


@check
def untouched_buffers():
    """Memory that no page is behind yet, as malloc(3) gives it."""
    fd = direct("f")
    dwrite(fd, pattern(1, 256 * KIB), 0)
    with mmap.mmap(-1, 256 * KIB) as fresh:
        same(os.preadv(fd, [fresh], 0), 256 * KIB)
        same(fresh[:], pattern(1, 256 * KIB))
    with mmap.mmap(-1, 256 * KIB) as fresh:
        same(os.pwritev(fd, [fresh], 512 * KIB), 256 * KIB)
        same(dread(fd, 256 * KIB, 512 * KIB), bytes(256 * KIB))
    os.close(fd)


# ---- not waiting, and waiting for the device

@check
def nowait():
    fd = direct("f")
    os.ftruncate(fd, 256 * KIB)
    hole = (fd, pattern(1, BLOCK), 0, RWF_NOWAIT)
    fails(errno.EAGAIN, dwrite, *hole)
    same(os.fstat(fd).st_blocks, 0, "sectors after EAGAIN")
    dwrite(fd, pattern(1, 64 * KIB), 0)
    same(dwrite(fd, pattern(2, 8 * KIB), 4 * KIB, RWF_NOWAIT), 8 * KIB, "over blocks")
    same(dread(fd, 16 * KIB, 0, RWF_NOWAIT),
         pattern(1, BLOCK) + pattern(2, 8 * KIB) + pattern(1, BLOCK))
    fails(errno.EAGAIN, dwrite, fd, pattern(3, 8 * KIB), 60 * KIB, RWF_NOWAIT)
    fails(errno.EAGAIN, dwrite, fd, pattern(3, BLOCK), 256 * KIB, RWF_NOWAIT)
    same(os.fstat(fd).st_size, 256 * KIB)
    same(dread(fd, 8 * KIB, 60 * KIB), pattern(1, BLOCK) + bytes(BLOCK))
    os.posix_fallocate(fd, 128 * KIB, 64 * KIB)
    same(dwrite(fd, pattern(4, 8 * KIB), 132 * KIB, RWF_NOWAIT), 8 * KIB, "over unwritten blocks")
    fails(errno.EAGAIN, dwrite, fd, pattern(5, 8 * KIB), 188 * KIB, RWF_NOWAIT)
    same(dread(fd, 16 * KIB, 128 * KIB), bytes(BLOCK) + pattern(4, 8 * KIB) + bytes(BLOCK))
    os.close(fd)
    # the map is not in memory
    remount()
    fd = direct("f")
    try:
        same(dread(fd, BLOCK, 0, RWF_NOWAIT), pattern(1, BLOCK))
    except OSError as e:
        same(e.errno, errno.EAGAIN)
    same(dread(fd, BLOCK, 0), pattern(1, BLOCK))
    same(dread(fd, BLOCK, 0, RWF_NOWAIT), pattern(1, BLOCK))
    os.close(fd)


@check
def synchronous():
    for flag in (os.O_DSYNC, os.O_SYNC):
        fd = direct("f", flag)
        for n in range(8):
            same(dwrite(fd, pattern(n + 1, BLOCK), n * BLOCK), BLOCK)
            same(dwrite(fd, pattern(n + 2, BLOCK), n * BLOCK), BLOCK)
            same(dwrite(fd, pattern(n + 3, SECTOR), 64 * KIB + n * 5 * SECTOR), SECTOR)
        os.close(fd)
        os.unlink("f")
    fd = direct("g")
    os.ftruncate(fd, 64 * KIB)
    same(dwrite(fd, pattern(1, BLOCK), 0, RWF_DSYNC), BLOCK)
    os.fdatasync(fd)
    dwrite(fd, pattern(2, BLOCK), 0)
    os.fsync(fd)
    os.close(fd)


@check
def fsync_beside_writes():
    """One file, writers and fsync at the same time (generic/364): nobody waits for ever."""
    stale_space(8192 * KIB)
    fd = direct("f")
    os.ftruncate(fd, 4096 * KIB)
    stop = threading.Event()
    errors = []

    def guarded(job, n):
        try:
            while not stop.is_set():
                job(n)
        except (OSError, AssertionError) as e:
            errors.append(e)
            stop.set()

    rngs = [random.Random(n) for n in range(6)]

    def writer(n):
        at = (rngs[n].randrange(256) * 4 + n) * BLOCK
        same(dwrite(fd, pattern(n + 1, BLOCK), at), BLOCK)

    def syncer(n):
        (os.fsync if n % 2 else os.fdatasync)(fd)

    def reader(n):
        got = dread(fd, 64 * KIB, rngs[n].randrange(63) * 64 * KIB)
        assert not set(got) - {0, 1, 2, 3}, f"bytes from nowhere: {set(got)}"

    jobs = [(writer, 0), (writer, 1), (writer, 2), (syncer, 3), (syncer, 4), (reader, 5)]
    threads = [threading.Thread(target=guarded, args=job) for job in jobs]
    for t in threads:
        t.start()
    stop.wait(5)
    stop.set()
    for t in threads:
        t.join(120)
        assert not t.is_alive(), "a thread hangs"
    same(errors, [])
    os.fsync(fd)
    os.close(fd)
    remount()
    got = read("f")
    for n in range(1024):
        same(set(got[n * BLOCK:(n + 1) * BLOCK]) - {0, n % 4 + 1}, set(), f"block {n}")


# ---- asynchronous

NR_IO_SETUP, NR_IO_DESTROY, NR_IO_GETEVENTS, NR_IO_SUBMIT = 206, 207, 208, 209
IOCB = struct.Struct("<QIiHhIQQqQII")
EVENT = struct.Struct("<QQqq")


class Aio:
    """io_submit(2) and its events."""

    def __init__(self, depth):
        self.ctx = ctypes.c_ulong()
        self.keep = {}
        sysc.check(sysc.libc.syscall(NR_IO_SETUP, depth, ctypes.byref(self.ctx)), "io_setup")

    def submit(self, fd, mem, at, tag, opcode=1):
        """opcode: 0 reads, 1 writes"""
        address = ctypes.addressof(ctypes.c_char.from_buffer(mem))
        iocb = ctypes.create_string_buffer(
            IOCB.pack(tag, 0, 0, opcode, 0, fd, address, len(mem), at, 0, 0, 0))
        self.keep[tag] = (mem, iocb)
        array = (ctypes.c_void_p * 1)(ctypes.addressof(iocb))
        same(sysc.check(sysc.libc.syscall(NR_IO_SUBMIT, self.ctx, ctypes.c_long(1), array),
                        "io_submit"), 1)

    def wait(self, least):
        """[(tag, result)], at least that many"""
        room = 64
        buf = ctypes.create_string_buffer(room * EVENT.size)
        n = sysc.check(sysc.libc.syscall(NR_IO_GETEVENTS, self.ctx, ctypes.c_long(least),
                                         ctypes.c_long(room), buf, None), "io_getevents")
        events = (EVENT.unpack_from(buf, i * EVENT.size) for i in range(n))
        return [(e[0], e[2]) for e in events]

    def close(self):
        sysc.check(sysc.libc.syscall(NR_IO_DESTROY, self.ctx), "io_destroy")


@check
def aio():
    """Many writes in flight to holes, extents and the end of the file; a reader beside them."""
    stale_space(16 * 1024 * KIB)
    fd = direct("f")
    size = 2048 * KIB
    os.ftruncate(fd, size)
    aio = Aio(64)
    rng = random.Random(11)
    blocks = list(range(size // (2 * BLOCK)))
    rng.shuffle(blocks)
    sizes, flying = {}, 0
    for n, at in enumerate(blocks):
        sizes[n] = 2 * BLOCK
        aio.submit(fd, buffer(pattern(at % 200 + 1, 2 * BLOCK)), at * 2 * BLOCK, n)
        flying += 1
        if n % 8 == 0:
            got = dread(fd, 16 * KIB, rng.randrange(size // (16 * KIB)) * 16 * KIB)
            assert 0xee not in got, "what the device had before"
        while flying > 32:
            for tag, result in aio.wait(1):
                same(result, sizes[tag], f"write {tag}")
                flying -= 1
    # one behind the end, and parts of blocks
    for n, (at, length) in enumerate(((size, BLOCK), (size + BLOCK + SECTOR, SECTOR),
                                      (SECTOR, SECTOR)), 10_000):
        sizes[n] = length
        aio.submit(fd, buffer(pattern(251, length)), at, n)
        flying += 1
    os.fsync(fd)
    while flying:
        for tag, result in aio.wait(1):
            same(result, sizes[tag], f"write {tag}")
            flying -= 1
    want = bytearray(b"".join(pattern(n % 200 + 1, 2 * BLOCK) for n in range(len(blocks))))
    want[SECTOR:2 * SECTOR] = pattern(251, SECTOR)
    want += pattern(251, BLOCK) + bytes(SECTOR) + pattern(251, SECTOR)
    same(read("f"), bytes(want))
    # truncation waits for what is in flight
    for n in range(16):
        aio.submit(fd, buffer(pattern(252, 16 * KIB)), n * 64 * KIB, n)
    os.ftruncate(fd, 100 * KIB)
    left = 16
    while left:
        events = aio.wait(1)
        same({result for _, result in events}, {16 * KIB})
        left -= len(events)
    same(os.fstat(fd).st_size, 100 * KIB)
    same(dread(fd, 16 * KIB, 64 * KIB), pattern(252, 16 * KIB))
    aio.close()
    os.close(fd)


# ---- everything in random order

@check
def exerciser():
    """fsx with direct I/O: against a copy in memory."""
    stale_space(4096 * KIB)
    most = 512 * KIB
    rng = random.Random(int(os.environ.get("SEED") or 3))
    fd, plain = direct("f"), os.open("f", os.O_RDWR)
    model = bytearray()

    def place(unit):
        at = rng.randrange(most // unit) * unit
        return at, min(rng.randrange(1, 64 * KIB // unit) * unit, most - at)

    def put(at, content):
        model.extend(bytes(max(0, at + len(content) - len(model))))
        model[at:at + len(content)] = content

    for n in range(800):
        op = rng.randrange(12)
        content = bytes([1 + n % 250])
        if op < 4:
            at, length = place(rng.choice((SECTOR, BLOCK)))
            if length:
                same(dwrite(fd, content * length, at), length, f"op {n}: direct write")
                put(at, content * length)
        elif op < 6:
            at, length = place(1)
            if length:
                same(os.pwrite(plain, content * length, at), length, f"op {n}: write")
                put(at, content * length)
        elif op < 8:
            at, length = place(SECTOR)
            if length:
                same(dread(fd, length, at), bytes(model[at:at + length]), f"op {n}: direct read")
        elif op == 8:
            at, length = place(1)
            same(os.pread(plain, length, at), bytes(model[at:at + length]), f"op {n}: read")
        elif op == 9 and model:
            with mmap.mmap(plain, len(model)) as m:
                at = rng.randrange(len(model))
                length = min(rng.randrange(1, 8 * KIB), len(model) - at)
                same(m[at:at + length], bytes(model[at:at + length]), f"op {n}: mapping")
                m[at:at + length] = content * length
                put(at, content * length)
        elif op == 10:
            size = rng.choice((rng.randrange(most), len(model) // 2, 0))
            os.ftruncate(plain, size)
            del model[size:]
            model.extend(bytes(size - len(model)))
        else:
            rng.choice((os.fsync, os.fdatasync))(fd)
        same(os.fstat(fd).st_size, len(model), f"op {n}: size")
    same(read("f"), bytes(model), "content at the end")
    os.close(fd)
    os.close(plain)
    remount()
    same(read("f"), bytes(model), "content after drop_caches")


# ---- files that take the place of others

def delayed(path):
    fd = os.open(path, os.O_RDONLY)
    found = any(e[3] & DELALLOC for e in fiemap(fd))
    os.close(fd)
    return found


@check
def replaced_by_rename():
    write("old", b"o" * 100_000)
    os.sync()
    write("new", b"n" * 300_000)
    os.rename("new", "old")
    assert not delayed("old"), "its data has no blocks yet"
    same(read("old"), b"n" * 300_000)
    # without one to replace there is no hurry
    write("new", b"n" * 300_000)
    os.rename("new", "third")
    same(read("third"), b"n" * 300_000)


@check
def replaced_by_truncate():
    write("f", b"o" * 100_000)
    os.sync()
    write("f", b"n" * 300_000)
    # writeback was begun by close(2)
    end = time.monotonic() + 30
    while delayed("f") and time.monotonic() < end:
        os.sched_yield()
    assert not delayed("f"), "its data has no blocks yet"


if __name__ == "__main__":
    sys.exit(main("dio"))
