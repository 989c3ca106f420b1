"""Races of the data path: seeds 001, 003 and 004."""

import ctypes
import mmap
import os

from machine import LEN, PAGE, Child, Task, until

LIBC = ctypes.CDLL(None, use_errno=True)
LIBC.pwrite.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_long]
LIBC.pwrite.restype = ctypes.c_ssize_t


def fallocate(fd):
    """fallocate(2), and not what posix_fallocate() does in its place."""
    if LIBC.fallocate(fd, 0, ctypes.c_long(0), ctypes.c_long(LEN)):
        raise OSError(ctypes.get_errno(), "fallocate")


def store(path, pos, data):
    """A store through a shared mapping."""
    fd = os.open(path, os.O_RDWR)
    with mmap.mmap(fd, LEN) as m:
        m[pos:pos + len(data)] = data
    os.close(fd)


def forget(fd):
    """The page cache of the file goes: all of it is clean."""
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("1")


def cached(fd):
    """How many pages of the file are in the page cache."""
    pages_of_file = (ctypes.c_ubyte * (LEN // PAGE))()
    with mmap.mmap(fd, LEN) as m:
        start = ctypes.addressof(ctypes.c_char.from_buffer(m))
        if LIBC.mincore(ctypes.c_void_p(start), ctypes.c_size_t(LEN), pages_of_file):
            raise OSError(ctypes.get_errno(), "mincore")
    return sum(n & 1 for n in pages_of_file)


def reread(fd, pos, length):
    """What is on disk."""
    forget(fd)
    return os.pread(fd, length, pos)


def pages(data):
    """Memory that direct I/O can take."""
    m = mmap.mmap(-1, len(data))
    m[:] = data
    return m


def direct(path, pos, data):
    fd = os.open(path, os.O_RDWR | os.O_DIRECT)
    try:
        if os.pwrite(fd, pages(data), pos) != len(data):
            raise RuntimeError("a direct write is short")
    finally:
        os.close(fd)


def t_001_a(r):
    """fsync while a direct write to unwritten blocks is between mapping and I/O; power cut."""
    v, s = r.v, r.s
    v.poison()
    fd, path, ino = r.sparse()
    fallocate(fd)
    os.fsync(fd)
    point = "dio.pair.between" if r.mutant else "dio.after_publish"
    s(f"arm {point} park key={ino} limit=60000")
    write = Task(lambda: direct(path, 0, b"N" * LEN))
    s.held(point)
    fsync = Task(lambda: r.sync_file(fd))
    fsync.end()
    # the end of the world: nothing that comes later is on the device
    v.shutdown()
    v.fail("all")
    s(f"release {point}")
    try:
        write.end()
    except OSError:
        pass
    r.passed(point)
    r.close()
    v.umount()
    v.fail()
    v.mount()
    with open(path, "rb") as f:
        data = f.read()
    r.must(b"S" not in data, "stale data of the device")
    r.must(data.count(0) == LEN, "data that was not written")


def t_001_e(r):
    """Direct write and fsync of one file: fsync does not wait, and loses nothing."""
    v, s = r.v, r.s
    fd, path, ino = r.sparse()
    os.pwrite(fd, b"b" * PAGE, 0)
    s(f"arm dio.after_publish park key={ino} limit=60000")
    write = Task(lambda: direct(path, LEN // 2, b"d" * PAGE))
    s.held("dio.after_publish")
    fsync = Task(lambda: r.sync_file(fd))
    until(lambda: s.hits("fsync.waits") or not fsync.is_alive(), "fsync does not end")
    r.must(not s.hits("fsync.waits"), "fsync waits for a direct write of somebody else")
    s("release dio.after_publish")
    write.end()
    fsync.end()
    r.passed("dio.after_publish")
    r.sync_file(fd)
    r.close()
    if r.mutant:
        return
    v.shutdown()
    v.umount()
    v.mount()
    with open(path, "rb") as f:
        data = f.read()
    r.must(data[:PAGE] == b"b" * PAGE and data[LEN // 2:LEN // 2 + PAGE] == b"d" * PAGE,
           "data is lost")


def t_003_a(r):
    """A store has seen a hole that fallocate fills."""
    v, s = r.v, r.s
    fd, path, ino = r.sparse()
    s(f"arm da.after_lookup park key={ino} limit=60000")
    child = Child(lambda: store(path, 5 * PAGE, b"x" * 10))
    s.held("da.after_lookup")
    fallocate(fd)
    s("release da.after_lookup")
    child.end()
    r.passed("da.after_lookup")
    r.must(v.observe("O3")["delayed"] == 0, "delayed over blocks that the file has")
    r.sync_file(fd)
    r.must(reread(fd, 5 * PAGE, 10) == b"x" * 10, "the store is lost")


def t_004_a(r):
    """The undo of a short write, and a store into what it takes back."""
    s = r.s
    fd, path, ino = r.sparse()
    memory = pages(b"w" * (LEN - PAGE))
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    LIBC.mprotect(ctypes.c_void_p(start + PAGE), ctypes.c_size_t(LEN - 2 * PAGE), 0)
    wrote = []
    s(f"arm wend.before_punch park key={ino} limit=60000")
    write = Task(lambda: wrote.append(LIBC.pwrite(fd, start, LEN - PAGE, PAGE)))
    s.held("wend.before_punch")
    child = Child(lambda: store(path, LEN // 2, b"x" * 10))
    until(lambda: s.hits("fault.enter") and child.blocked(), "the store does not come")
    s("release wend.before_punch")
    write.end()
    child.end()
    r.passed("wend.before_punch")
    r.reached(wrote == [PAGE], f"a short write: {wrote}")
    r.sync_file(fd)
    r.must(reread(fd, LEN // 2, 10) == b"x" * 10, "the store is lost")
    r.must(reread(fd, PAGE, PAGE) == b"w" * PAGE, "the write is lost")


def t_004_b(r):
    """A write has a mapping that is not valid when it locks its folio."""
    s = r.s
    fd, path, ino = r.sparse()
    os.pwrite(fd, b"1" * (2 * PAGE), 0)
    s(f"arm write.after_begin park key={ino} limit=60000")
    write = Task(lambda: os.pwrite(fd, b"2" * 100, 5000))
    s.held("write.after_begin")
    other = r.open(path)
    r.sync_file(other)
    # not read: that would wait for the writer
    forget(other)
    r.reached(cached(other) == 0, "reclaim")
    s("release write.after_begin")
    write.end()
    r.passed("write.after_begin")
    r.must(s.hits("write.after_begin") > 1, "a mapping that is not valid was used")
    r.sync_file(other)
    data = reread(fd, 0, 2 * PAGE)
    r.must(data == b"1" * 5000 + b"2" * 100 + b"1" * (2 * PAGE - 5100), "written data was zeroed")
