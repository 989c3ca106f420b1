#!/usr/bin/python3
"""Mount hostile images, one after the other, on one device in one boot.

    hostile.py run FSTYPE DEV BACKING DIR [--limit N]
    hostile.py make BASE DIR N [--span BYTES] [--seed S]

DIR has `base.img` and, for each image, one of
    NAME.patch  records of what differs from the base: offset (u64), length
                (u32), both little endian, then that many bytes
    NAME.img    a whole image, not longer than DEV
DEV is a loop device over the file BACKING (on tmpfs: it is written anew for each
image, and only where it is not zero).
A mount may fail or succeed; if it succeeds, everything below is listed and
read, and something is written.  Whatever happens, the kernel must not splat,
must not hang, and umount must end.

`make` is the simplest mutator: some flipped bytes in the first SPAN bytes.  A
better one knows the format and repairs the checksums.
"""

import argparse
import ctypes
import errno
import os
import random
import re
import signal
import struct
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
BLKFLSBUF = 0x1261
BLOCK = 4096
TIMEOUT = 60

# what a refused mount may say
REFUSALS = {errno.EUCLEAN, errno.EBADMSG, errno.EINVAL, errno.EIO, errno.EROFS, errno.ENOSPC,
            errno.ENOMEM, errno.EOPNOTSUPP, errno.EFBIG, errno.ENXIO, errno.ENODATA,
            errno.ENOENT, errno.EOVERFLOW}


class Timeout(Exception):
    pass


def on_alarm(_sig, _frame):
    raise Timeout


class KernelLog:
    """New lines of the kernel log since the last look."""

    def __init__(self):
        self.bad = re.compile(os.environ.get("LATCHFS_SPLAT", "BUG: |Oops"))
        self.ok = re.compile(os.environ.get("LATCHFS_SPLAT_OK", "^$"))
        self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        os.lseek(self.fd, 0, os.SEEK_END)

    def splats(self):
        found = []
        while True:
            try:
                line = os.read(self.fd, 8192).decode("utf-8", "replace")
            except BlockingIOError:
                return found
            except BrokenPipeError:     # the ring buffer went round
                continue
            if self.bad.search(line) and not self.ok.search(line):
                found.append(line.partition(";")[2].strip())


def records(path):
    with open(path, "rb") as f:
        data = f.read()
    at = 0
    while at < len(data):
        offset, length = struct.unpack_from("<QI", data, at)
        at += 12
        yield offset, data[at:at + length]
        at += length


class Device:
    """The one loop device and the file under it."""

    def __init__(self, path, backing, base):
        self.fd = os.open(path, os.O_RDWR)
        self.backing = os.open(backing, os.O_RDWR)
        self.size = os.fstat(self.backing).st_size
        with open(base, "rb") as f:
            self.base = f.read()
        if len(self.base) > self.size:
            sys.exit(f"hostile: {backing} is smaller than the base image")
        self.extents = list(self.used(self.base))

    @staticmethod
    def used(image):
        """What is not zero: pieces of whole blocks, as long as they get."""
        zero = bytes(BLOCK)
        start = 0
        for at in range(0, len(image), BLOCK):
            if image[at:at + BLOCK] == zero[:len(image) - at]:
                if start < at:
                    yield start, image[start:at]
                start = at + BLOCK
        if start < len(image):
            yield start, image[start:]

    def load(self, path):
        os.ftruncate(self.backing, 0)
        os.ftruncate(self.backing, self.size)
        if path.endswith(".img"):
            with open(path, "rb") as f:
                pieces = list(self.used(f.read()[:self.size]))
        else:
            pieces = self.extents + list(records(path))
        for at, data in pieces:
            if at < self.size:
                os.pwrite(self.backing, data[:self.size - at], at)
        # forget what the device has in memory of the last one
        if libc.ioctl(self.fd, BLKFLSBUF, 0) != 0:
            sys.exit("hostile: BLKFLSBUF: " + os.strerror(ctypes.get_errno()))


def use(mnt, limit=400):
    """List, read, change; errors are fine."""
    count = 0
    for top, dirs, files in os.walk(mnt, onerror=lambda e: None):
        for name in dirs + files:
            count += 1
            if count > limit:
                return count
            path = os.path.join(top, name)
            try:
                st = os.lstat(path)
                if (st.st_mode & 0o170000) == 0o120000:
                    os.readlink(path)
                elif (st.st_mode & 0o170000) == 0o100000:
                    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                    try:
                        os.pread(fd, 65536, 0)
                        os.pread(fd, 4096, max(0, st.st_size - 4096))
                        os.lseek(fd, 0, os.SEEK_HOLE)
                    finally:
                        os.close(fd)
            except (OSError, ValueError, OverflowError):
                pass
    return count


def change(mnt):
    steps = (lambda: write_new(mnt + "/hostile-new"),
             lambda: os.mkdir(mnt + "/hostile-dir"),
             lambda: os.rename(mnt + "/hostile-new", mnt + "/hostile-dir/moved"),
             lambda: append_first(mnt),
             lambda: unlink_some(mnt))
    for step in steps:
        try:
            step()
        except OSError:
            pass


def write_new(path):
    fd = os.open(path, os.O_CREAT | os.O_WRONLY)
    try:
        os.write(fd, b"x" * 20000)
        os.fsync(fd)
    finally:
        os.close(fd)


def append_first(mnt):
    for name in sorted(os.listdir(mnt))[:5]:
        path = os.path.join(mnt, name)
        if os.path.isfile(path):
            with open(path, "ab") as f:
                f.write(b"appended" * 1000)
            os.truncate(path, 100)
            return


def unlink_some(mnt):
    for top, _dirs, files in os.walk(mnt, onerror=lambda e: None):
        for name in files[:20]:
            os.unlink(os.path.join(top, name))
        return


def mount(fstype, dev, mnt):
    if libc.mount(dev.encode(), mnt.encode(), fstype.encode(), 0, None) == 0:
        return 0
    return ctypes.get_errno()


def umount(mnt):
    for _ in range(50):
        if libc.umount2(mnt.encode(), 0) == 0:
            return
        if ctypes.get_errno() != errno.EBUSY:
            raise OSError(ctypes.get_errno(), "umount")
        time.sleep(0.1)
    raise OSError(errno.EBUSY, "umount")


def one(args, dev, mnt, path, counts):
    """Mount that image; the reason of a failure or None."""
    dev.load(path)
    signal.alarm(TIMEOUT)
    try:
        code = mount(args.fstype, args.dev, mnt)
        if code:
            counts[errno.errorcode.get(code, str(code))] = \
                counts.get(errno.errorcode.get(code, str(code)), 0) + 1
            return None if code in REFUSALS else f"mount: {os.strerror(code)}"
        counts["mounted"] = counts.get("mounted", 0) + 1
        try:
            use(mnt)
            change(mnt)
        finally:
            umount(mnt)
    except Timeout:
        return f"not done in {TIMEOUT} s"
    except OSError as e:
        return str(e)
    finally:
        signal.alarm(0)
    return None


def run(args):
    images = sorted(f for f in os.listdir(args.dir)
                    if f.endswith((".patch", ".img")) and f != "base.img")
    images = images[:args.limit or None]
    if not images:
        sys.exit(f"hostile: no image in {args.dir}")
    mnt = "/tmp/hostile"
    os.makedirs(mnt, exist_ok=True)
    signal.signal(signal.SIGALRM, on_alarm)
    dev = Device(args.dev, args.backing, os.path.join(args.dir, "base.img"))
    log = KernelLog()
    counts, failed = {}, 0
    for i, name in enumerate(images):
        reason = one(args, dev, mnt, os.path.join(args.dir, name), counts)
        for splat in log.splats():
            reason = reason or "kernel log: " + splat
        if reason:
            failed += 1
            print(f"hostile image {name}: {reason}", flush=True)
        if failed > 10:
            print("hostile: more than ten failures, giving up", flush=True)
            break
        if i % 50 == 49:
            print(f"   {i + 1} of {len(images)} images", flush=True)
    print(f"# {len(images)} hostile images: "
          + ", ".join(f"{n} {what}" for what, n in sorted(counts.items())))
    if failed:
        print(f"{failed} of {len(images)} hostile images failed")
    return 1 if failed else 0


def make(args):
    os.makedirs(args.dir, exist_ok=True)
    with open(args.base, "rb") as f:
        base = f.read()
    with open(os.path.join(args.dir, "base.img"), "wb") as f:
        f.write(base)
    rng = random.Random(args.seed)
    # bytes that say something are worth more than the zeros between them
    used = [at for at in range(0, min(args.span, len(base)), 512) if any(base[at:at + 512])]
    for n in range(args.count):
        with open(os.path.join(args.dir, f"flip-{n:04d}.patch"), "wb") as f:
            for _ in range(rng.choice((1, 1, 2, 5, 20))):
                at = rng.choice(used) + rng.randrange(512)
                value = rng.choice((base[at] ^ (1 << rng.randrange(8)), 0, 255, rng.randrange(256)))
                f.write(struct.pack("<QIB", at, 1, value))
    return 0


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    sub = p.add_subparsers(dest="verb", required=True)
    r = sub.add_parser("run")
    r.add_argument("fstype")
    r.add_argument("dev")
    r.add_argument("backing")
    r.add_argument("dir")
    r.add_argument("--limit", type=int, default=0)
    m = sub.add_parser("make")
    m.add_argument("base")
    m.add_argument("dir")
    m.add_argument("count", type=int)
    m.add_argument("--span", type=int, default=8 << 20)
    m.add_argument("--seed", type=int, default=1)
    args = p.parse_args()
    return run(args) if args.verb == "run" else make(args)


if __name__ == "__main__":
    sys.exit(main())
