#!/usr/bin/python3
"""Races in the kernel: the guest's half of `make races`.

    guest.py DEVICE TABLE [NAME...]

Each reproducer forces one interleaving by sync points (debugfs) and errors of
the device (device mapper), on the real build and on its mutant.  It passes if
the interleaving was reached in both, the real build did no damage, and the
mutant did.  Rows for the table go to TABLE; the last line is `guest: N passed, N
failed`.
"""

import ctypes
import fcntl
import json
import mmap
import os
import re
import struct
import subprocess
import sys
import threading
import time

DEBUGFS = "/sys/kernel/debug"
MNT = "/tmp/races"
PATIENCE = 60
LEN = 64 * 1024
PAGE = 4096


def sh(*cmd, check=True, timeout=120):
    r = subprocess.run(cmd, capture_output=True, text=True, timeout=timeout, check=False)
    if check and r.returncode != 0:
        raise RuntimeError(f"{' '.join(cmd)}: {(r.stderr or r.stdout).strip()}")
    return r.stdout


def until(cond, what, seconds=PATIENCE):
    end = time.monotonic() + seconds
    while not cond():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


def poke(path, text):
    """One write, one command."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


class Task(threading.Thread):
    """Something that may be held for a while."""

    def __init__(self, run):
        super().__init__(daemon=True)
        self.run_it, self.error = run, None
        self.start()

    def run(self):
        try:
            self.run_it()
        except Exception as e:      # shown by whoever waits for it
            self.error = e

    def end(self):
        self.join(PATIENCE)
        if self.is_alive():
            raise TimeoutError("a task does not end")
        if self.error:
            raise self.error


class Child:
    """Somebody who may be held in a page fault: a thread of ours would hold the interpreter."""

    def __init__(self, run):
        self.code = None
        self.pid = os.fork()
        if self.pid == 0:
            code = 1
            try:
                run()
                code = 0
            finally:
                os._exit(code)

    def ended(self):
        if self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
        return self.code is not None

    def blocked(self):
        """Waits for something in the kernel, or is over."""
        with open(f"/proc/{self.pid}/stat", encoding="ascii") as f:
            return self.ended() or f.read().rpartition(")")[2].split()[0] == "D"

    def end(self):
        until(self.ended, "a process does not end")
        if self.code:
            raise RuntimeError(f"a process ends with {self.code}")


class Sync:
    """The sync points of the module."""

    def __init__(self):
        self.dir = DEBUGFS + "/latchfs/sync"

    def __call__(self, line):
        try:
            poke(self.dir + "/control", line)
        except OSError as e:
            raise RuntimeError(f"{line}: {e.strerror}; {self.status()}") from e

    def status(self):
        with open(self.dir + "/status", encoding="ascii") as f:
            return f.read()

    def arm(self, point):
        """(state, hits) of the first arm of the point."""
        m = re.search(rf"^arm {re.escape(point)} (.*) hits=(\d+)$", self.status(), re.M)
        return (m.group(1), int(m.group(2))) if m else ("unarmed", 0)

    def hits(self, point):
        m = re.search(rf"^hits {re.escape(point)} (\d+)$", self.status(), re.M)
        return int(m.group(1)) if m else 0

    def damage(self):
        return re.findall(r"^damage \d+ key=\d+ (.*)$", self.status(), re.M)

    def held(self, point):
        until(lambda: self.arm(point)[0] == "held", f"nobody is held at {point}")


class Volume:
    """A file system on a device that fails where it is told to."""

    def __init__(self, dev):
        self.dev = dev
        self.size = int(sh("blockdev", "--getsz", dev))
        self.dm = ("--noudevrules", "--noudevsync")
        sh("dmsetup", "create", *self.dm, "races", "--table", self.table())
        self.name = sh("dmsetup", "info", "-c", "--noheadings", "-o", "blkdevname", "races").strip()
        self.node = "/dev/" + self.name
        os.makedirs(MNT, exist_ok=True)

    def table(self, block=None):
        linear = "{0} {1} linear " + self.dev + " {0}"
        if block == "all":
            return f"0 {self.size} error"
        if block is None:
            return linear.format(0, self.size)
        at = block * 8
        return "\n".join([linear.format(0, at), f"{at} 8 error",
                          linear.format(at + 8, self.size - at - 8)])

    def suspend(self):
        sh("dmsetup", "suspend", "--nolockfs", "--noflush", *self.dm, "races")

    def resume(self, block=None):
        """From now on `block` fails, or "all", or nothing does."""
        sh("dmsetup", "load", "races", "--table", self.table(block))
        sh("dmsetup", "resume", *self.dm, "races")

    def fail(self, block=None):
        self.suspend()
        self.resume(block)

    def mount(self, *options):
        sh("mount", "-t", "latchfs", *options, self.node, MNT)

    def fresh(self, *options):
        sh("mkfs.latchfs", "-f", *options, self.node)
        self.mount()

    def probe(self, what):
        poke(f"{DEBUGFS}/latchfs-{self.name}/probe", what)

    def observe(self, which):
        """The numbers of one observable."""
        with open(f"{DEBUGFS}/latchfs-{self.name}/verify", encoding="ascii") as f:
            line = next(line for line in f if line.startswith(which + " "))
        return {name: int(n) for n, name in re.findall(r"(\d+) (\w+)", line.partition(":")[2])}

    def ail(self):
        return self.observe("O1")

    def poison(self):
        """A new file system on a device that is full of somebody's data."""
        self.umount()
        fill = b"S" * (4 << 20)
        with open(self.node, "wb", buffering=0) as f:
            for _ in range(24):
                f.write(fill)
            os.fsync(f.fileno())
        self.fresh("-K")

    def settle(self):
        """Everything is in its place."""
        os.sync()
        self.probe("push")
        until(lambda: self.ail()["listed"] == 0, "the AIL does not drain")

    def pressure(self):
        """What can go from memory does."""
        poke("/proc/sys/vm/drop_caches", "3")
        self.probe("shrink")

    def look(self, what, *args):
        """What is on the device, by the tool."""
        sh("blockdev", "--flushbufs", self.node)
        return json.loads(sh("latchfs", what, self.node, *args, "--json"))

    def tree_blocks(self, ino):
        """Blocks of the tree of an inode, none if it has no tree."""
        try:
            return blocks_of(self.look("tree", str(ino)))
        except RuntimeError as e:
            if "has no tree" in str(e):
                return []
            raise

    def inode_block(self, path):
        return self.look("inode", str(os.stat(path).st_ino))["block"]

    def mode(self, ino):
        return int(self.look("inode", str(ino))["mode"], 8) & 0o7777

    def shutdown(self):
        """FS_IOC_SHUTDOWN without flushing: whatever a mutant did ends here."""
        fd = os.open(MNT, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, 0x8004587D, struct.pack("I", 2))
        finally:
            os.close(fd)

    def umount(self):
        sh("umount", MNT)

    def mounted(self):
        return os.path.ismount(MNT)

    def check(self):
        sh("blockdev", "--flushbufs", self.node)
        return sh("fsck.latchfs", "-n", self.node)


class Run:
    """One run of one reproducer."""

    def __init__(self, volume, sync, mutant):
        self.v, self.s, self.mutant = volume, sync, mutant
        self.missing, self.damage, self.files = [], [], []

    def reached(self, cond, what):
        if not cond:
            self.missing.append(what)

    def passed(self, point):
        """Whoever was held there has gone on because he was released."""
        until(lambda: self.s.arm(point)[0] != "held", f"{point} does not let go")
        state = self.s.arm(point)[0]
        self.reached(state == "passed", f"{point} {state}")

    def must(self, cond, damage):
        if not cond:
            self.damage.append(damage)

    def file(self, name="file"):
        """A file that is in its place, its inode number, and the block of its inode."""
        path = f"{MNT}/{name}"
        with open(path, "w", encoding="ascii") as f:
            f.write("content\n")
        self.v.settle()
        return path, os.stat(path).st_ino, self.v.inode_block(path)

    def open(self, path):
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        self.files.append(fd)
        return fd

    def close(self):
        while self.files:
            os.close(self.files.pop())

    def sparse(self):
        """A file of 64 KiB that is a hole, open, its name, and its inode number."""
        path = f"{MNT}/sparse"
        fd = self.open(path)
        os.ftruncate(fd, LEN)
        self.v.settle()
        return fd, path, os.fstat(fd).st_ino

    def sync_file(self, fd):
        try:
            os.fsync(fd)
        except OSError as e:
            self.must(False, f"fsync: {e.strerror}")

    def many(self):
        """A directory with 64 files, 0 to 63, in their place."""
        path = f"{MNT}/dir"
        os.mkdir(path)
        for n in range(64):
            with open(f"{path}/{n}", "w", encoding="ascii"):
                pass
        self.v.settle()
        return path

    def committed(self, path, mode):
        """A change that is in the log and not in its place."""
        os.chmod(path, mode)
        os.sync()


# ---- seed 000


def t_000_a(r):
    """The pusher comes to a failed item while the write that repairs it ends."""
    v, s = r.v, r.s
    path, ino, block = r.file()
    r.committed(path, 0o640)
    v.fail(block)
    v.probe("push")
    until(lambda: v.ail()["failed"], "no write fails")
    # the next try waits in the device mapper while the trap is set
    v.suspend()
    time.sleep(0.2)
    s(f"arm buf.ioend.before_items park key={block}")
    v.resume()
    s.held("buf.ioend.before_items")
    s(f"arm ail.push.plan count key={block}")
    s(f"arm ail.push.read_buf park key={block} limit=20000")
    until(lambda: s.arm("ail.push.plan")[0] == "passed", "the pusher does not come")
    if r.mutant:
        s.held("ail.push.read_buf")
    s("release buf.ioend.before_items")
    until(lambda: v.ail()["writes"] == 0, "the write does not end")
    v.pressure()
    r.passed("buf.ioend.before_items")
    s("release ail.push.read_buf")
    until(lambda: v.ail()["listed"] == 0, "the AIL does not drain")
    r.must(v.mode(ino) == 0o640, "what was committed is not on disk")


def t_000_b(r):
    """The item is written, and its memory goes, while its push returns."""
    v, s = r.v, r.s
    path, ino, _ = r.file()
    r.committed(path, 0o640)
    s("arm ail.push.after_unlock_buf park limit=60000")
    s(f"arm reclaim.before_free count key={ino}")
    v.probe("push")
    s.held("ail.push.after_unlock_buf")
    until(lambda: v.ail()["listed"] == 0, "the write does not end")
    for _ in range(5):
        v.pressure()
        if s.arm("reclaim.before_free")[0] == "passed":
            break
    r.reached(s.arm("reclaim.before_free")[0] == "passed", "the inode's memory stays")
    s("release ail.push.after_unlock_buf")
    r.passed("ail.push.after_unlock_buf")
    time.sleep(0.2)
    r.must(v.mode(ino) == 0o640, "what was committed is not on disk")


def t_000_c(r):
    """Unmount while an inode is being freed."""
    v, s = r.v, r.s
    path, _, _ = r.file()
    s("arm inodegc.item park")
    s("arm unmount.push_all count")
    os.unlink(path)
    s.held("inodegc.item")
    unmount = Task(v.umount)
    until(lambda: s.hits("inodegc.drain"), "unmount does not come to the background work")
    try:
        # a mutant does not wait; how long we look does not matter for the real build
        until(lambda: s.hits("unmount.push_all"), "", 3)
    except TimeoutError:
        pass
    r.must(s.hits("unmount.push_all") == 0, "unmount pushes while an inode is being freed")
    s("release inodegc.item")
    unmount.end()
    r.passed("inodegc.item")
    r.reached(s.hits("unmount.push_all"), "push")


def t_000_d(r):
    """Writes fail for a while: one try each time; for ever: unmount ends."""
    v, s = r.v, r.s
    v.umount()
    v.mount("-o", "errors=continue")
    path, ino, block = r.file()
    r.committed(path, 0o640)
    s(f"arm ail.retry count key={block} times=1000000")
    v.fail(block)
    v.probe("push")
    until(lambda: s.arm("ail.retry")[1] >= 3, "it is not tried again")
    v.fail()
    until(lambda: v.ail()["listed"] == 0, "the AIL does not drain")
    tries = s.arm("ail.retry")[1]
    r.must(v.mode(ino) == 0o640, "what was committed is not on disk")
    r.committed(path, 0o600)
    r.must(s.arm("ail.retry")[1] == tries, "written again after it was written")
    v.fail(block)
    before = s.hits("ail.retry")
    unmount = Task(lambda: sh("umount", MNT, check=False))
    until(lambda: not unmount.is_alive() or s.hits("ail.retry") > before + 8,
          "unmount neither ends nor tries")
    r.must(not unmount.is_alive(), "unmount does not end")
    s("mutant none")
    unmount.end()
    v.fail()
    r.reached(s.hits("ail.retry") > before, "a try at unmount")


# ---- seed 002


def fill(path, entries):
    """So many names that the directory has a tree."""
    for n in range(entries):
        with open(f"{path}/{n:0200}", "w", encoding="ascii"):
            pass


def blocks_of(tree):
    """All block numbers in what the tool says of a tree."""
    found = set()

    def walk(x):
        if isinstance(x, dict):
            if isinstance(x.get("block"), int):
                found.add(x["block"])
            for y in x.values():
                walk(y)
        elif isinstance(x, list):
            for y in x:
                walk(y)

    walk(tree)
    return sorted(found)


def t_002_a(r):
    """The last put of a freed block's buffer, and the block's next life."""
    v, s = r.v, r.s
    path = f"{MNT}/dir"
    os.mkdir(path)
    fill(path, 60)
    v.settle()
    ino = os.stat(path).st_ino
    # a block in the middle: the first may stay, and the last be the next file's
    block = v.tree_blocks(ino)[1]
    os.listdir(path)
    v.probe(f"hold {block}")
    for name in os.listdir(path):
        os.unlink(f"{path}/{name}")
    v.settle()
    r.reached(block not in v.tree_blocks(ino), "the block was not freed")
    # metadata is put behind the metadata before it: not here again
    v.probe("drain")
    s(f"arm eb.put.decided park key={block} limit=60000")
    s(f"arm eb.dirty.before count key={block}")
    put = Task(lambda: v.probe("put"))
    s.held("eb.put.decided")
    names = 0
    while s.arm("eb.dirty.before")[0] != "passed" and names < 400:
        names += 40
        fill(path, names)
        os.sync()
    r.reached(s.arm("eb.dirty.before")[0] == "passed", "the block has no new life")
    s("release eb.put.decided")
    put.end()
    r.passed("eb.put.decided")
    if r.mutant:
        return
    v.settle()
    v.umount()
    v.mount()
    r.must(len(os.listdir(path)) == names, "names are lost")


def t_002_b(r):
    """The shrinker has decided on a buffer that somebody looks up and changes."""
    v, s = r.v, r.s
    path, ino, block = r.file()
    os.chmod(path, 0o600)
    v.settle()
    s(f"arm eb.reclaim.decided park key={block} until=eb.find.blocked limit=5000")
    shrinker = Task(lambda: [v.probe("shrink") for _ in range(3)])
    s.held("eb.reclaim.decided")
    user = Task(lambda: os.chmod(path, 0o640))
    user.end()
    s("release eb.reclaim.decided")
    shrinker.end()
    r.passed("eb.reclaim.decided")
    if r.mutant:
        return
    v.settle()
    r.must(v.mode(ino) == 0o640, "the change is not on disk")


def t_002_c(r):
    """Unmount while a read is under way that nobody waits for."""
    v, s = r.v, r.s
    path = r.many()
    block = v.inode_block(f"{path}/60")
    v.umount()
    v.mount()
    s(f"arm eb.read.before_end park key={block}")
    # names only: the inodes are read ahead
    with os.scandir(path) as entries:
        r.reached(len([e.name for e in entries]) == 64, "names")
    s.held("eb.read.before_end")
    unmount = Task(v.umount)
    until(lambda: s.hits("eb.purge.waits") or not unmount.is_alive(),
          "unmount does not come to the buffers")
    s("release eb.read.before_end")
    unmount.end()
    r.passed("eb.read.before_end")


def t_002_d(r):
    """Two tasks read one block that is not cached."""
    v, s = r.v, r.s
    path = r.many()
    # not in the block of the root's inode, which every mount reads
    pairs = ((f"{path}/{n}", f"{path}/{n + 1}") for n in range(60, 30, -1))
    pair = next((p for p in pairs if v.inode_block(p[0]) == v.inode_block(p[1])), None)
    r.reached(pair, "two inodes in one block")
    if not pair:
        return
    first, second = pair
    ino, other = os.stat(first).st_ino, os.stat(second).st_ino
    block = v.inode_block(first)
    v.umount()
    v.mount()
    s(f"arm eb.insert.before park key={block}")
    one = Task(lambda: os.chmod(first, 0o640))
    s.held("eb.insert.before")
    two = Task(lambda: os.chmod(second, 0o604))
    until(lambda: not two.is_alive() or s.arm("eb.insert.before")[1] > 1, "nobody else comes")
    time.sleep(0.5)
    s("release eb.insert.before")
    one.end()
    two.end()
    r.passed("eb.insert.before")
    r.reached(s.arm("eb.insert.before")[1] > 1, "the second creator")
    if r.mutant:
        return
    v.settle()
    r.must((v.mode(ino), v.mode(other)) == (0o640, 0o604), "a change is lost")


def t_002_e(r):
    """The shrinker and a reader look at a buffer whose write begins."""
    v, s = r.v, r.s
    path, ino, block = r.file()
    r.committed(path, 0o640)
    s(f"arm eb.wb.decided park key={block} limit=20000")
    v.probe("push")
    s.held("eb.wb.decided")
    v.pressure()
    try:
        v.probe(f"look {block}")
    except OSError:
        r.must(False, "a changed buffer is seen clean")
    s("release eb.wb.decided")
    r.passed("eb.wb.decided")
    if r.mutant:
        return
    v.settle()
    r.must(v.mode(ino) == 0o640, "the change is not on disk")


# ---- seeds 001, 003 and 004


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


def reread(fd, pos, length):
    """What is on disk."""
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("1")
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
    reread(other, 0, 1)
    s("release write.after_begin")
    write.end()
    r.passed("write.after_begin")
    r.must(s.hits("write.after_begin") > 1, "a mapping that is not valid was used")
    r.sync_file(other)
    data = reread(fd, 0, 2 * PAGE)
    r.must(data == b"1" * 5000 + b"2" * 100 + b"1" * (2 * PAGE - 5100), "written data was zeroed")


RACES = [
    ("T-001-A", "seed001", t_001_a),
    ("T-001-E", "seed001-wait", t_001_e),
    ("T-003-A", "seed003", t_003_a),
    ("T-004-A", "seed004", t_004_a),
    ("T-004-B", "seed004-valid", t_004_b),
    ("T-000-A", "seed000", t_000_a),
    ("T-000-B", "seed000-sibling", t_000_b),
    ("T-000-C", "unmount-order", t_000_c),
    ("T-000-D", "seed000-retry", t_000_d),
    ("T-002-A", "seed002", t_002_a),
    ("T-002-B", "seed002-reclaim", t_002_b),
    ("T-002-C", "seed002-purge", t_002_c),
    ("T-002-D", "seed002-insert", t_002_d),
    ("T-002-E", "seed002-gap", t_002_e),
]


def once(volume, sync, mutant, scenario):
    """One run, and the end of what it left."""
    r = Run(volume, sync, mutant)
    sync("reset")
    volume.fresh()
    sync(f"mutant {mutant or 'none'}")
    try:
        scenario(r)
    except (TimeoutError, RuntimeError, OSError) as e:
        # with a mutant anything may happen once the race was run
        (r.missing if not mutant or not sync.damage() else r.damage).append(str(e))
        print(sync.status(), flush=True)
    r.damage += sync.damage()
    sync("reset")
    r.close()
    volume.fail()
    if volume.mounted():
        if mutant:
            volume.shutdown()
        try:
            volume.umount()
        except RuntimeError as e:
            r.must(False, str(e))
    if not mutant:
        try:
            volume.check()
        except RuntimeError as e:
            r.must(False, f"fsck: {e}")
    return r


def main():
    dev, table, *names = sys.argv[1:]
    if not os.path.isdir(DEBUGFS + "/latchfs"):
        sh("mount", "-t", "debugfs", "none", DEBUGFS, check=False)
    volume, sync = Volume(dev), Sync()
    passed = failed = 0
    with open(table, "a", encoding="utf-8") as out:
        for name, mutant, scenario in RACES:
            if names and name not in names:
                continue
            t0 = time.monotonic()
            real = once(volume, sync, None, scenario)
            with_mutant = once(volume, sync, mutant, scenario)
            reached = not real.missing and not with_mutant.missing
            row = [mutant, name, "vm", "yes" if reached else "no",
                   "FAIL" if real.damage else "pass",
                   "caught" if with_mutant.damage else "MISSED",
                   "; ".join(dict.fromkeys(with_mutant.damage))]
            out.write("\t".join(row) + "\n")
            out.flush()
            good = reached and not real.damage and with_mutant.damage
            passed, failed = passed + bool(good), failed + (not good)
            print(f"{'ok' if good else 'not ok'} {name} ({time.monotonic() - t0:.0f} s)", *row[3:],
                  flush=True)
            for what, r in (("real build", real), ("mutant", with_mutant)):
                for line in r.missing:
                    print(f"    {what}: not reached: {line}")
            for line in real.damage:
                print(f"    real build: {line}")
    print(f"guest: {passed} passed, {failed} failed")
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
