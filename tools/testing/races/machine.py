"""What the reproducers in the guest stand on: tasks, sync points, the device."""

import fcntl
import json
import os
import re
import struct
import subprocess
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


class OneCpu:
    """For a while, this task and the workers that are bound to no CPU run on CPU 0 only: what one
    of them gives back is there for the next one of them."""

    PATH = "/sys/devices/virtual/workqueue/cpumask"

    def __init__(self):
        self.cpus = os.sched_getaffinity(0)
        with open(self.PATH, encoding="ascii") as f:
            self.workers = f.read().strip()

    def __enter__(self):
        os.sched_setaffinity(0, {0})
        poke(self.PATH, "1")

    def __exit__(self, *_):
        poke(self.PATH, self.workers)
        os.sched_setaffinity(0, self.cpus)


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
