#!/usr/bin/python3
"""fallocate(2) in all modes, SEEK_HOLE and FIEMAP, swap files and what is kept for
files that grow, on the file system mounted at DIR.
Usage: falloc.py DIR [NAME...]
"""

import ctypes
import errno
import fcntl
import mmap
import os
import random
import resource
import signal
import struct
import sys
import time

import sysc
from checks import check, fails, main, read, remount, same, write
from extents import DELALLOC, LAST, UNWRITTEN, fiemap

KIB = 1024
BLOCK = 4096
KEEP_SIZE, PUNCH, COLLAPSE, ZERO, INSERT, UNSHARE, WRITE_ZEROES = 1, 2, 8, 16, 32, 64, 128
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS = 0x80086601, 0x40086602
IMMUTABLE, APPEND = 0x10, 0x20

libc = sysc.libc


def fallocate(fd, mode, at, length):
    sysc.check(libc.fallocate(fd, mode, ctypes.c_long(at), ctypes.c_long(length)), "fallocate")


def create(name, content=b""):
    fd = os.open(name, os.O_CREAT | os.O_RDWR, 0o644)
    os.pwrite(fd, content, 0)
    return fd


def text(n, blocks):
    """Blocks that differ."""
    return b"".join(bytes([1 + (n + i) % 250]) * BLOCK for i in range(blocks))


def extents(fd):
    """[(first block, blocks, unwritten)], neighbours that continue each other merged."""
    merged = []
    for logical, _, length, flags in fiemap(fd):
        assert not flags & DELALLOC, "delayed"
        part = [logical // BLOCK, length // BLOCK, bool(flags & UNWRITTEN)]
        if merged and merged[-1][0] + merged[-1][1] == part[0] and merged[-1][2] == part[2]:
            merged[-1][1] += part[1]
        else:
            merged.append(part)
    return [tuple(e) for e in merged]


def blocks(fd):
    return os.fstat(fd).st_blocks // 8


@check
def allocate():
    fd = create("f")
    fallocate(fd, 0, 10 * BLOCK, 30 * BLOCK)
    same(os.fstat(fd).st_size, 40 * BLOCK, "size")
    same(blocks(fd), 30, "blocks")
    same(extents(fd), [(10, 30, True)])
    same(read("f"), bytes(40 * BLOCK))
    os.pwrite(fd, b"x" * 5000, 20 * BLOCK + 100)
    fallocate(fd, 0, 5 * BLOCK + 1, 20 * BLOCK)
    os.fsync(fd)
    same(extents(fd), [(5, 15, True), (20, 2, False), (22, 18, True)])
    # behind the end: the size stays, the blocks do, too
    fallocate(fd, KEEP_SIZE, 40 * BLOCK, 8 * BLOCK)
    same(os.fstat(fd).st_size, 40 * BLOCK, "size")
    os.close(fd)
    remount()
    same(os.stat("f").st_blocks, 43 * 8, "sectors after close")
    fd = os.open("f", os.O_RDWR)
    os.ftruncate(fd, 44 * BLOCK + 1)
    same(extents(fd), [(5, 15, True), (20, 2, False), (22, 26, True)])
    same(read("f")[20 * BLOCK:22 * BLOCK], bytes(100) + b"x" * 5000 + bytes(2 * BLOCK - 5100))
    os.ftruncate(fd, 44 * BLOCK)
    same(extents(fd), [(5, 15, True), (20, 2, False), (22, 22, True)])
    # nothing is shared, so this is the same
    fallocate(fd, UNSHARE, 0, BLOCK)
    same(extents(fd)[0], (0, 1, True))
    os.close(fd)


@check
def allocate_over_delayed_data():
    before = os.statvfs(".").f_bfree
    fd = create("f")
    os.pwrite(fd, text(1, 8), 4 * BLOCK)
    assert any(e[3] & DELALLOC for e in fiemap(fd)), "nothing is delayed"
    fallocate(fd, 0, 0, 16 * BLOCK)
    os.fsync(fd)
    same(blocks(fd), 16, "blocks")
    same(extents(fd), [(0, 4, True), (4, 8, False), (12, 4, True)])
    os.close(fd)
    remount()
    same(read("f"), bytes(4 * BLOCK) + text(1, 8) + bytes(4 * BLOCK))
    os.unlink("f")
    free_is(before)


def free_is(blocks_free):
    """Freed space may come a little later."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        os.sync()
        if os.statvfs(".").f_bfree >= blocks_free:
            return
        time.sleep(0.2)
    raise AssertionError(f"free blocks: {os.statvfs('.').f_bfree} of {blocks_free}")


@check
def punch():
    fd = create("f", text(0, 32))
    fallocate(fd, PUNCH | KEEP_SIZE, 8 * BLOCK, 8 * BLOCK)
    fallocate(fd, PUNCH | KEEP_SIZE, 20 * BLOCK + 10, 2 * BLOCK)
    model = bytearray(text(0, 32))
    model[8 * BLOCK:16 * BLOCK] = bytes(8 * BLOCK)
    model[20 * BLOCK + 10:22 * BLOCK + 10] = bytes(2 * BLOCK)
    same(read("f"), bytes(model))
    os.fsync(fd)
    same(extents(fd), [(0, 8, False), (16, 5, False), (22, 10, False)])
    same(blocks(fd), 23, "blocks")
    # to the end and behind it
    fallocate(fd, PUNCH | KEEP_SIZE, 30 * BLOCK, 100 * BLOCK)
    model[30 * BLOCK:] = bytes(2 * BLOCK)
    same(os.fstat(fd).st_size, 32 * BLOCK, "size")
    os.close(fd)
    remount()
    same(read("f"), bytes(model))


@check
def zero():
    fd = create("f", text(0, 16))
    os.fsync(fd)
    fallocate(fd, ZERO, 2 * BLOCK + 7, 4 * BLOCK)
    model = bytearray(text(0, 16))
    model[2 * BLOCK + 7:6 * BLOCK + 7] = bytes(4 * BLOCK)
    same(read("f"), bytes(model))
    os.fsync(fd)
    same(extents(fd), [(0, 3, False), (3, 3, True), (6, 10, False)])
    # a hole gets blocks, the size moves or stays
    os.ftruncate(fd, 64 * BLOCK)
    fallocate(fd, ZERO | KEEP_SIZE, 15 * BLOCK, 60 * BLOCK)
    same(os.fstat(fd).st_size, 64 * BLOCK, "size")
    fallocate(fd, ZERO, 70 * BLOCK, 10 * BLOCK)
    same(os.fstat(fd).st_size, 80 * BLOCK, "size")
    model[15 * BLOCK:] = bytes(65 * BLOCK)
    same(extents(fd), [(0, 3, False), (3, 3, True), (6, 9, False), (15, 65, True)])
    os.close(fd)
    remount()
    same(read("f"), bytes(model))


@check
def collapse_and_insert():
    fd = create("f", text(0, 40) + b"tail")
    fallocate(fd, COLLAPSE, 4 * BLOCK, 8 * BLOCK)
    model = bytearray(text(0, 40) + b"tail")
    del model[4 * BLOCK:12 * BLOCK]
    same(read("f"), bytes(model))
    same(os.fstat(fd).st_size, len(model), "size")
    fallocate(fd, INSERT, 20 * BLOCK, 300 * BLOCK)
    model[20 * BLOCK:20 * BLOCK] = bytes(300 * BLOCK)
    same(read("f"), bytes(model))
    same(os.fstat(fd).st_size, len(model), "size")
    os.pwrite(fd, b"middle", 100 * BLOCK)
    model[100 * BLOCK:100 * BLOCK + 6] = b"middle"
    os.close(fd)
    remount()
    same(read("f"), bytes(model))
    fd = os.open("f", os.O_RDWR)
    fails(errno.EINVAL, fallocate, fd, COLLAPSE, 1, BLOCK)
    fails(errno.EINVAL, fallocate, fd, COLLAPSE, 0, len(model) // BLOCK * BLOCK + BLOCK)
    fails(errno.EINVAL, fallocate, fd, INSERT, 0, 100)
    fails(errno.EINVAL, fallocate, fd, INSERT, (len(model) // BLOCK + 1) * BLOCK, BLOCK)
    fails(errno.EFBIG, fallocate, fd, INSERT, 0, (2**63 - 1) // BLOCK * BLOCK - BLOCK)
    same(read("f"), bytes(model))
    os.close(fd)


@check
def refused():
    fd = create("f", b"x" * BLOCK)
    fails(errno.EOPNOTSUPP, fallocate, fd, PUNCH, 0, BLOCK)
    fails(errno.EOPNOTSUPP, fallocate, fd, WRITE_ZEROES, 0, BLOCK)
    fails(errno.EOPNOTSUPP, fallocate, fd, ZERO | PUNCH | KEEP_SIZE, 0, BLOCK)
    fails(errno.EINVAL, fallocate, fd, 0, 0, 0)
    fails(errno.EFBIG, fallocate, fd, 0, 2**63 - 2, 2)
    reader = os.open("f", os.O_RDONLY)
    fails(errno.EBADF, fallocate, reader, 0, 0, BLOCK)
    os.close(reader)
    for flag, modes in ((IMMUTABLE, (0, PUNCH | KEEP_SIZE)), (APPEND, (PUNCH | KEEP_SIZE, ZERO))):
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("I", flag))
        for mode in modes:
            fails(errno.EPERM, fallocate, fd, mode, 0, BLOCK)
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("I", 0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 * BLOCK, hard))
    fails(errno.EFBIG, fallocate, fd, 0, 0, 5 * BLOCK)
    fails(errno.EFBIG, fallocate, fd, INSERT, 0, 5 * BLOCK)
    fallocate(fd, KEEP_SIZE, 0, 5 * BLOCK)
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    same(os.fstat(fd).st_size, BLOCK, "size")
    os.close(fd)


@check
def times_and_mode():
    fd = create("f", text(3, 8))
    os.fsync(fd)
    for mode in (0, ZERO, PUNCH | KEEP_SIZE, COLLAPSE, INSERT):
        os.utime(fd, (1000, 1000))
        os.fchmod(fd, 0o4755)
        before = os.fstat(fd).st_ctime_ns
        time.sleep(0.05)
        child = os.fork()
        if child == 0:
            try:
                os.setresuid(1000, 1000, 1000)
                fallocate(fd, mode, BLOCK, BLOCK)
                os._exit(0)
            except OSError as e:
                os._exit(e.errno)
        same(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), 0, f"errno of mode {mode}")
        st = os.fstat(fd)
        same(st.st_mode & 0o7777, 0o755, f"permissions after mode {mode}")
        assert st.st_mtime > 1000 and st.st_ctime_ns > before, f"times after mode {mode}"
    os.close(fd)


@check
def under_a_mapping():
    fd = create("f", text(0, 16))
    with mmap.mmap(fd, 16 * BLOCK) as m:
        m[0] = 99
        m[5 * BLOCK] = 98
        fallocate(fd, PUNCH | KEEP_SIZE, 4 * BLOCK, 4 * BLOCK)
        same(m[4 * BLOCK:8 * BLOCK], bytes(4 * BLOCK), "mapping over the hole")
        m[6 * BLOCK + 1] = 97
        fallocate(fd, 0, 0, 16 * BLOCK)
        m[7 * BLOCK] = 96
        fallocate(fd, ZERO, 8 * BLOCK, 2 * BLOCK)
        same(m[8 * BLOCK:10 * BLOCK], bytes(2 * BLOCK), "mapping over zeroes")
        fallocate(fd, COLLAPSE, 12 * BLOCK, BLOCK)
        same(m[12 * BLOCK], text(0, 16)[13 * BLOCK], "mapping of what moved")
        model = bytearray(text(0, 16))
        model[0] = 99
        model[4 * BLOCK:8 * BLOCK] = bytes(4 * BLOCK)
        model[6 * BLOCK + 1], model[7 * BLOCK] = 97, 96
        model[8 * BLOCK:10 * BLOCK] = bytes(2 * BLOCK)
        del model[12 * BLOCK:13 * BLOCK]
        same(m[:15 * BLOCK], bytes(model))
    os.close(fd)
    remount()
    same(read("f"), bytes(model))


class Model:
    """A file and what it should be, under random operations."""

    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.fd = create("f")
        self.data = bytearray()
        self.most = 700 * KIB

    def write(self, at, content):
        if len(self.data) < at:
            self.data.extend(bytes(at - len(self.data)))
        self.data[at:at + len(content)] = content

    def zero(self, at, length):
        end = min(at + length, len(self.data))
        if at < end:
            self.data[at:end] = bytes(end - at)

    def step(self):
        rng = self.rng
        at = rng.randrange(self.most - 100 * KIB)
        length = rng.choice((rng.randrange(1, 9000), BLOCK * rng.randrange(1, 20)))
        if rng.random() < 0.6:
            at = at // BLOCK * BLOCK
        op = rng.randrange(12)
        if op <= 2:
            content = bytes([rng.randrange(1, 256)]) * length
            same(os.pwrite(self.fd, content, at), length)
            self.write(at, content)
        elif op == 3 and self.data:
            at = rng.randrange(len(self.data))
            length = min(length, len(self.data) - at)
            with mmap.mmap(self.fd, len(self.data)) as m:
                m[at:at + length] = b"m" * length
            self.write(at, b"m" * length)
        elif op == 4:
            os.ftruncate(self.fd, at)
            if len(self.data) > at:
                del self.data[at:]
            self.write(at, b"")
        elif op == 5:
            os.fsync(self.fd)
        elif op == 6:
            os.posix_fadvise(self.fd, 0, 0, os.POSIX_FADV_DONTNEED)
        else:
            self.fallocate(op, at, length)

    def fallocate(self, op, at, length):
        size = len(self.data)
        if op == 7:
            keep = self.rng.randrange(2)
            fallocate(self.fd, keep, at, length)
            if not keep and at + length > size:
                self.write(at + length, b"")
        elif op == 8:
            fallocate(self.fd, PUNCH | KEEP_SIZE, at, length)
            self.zero(at, length)
        elif op == 9:
            keep = self.rng.randrange(2)
            fallocate(self.fd, ZERO | keep, at, length)
            self.zero(at, length)
            if not keep and at + length > size:
                self.write(at + length, b"")
        else:
            at, length = at // BLOCK * BLOCK, (length + BLOCK - 1) // BLOCK * BLOCK
            if op == 10 and at + length < size:
                fallocate(self.fd, COLLAPSE, at, length)
                del self.data[at:at + length]
            elif op == 11 and at < size and size + length < self.most:
                fallocate(self.fd, INSERT, at, length)
                self.data[at:at] = bytes(length)

    def check(self):
        same(os.fstat(self.fd).st_size, len(self.data), "size")
        got = os.pread(self.fd, len(self.data) + 1, 0)
        if got != self.data:
            n = next(i for i, (a, b) in enumerate(zip(got, self.data)) if a != b)
            raise AssertionError(f"byte {n} is {got[n]}, wanted {self.data[n]}")


@check
def everything_mixed():
    for seed in (1, 2):
        model = Model(seed)
        for n in range(600):
            model.step()
            if n % 20 == 0:
                model.check()
            if n % 150 == 149:
                remount()
                model.check()
        remount()
        model.check()
        holes(model.fd, bytes(model.data))
        os.close(model.fd)
        same(read("f"), bytes(model.data))
        os.unlink("f")


def holes(fd, data):
    """What SEEK_HOLE calls a hole is zero, and both walk through all of the file."""
    at = 0
    while at < len(data):
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            same(e.errno, errno.ENXIO)
            start = len(data)
        same(data[at:start].count(0), start - at, "zeroes in a hole")
        if start == len(data):
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        assert at > start


def seek(fd, *wanted):
    """The data of a file: pairs of blocks."""
    found, at, size = [], 0, os.fstat(fd).st_size
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as e:
            same(e.errno, errno.ENXIO)
            break
        at = os.lseek(fd, start, os.SEEK_HOLE)
        found.append((start // BLOCK, at // BLOCK))
    same(found, list(wanted), "data")


@check
def seek_hole():
    fd = create("f")
    os.ftruncate(fd, 64 * BLOCK)
    seek(fd)
    os.pwrite(fd, text(0, 2), 4 * BLOCK)
    seek(fd, (4, 6))
    os.fsync(fd)
    seek(fd, (4, 6))
    # unwritten is a hole, what is dirty over it is data
    fallocate(fd, 0, 0, 32 * BLOCK)
    seek(fd, (4, 6))
    os.pwrite(fd, b"x", 20 * BLOCK)
    seek(fd, (4, 6), (20, 21))
    os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    seek(fd, (4, 6), (20, 21))
    fallocate(fd, ZERO, 5 * BLOCK, BLOCK)
    fallocate(fd, PUNCH | KEEP_SIZE, 20 * BLOCK, BLOCK)
    seek(fd, (4, 5))
    fails(errno.ENXIO, os.lseek, fd, 64 * BLOCK, os.SEEK_DATA)
    same(os.lseek(fd, 63 * BLOCK, os.SEEK_HOLE), 63 * BLOCK)
    os.close(fd)


@check
def fiemap_tells_what_is_delayed():
    fd = create("f", text(0, 4))
    same([e[3] & (DELALLOC | UNWRITTEN) for e in fiemap(fd)], [DELALLOC])
    fallocate(fd, 0, 8 * BLOCK, 4 * BLOCK)
    os.fsync(fd)
    found = fiemap(fd)
    same([(e[0] // BLOCK, e[2] // BLOCK, e[3]) for e in found],
         [(0, 4, 0), (8, 4, UNWRITTEN | LAST)])
    os.close(fd)


@check
def copied_in_the_kernel():
    content = text(5, 100) + b"end"
    write("from", content)
    source, to = os.open("from", os.O_RDONLY), create("to")
    done = 0
    while done < len(content):
        n = os.copy_file_range(source, to, len(content) - done, done, done)
        assert n > 0
        done += n
    same(os.copy_file_range(source, to, 10, len(content), 0), 0, "at the end")
    os.copy_file_range(source, source_rw := os.open("from", os.O_RDWR), 2 * BLOCK, 0, 50 * BLOCK)
    os.close(source)
    os.close(source_rw)
    os.close(to)
    remount()
    same(read("to"), content)
    same(read("from")[50 * BLOCK:52 * BLOCK], content[:2 * BLOCK])


def swapon(path):
    sysc.check(libc.swapon(os.fsencode(path), 0), "swapon")


def swapoff(path):
    sysc.check(libc.swapoff(os.fsencode(path)), "swapoff")


def make_swap(fd, pages):
    """What mkswap(8) writes."""
    header = bytearray(BLOCK)
    struct.pack_into("<III", header, 1024, 1, pages - 1, 0)
    header[BLOCK - 10:] = b"SWAPSPACE2"
    os.pwrite(fd, bytes(header), 0)


@check
def swap_file():
    path = os.path.abspath("swap")
    fd = create("swap")
    os.fchmod(fd, 0o600)
    fallocate(fd, 0, 0, 512 * BLOCK)
    make_swap(fd, 512)
    swapon(path)
    try:
        fails(errno.ETXTBSY, fallocate, fd, PUNCH | KEEP_SIZE, 0, BLOCK)
        fails(errno.ETXTBSY, fallocate, fd, 0, 0, 1024 * BLOCK)
        fails(errno.ETXTBSY, os.ftruncate, fd, BLOCK)
        fails(errno.ETXTBSY, os.pwrite, fd, b"x", 0)
        fails(errno.EPERM, os.unlink, path)
    finally:
        swapoff(path)
    # written, and not durable yet: swapon sees to that
    os.ftruncate(fd, 0)
    os.pwrite(fd, bytes([1]) * (256 * BLOCK), 0)
    make_swap(fd, 256)
    swapon(path)
    swapoff(path)
    # with a hole
    fallocate(fd, PUNCH | KEEP_SIZE, 100 * BLOCK, BLOCK)
    fails(errno.EINVAL, swapon, path)
    os.ftruncate(fd, BLOCK)
    os.close(fd)
    os.unlink(path)


@check
def kept_for_files_that_grow():
    before = os.statvfs(".").f_bfree
    names = ["a", "b", "c", "d"]
    files = [create(name) for name in names]
    for n in range(64):
        for fd in files:
            os.pwrite(fd, text(n, 2), 2 * n * BLOCK)
            os.fdatasync(fd)
    for fd in files:
        same(blocks(fd), 128, "blocks while it is open")
        physical = fiemap(fd)
        runs = 1 + sum(a[1] + a[2] != b[1] for a, b in zip(physical, physical[1:]))
        assert runs <= 8, f"{runs} runs"
    kept = os.statvfs(".").f_bfree
    for fd in files:
        os.close(fd)
    os.sync()
    closed = os.statvfs(".").f_bfree
    assert closed > kept, "nothing was kept"
    for name in names:
        same(os.stat(name).st_blocks, 1024, "sectors after close")
    remount()
    same(os.statvfs(".").f_bfree, closed, "free blocks")
    for name in names:
        os.unlink(name)
    free_is(before)


@check
def more_than_there_is():
    before = os.statvfs(".").f_bfree
    fd = create("f", b"data")
    os.fsync(fd)
    room = os.statvfs(".").f_bfree * BLOCK
    fails(errno.ENOSPC, fallocate, fd, 0, 0, room + (64 << 20))
    same(os.fstat(fd).st_size, 4, "size")
    same(read("f"), b"data")
    # what was allocated can be written
    os.pwrite(fd, b"x" * BLOCK, 100 * BLOCK)
    os.fsync(fd)
    fallocate(fd, PUNCH | KEEP_SIZE, BLOCK, room)
    os.ftruncate(fd, 0)
    os.close(fd)
    os.unlink("f")
    free_is(before)


if __name__ == "__main__":
    sys.exit(main("falloc"))
