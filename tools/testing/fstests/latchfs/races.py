#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""What the tests of this directory do that a shell cannot.

    races.py churn DIR ROUNDS		make and remove names and extents
    races.py fallocate FILE ROUNDS	stores by mmap against fallocate
    races.py short-write FILE ROUNDS	stores by mmap against writes that end early
    races.py set-xattrs FILE N		make N attributes and fsync
    races.py check-xattrs FILE N	are they there?

Says what is wrong on standard output, and nothing when all is well.
"""

import ctypes
import errno
import mmap
import os
import random
import sys

PAGE = mmap.PAGESIZE
KEEP_SIZE, PUNCH_HOLE, ZERO_RANGE = 1, 2, 16
LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
LIBC.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int,
                      ctypes.c_int64]
LIBC.mmap.restype = ctypes.c_void_p
LIBC.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def fallocate(fd, mode, pos, length):
    if LIBC.fallocate(fd, mode, pos, length) != 0:
        code = ctypes.get_errno()
        print(f"fallocate mode {mode}: {os.strerror(code)}", flush=True)


class Beside:
    """A process that does `work` while this one does something else; both begin at
    the same moment, as far as two processes can."""

    def __init__(self, work):
        ready, tell_ready = os.pipe()
        go, self.tell_go = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                os.write(tell_ready, b"x")
                os.read(go, 1)
                work()
                code = 0
            finally:
                os._exit(code)
        os.close(tell_ready)
        os.close(go)
        os.read(ready, 1)
        os.close(ready)

    def begin(self):
        os.write(self.tell_go, b"x")
        os.close(self.tell_go)

    def end(self):
        _, status = os.waitpid(self.pid, 0)
        if status != 0:
            print(f"the process beside ended with status {status:#x}", flush=True)


def store(fd, size, pages, value):
    """One byte into each of the pages, through a mapping of the file."""
    with mmap.mmap(fd, size) as area:
        for page in pages:
            area[page * PAGE + page % PAGE] = value


def expect(what, fd, size, want):
    """`want` is {position: set of bytes}, everything else is zero or as allowed by
    its default at None."""
    data = os.pread(fd, size, 0)
    if len(data) != size:
        print(f"{what}: {len(data)} bytes, {size} wanted", flush=True)
        return
    for pos, byte in enumerate(data):
        allowed = want.get(pos)
        if (byte not in allowed) if allowed is not None else byte != 0:
            print(f"{what}: {byte:#x} at {pos}, wanted {allowed or 0}", flush=True)
            return


def race_fallocate(path, rounds):
    for n in range(rounds):
        blocks = random.choice((16, 64))
        size = blocks * PAGE
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.ftruncate(fd, size)
        pages = list(range(blocks))
        random.shuffle(pages)
        value = n % 255 + 1
        mode = random.choice((0, KEEP_SIZE))
        punched = n % 4 == 3
        other = Beside(lambda: store(fd, size, pages, value))
        other.begin()
        fallocate(fd, mode, 0, size)
        if punched:
            # of the stores that it meets each is there or is not
            fallocate(fd, KEEP_SIZE | PUNCH_HOLE, 0, size // 2)
            fallocate(fd, KEEP_SIZE | ZERO_RANGE, 0, size // 2)
        else:
            fallocate(fd, mode, 0, size)
        other.end()
        want = {}
        for page in pages:
            pos = page * PAGE + page % PAGE
            want[pos] = {0, value} if punched and pos < size // 2 else {value}
        expect(f"round {n}, in memory", fd, size, want)
        seen = os.pread(fd, size, 0)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if os.pread(fd, size, 0) != seen:
            print(f"round {n}: not the same after it was written", flush=True)
        os.close(fd)


def race_short_write(path, rounds):
    """The second half of the source cannot be read, so the write stops in the
    middle of what it had prepared for."""
    blocks = 16
    size = blocks * PAGE
    fd = -1
    for n in range(rounds):
        # nothing is mapped behind the source: user-mode Linux reads what is
        # mapped without a right to read
        readable = random.randrange(1, blocks)
        address = LIBC.mmap(None, size, mmap.PROT_READ | mmap.PROT_WRITE,
                            mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)
        ctypes.memset(address, ord("W"), readable * PAGE)
        LIBC.munmap(address + readable * PAGE, size - readable * PAGE)
        if fd >= 0:
            os.close(fd)
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
        os.ftruncate(fd, size)
        pages = list(range(blocks))
        random.shuffle(pages)
        other = Beside(lambda: store(fd, size, pages, 0x4d))
        other.begin()
        # an odd position: the end of what is written is within a page
        start = random.randrange(0, PAGE)
        done = short_write(fd, address, size - start, start)
        other.end()
        LIBC.munmap(address, readable * PAGE)
        if done is None:
            continue
        # where both were, either is right; behind the write only the stores are
        want = {}
        for pos in range(start, start + done):
            want[pos] = {ord("W")}
        for page in pages:
            pos = page * PAGE + page % PAGE
            want[pos] = {ord("W"), 0x4d} if start <= pos < start + done else {0x4d}
        expect(f"round {n}, {done} bytes at {start}", fd, size, want)
        seen = os.pread(fd, size, 0)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if os.pread(fd, size, 0) != seen:
            print(f"round {n}: not the same after it was written", flush=True)


def short_write(fd, address, length, pos):
    """What was written of it; os.pwrite() would look at the source itself."""
    LIBC.pwrite.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64]
    LIBC.pwrite.restype = ctypes.c_ssize_t
    done = LIBC.pwrite(fd, address, length, pos)
    if done < 0:
        code = ctypes.get_errno()
        if code != errno.EFAULT:
            print("pwrite: " + os.strerror(code), flush=True)
            return None
        return 0
    if done >= length:
        print(f"a write of {length} bytes with a source that ends early wrote {done}", flush=True)
        return None
    return done


def churn(path, rounds):
    name = path + "/a-rather-long-name-so-that-blocks-fill-soon-"
    for _ in range(rounds):
        os.mkdir(path)
        for i in range(400):
            os.close(os.open(name + str(i), os.O_CREAT | os.O_WRONLY, 0o644))
        fd = os.open(path + "/extents", os.O_CREAT | os.O_RDWR, 0o644)
        for i in range(400):
            os.pwrite(fd, b"x" * PAGE, i * 2 * PAGE)
            if i % 100 == 99:
                os.fsync(fd)
        os.ftruncate(fd, PAGE)
        os.close(fd)
        os.unlink(path + "/extents")
        for i in range(400):
            os.unlink(name + str(i))
        os.rmdir(path)


def xattr(i):
    return f"user.attribute-{i}", f"value {i} ".encode() * (i % 7 + 1)


def set_xattrs(path, count):
    fd = os.open(path, os.O_CREAT | os.O_RDWR, 0o644)
    for i in range(count):
        os.setxattr(fd, *xattr(i))
    os.fsync(fd)


def check_xattrs(path, count):
    missing = [i for i in range(count) if xattr(i)[0] not in set(os.listxattr(path))] \
        if len(os.listxattr(path)) != count else []
    if missing:
        print(f"{len(missing)} attributes are missing, {xattr(missing[0])[0]} is the first", flush=True)
        return
    for i in range(count):
        name, value = xattr(i)
        if os.getxattr(path, name) != value:
            print(f"{name} has another value", flush=True)
            return


if __name__ == "__main__":
    WHAT = {"churn": churn, "fallocate": race_fallocate, "short-write": race_short_write,
            "set-xattrs": set_xattrs, "check-xattrs": check_xattrs}
    if len(sys.argv) != 4 or sys.argv[1] not in WHAT:
        sys.exit(__doc__)
    WHAT[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
