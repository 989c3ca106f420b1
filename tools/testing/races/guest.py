#!/usr/bin/python3
"""Races in the kernel: the guest's half of `make races`.

    guest.py DEVICE TABLE [NAME...]

Each reproducer forces one interleaving by sync points (debugfs) and errors of
the device (device mapper), on the real build and on its mutant.  It passes if
the interleaving was reached in both, the real build did no damage, and the
mutant did.  Rows for the table go to TABLE; the last line is `guest: N passed, N
failed`.
"""

import os
import sys
import time

import data
from machine import DEBUGFS, LEN, MNT, OneCpu, Sync, Task, Volume, blocks_of, sh, until


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
    s(f"arm buf.ioend.after_detach park key={block} limit=60000")
    v.fail(block)
    v.probe("push")
    s.held("buf.ioend.after_detach")
    r.reached(v.ail()["failed"], "a write that fails")
    # the next try waits in the device mapper while the trap is set
    v.suspend()
    s("release buf.ioend.after_detach")
    until(lambda: v.ail()["failed"] == 0, "it is not tried again")
    s(f"arm buf.ioend.before_items park key={block} limit=60000")
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
    if r.mutant:
        until(s.damage, "the push does nothing with the item")
    r.must(v.mode(ino) == 0o640, "what was committed is not on disk")


def t_000_c(r):
    """Unmount while an inode is being freed."""
    v, s = r.v, r.s
    path, _, _ = r.file()
    s("arm inodegc.item park limit=60000")
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
    s(f"arm eb.read.before_end park key={block} limit=60000")
    # names only: the inodes are read ahead
    with os.scandir(path) as entries:
        r.reached(len([e.name for e in entries]) == 64, "names")
    s.held("eb.read.before_end")
    unmount = Task(v.umount)
    # the mutant does not wait here, but behind the buffers for the workers that end reads
    until(lambda: s.hits("eb.purge.waits") or s.hits("eb.purge.done"),
          "unmount does not come to the buffers")
    s("release eb.read.before_end")
    unmount.end()
    r.passed("eb.read.before_end")
    if r.mutant:
        until(s.damage, "the read ends as if nothing had happened")


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
    s(f"arm eb.insert.before park key={block} limit=60000")
    one = Task(lambda: os.chmod(first, 0o640))
    s.held("eb.insert.before")
    two = Task(lambda: os.chmod(second, 0o604))
    until(lambda: not two.is_alive() or s.arm("eb.insert.before")[1] > 1, "nobody else comes")
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


def t_002_f(r):
    """The end of a block's read is held; others are read, and many are written at once."""
    v, s = r.v, r.s
    path, others = r.many(), [f"{MNT}/others/{n}" for n in range(800)]
    os.mkdir(f"{MNT}/others")
    for other in others:
        with open(other, "w", encoding="ascii"):
            pass
    block = v.inode_block(f"{path}/30")
    # eight inodes are in a block
    numbers = {name: os.stat(f"{path}/{name}").st_ino // 8 for name in os.listdir(path)}
    elsewhere = [f"{path}/{name}" for name in numbers if numbers[name] != numbers["30"]]
    v.settle()
    v.umount()
    with OneCpu():
        v.mount()
        # whatever is read from here on may be what waits: only what is looked at below
        for other in others:
            os.stat(other)
        s(f"arm eb.read.before_end park key={block} limit=60000")
        # names only: the inodes are read ahead
        with os.scandir(path) as entries:
            r.reached(len([e.name for e in entries]) == 64, "names")
        s.held("eb.read.before_end")
        for other in others:
            os.chmod(other, 0o600)
        os.sync()
        v.suspend()
        v.probe("push")
        until(lambda: v.ail()["writes"] >= 90, "the pusher does not come")
        v.resume()
        look = Task(lambda: [os.stat(other) for other in elsewhere])
        try:
            until(lambda: v.ail()["listed"] == 0 and not look.is_alive(), "", 10)
        except TimeoutError:
            r.must(False, "the end of a block's I/O waits for that of another one's read")
        s("release eb.read.before_end")
        look.end()
        r.passed("eb.read.before_end")
        v.settle()


RACES = [
    ("T-001-A", "seed001", data.t_001_a),
    ("T-001-E", "seed001-wait", data.t_001_e),
    ("T-003-A", "seed003", data.t_003_a),
    ("T-004-A", "seed004", data.t_004_a),
    ("T-004-B", "seed004-valid", data.t_004_b),
    ("T-000-A", "seed000", t_000_a),
    ("T-000-B", "seed000-sibling", t_000_b),
    ("T-000-C", "unmount-order", t_000_c),
    ("T-000-D", "seed000-retry", t_000_d),
    ("T-002-A", "seed002", t_002_a),
    ("T-002-B", "seed002-reclaim", t_002_b),
    ("T-002-C", "seed002-purge", t_002_c),
    ("T-002-D", "seed002-insert", t_002_d),
    ("T-002-E", "seed002-gap", t_002_e),
    ("T-002-F", "seed002-address", t_002_f),
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
