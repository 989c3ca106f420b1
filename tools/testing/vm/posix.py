#!/usr/bin/python3
"""What POSIX and Linux promise of names, attributes and file data, checked on
the file system mounted at DIR.  Usage: posix.py DIR [NAME...]
"""

import errno
import fcntl
import mmap
import os
import stat
import struct
import sys

import sysc
from checks import check, fails, main, read, remount, same, write

# ---- names

@check
def rename_replaces():
    write("a", b"a")
    write("b", b"b")
    os.rename("a", "b")
    same(read("b"), b"a")
    fails(errno.ENOENT, os.stat, "a")
    os.link("b", "c")
    os.rename("b", "c")     # two names of one inode: nothing happens
    same(sorted(os.listdir(".")), ["b", "c"])
    same(os.stat("b").st_nlink, 2)


@check
def rename_directories():
    os.makedirs("a/b")
    os.mkdir("c")
    fails(errno.EINVAL, os.rename, "a", "a/b/x")
    same(os.stat("a").st_nlink, 3, "links of a")
    os.rename("a/b", "c/b")
    same(os.stat("a").st_nlink, 2, "links of a")
    same(os.stat("c").st_nlink, 3, "links of c")
    same(os.stat("c/b/..").st_ino, os.stat("c").st_ino, "parent of a moved directory")
    write("c/b/file")
    fails(errno.ENOTEMPTY, os.rename, "a", "c/b")
    os.unlink("c/b/file")
    os.rename("a", "c/b")
    same(os.listdir("."), ["c"])
    write("f")
    fails(errno.ENOTDIR, os.rename, "c", "f")
    fails(errno.EISDIR, os.rename, "f", "c")


@check
def rename_noreplace():
    write("a", b"a")
    write("b", b"b")
    fails(errno.EEXIST, sysc.renameat2, "a", "b", sysc.RENAME_NOREPLACE)
    sysc.renameat2("a", "c", sysc.RENAME_NOREPLACE)
    same(sorted(os.listdir(".")), ["b", "c"])


@check
def rename_exchange():
    write("a", b"a")
    os.makedirs("d/sub")
    sysc.renameat2("a", "d", sysc.RENAME_EXCHANGE)
    same(read("d"), b"a")
    same(os.listdir("a"), ["sub"])
    os.mkdir("other")
    write("other/file", b"f")
    sysc.renameat2("a", "other/file", sysc.RENAME_EXCHANGE)
    same(os.stat("other").st_nlink, 3, "links of the directory that got one")
    same(os.stat("other/file/..").st_ino, os.stat("other").st_ino, "..")
    same(read("a"), b"f")
    fails(errno.ENOENT, sysc.renameat2, "a", "none", sysc.RENAME_EXCHANGE)


@check
def rename_whiteout():
    write("a", b"a")
    sysc.renameat2("a", "b", sysc.RENAME_WHITEOUT)
    st = os.lstat("a")
    same((stat.S_ISCHR(st.st_mode), st.st_rdev), (True, 0), "whiteout")
    same(read("b"), b"a")


@check
def long_names():
    longest = "n" * 255
    write(longest, b"long")
    same(read(longest), b"long")
    fails(errno.ENAMETOOLONG, os.open, "n" * 256, os.O_CREAT | os.O_WRONLY)
    raw = bytes(b for b in range(1, 256) if b != ord("/"))
    write(raw, b"raw")
    same(sorted(os.listdir(b".")), sorted([longest.encode(), raw]))
    os.mkdir("d" * 255)
    os.rename("d" * 255, "e" * 255)
    os.rmdir("e" * 255)


@check
def many_names():
    """Cookies: a listing in small pieces while entries go sees the rest once."""
    names = [f"file-{i:05d}-{'x' * (i % 50)}" for i in range(1500)]
    for name in names:
        write(name)
    same(sorted(os.listdir(".")), names, "listing")
    seen = []
    with os.scandir(".") as it:
        for i, entry in enumerate(it):
            seen.append(entry.name)
            if i % 3 == 0:
                os.unlink(entry.name)
    same(sorted(seen), names, "listing while deleting")
    same(len(os.listdir(".")), 1000)
    for name in os.listdir("."):
        os.unlink(name)
    same(os.listdir("."), [])


@check
def links():
    write("a", b"x")
    for i in range(200):
        os.link("a", f"l{i}")
    same(os.stat("a").st_nlink, 201)
    fails(errno.EEXIST, os.link, "a", "l0")
    os.mkdir("d")
    fails(errno.EPERM, os.link, "d", "e")
    for i in range(200):
        os.unlink(f"l{i}")
    same(os.stat("a").st_nlink, 1)


@check
def symlinks():
    for n in (1, 59, 60, 100, 500, 1000, 4095):
        target = "t" * n
        os.symlink(target, f"s{n}")
        same(os.lstat(f"s{n}").st_size, n)
    remount()
    for n in (1, 59, 60, 100, 500, 1000, 4095):
        same(os.readlink(f"s{n}"), "t" * n)
    fails(errno.ENAMETOOLONG, os.symlink, "t" * 4096, "toolong")
    os.symlink("loop", "loop")
    fails(errno.ELOOP, os.open, "loop", os.O_RDONLY)


@check
def special_files():
    for name, mode, dev in (("fifo", stat.S_IFIFO, 0), ("sock", stat.S_IFSOCK, 0),
                            ("chr", stat.S_IFCHR, os.makedev(1, 3)),
                            ("blk", stat.S_IFBLK, os.makedev(7, 300))):
        os.mknod(name, mode | 0o640, dev)
    remount()
    same(os.stat("chr").st_rdev, os.makedev(1, 3))
    same(os.stat("blk").st_rdev, os.makedev(7, 300))
    same([stat.S_IFMT(os.stat(n).st_mode) for n in ("fifo", "sock", "chr", "blk")],
         [stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])
    with open("chr", "rb") as f:    # it is /dev/null
        same(f.read(), b"")


@check
def unlinked_open():
    fd = os.open("a", os.O_CREAT | os.O_RDWR)
    os.write(fd, b"x" * 100_000)
    os.unlink("a")
    same(os.fstat(fd).st_nlink, 0)
    remount()
    same(os.pread(fd, 200_000, 0), b"x" * 100_000)
    os.pwrite(fd, b"y", 5_000_000)
    same(os.fstat(fd).st_size, 5_000_001)
    fails(errno.ENOENT, sysc.linkat_fd, fd, "again")
    os.close(fd)
    os.mkdir("d")
    fd = os.open("d", os.O_RDONLY | os.O_DIRECTORY)
    os.rmdir("d")
    fails(errno.ENOENT, os.open, "x", os.O_CREAT | os.O_WRONLY, 0o600, dir_fd=fd)
    same(os.listdir(fd), [])
    os.close(fd)


@check
def tmpfile():
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR, 0o600)
    os.write(fd, b"anonymous")
    same(os.fstat(fd).st_nlink, 0)
    same(os.listdir("."), [])
    sysc.linkat_fd(fd, "named")
    same(os.fstat(fd).st_nlink, 1)
    os.close(fd)
    same(read("named"), b"anonymous")
    fd = os.open(".", os.O_TMPFILE | os.O_RDWR | os.O_EXCL, 0o600)
    fails(errno.ENOENT, sysc.linkat_fd, fd, "never")
    os.close(fd)


# ---- attributes

@check
def owners_and_modes():
    os.mkdir("d")
    os.chown("d", 10, 20)
    os.chmod("d", 0o2775)
    write("d/f")
    same(os.stat("d/f").st_gid, 20, "group from a setgid directory")
    os.mkdir("d/sub")
    same(stat.S_IMODE(os.stat("d/sub").st_mode) & 0o2000, 0o2000, "setgid of a subdirectory")
    os.chmod("d/f", 0o6755)
    os.chown("d/f", 30, 40)
    same(stat.S_IMODE(os.stat("d/f").st_mode), 0o755, "setuid after chown")
    os.chown("d/f", 4_000_000_000, 4_000_000_001)
    remount()
    st = os.stat("d/f")
    same((st.st_uid, st.st_gid), (4_000_000_000, 4_000_000_001))


@check
def timestamps():
    stamps = (-2_000_000_000 * 10**9 + 1, -1, 0, 123_456_789, 2**31 * 10**9 + 999_999_999,
              4_295_000_000 * 10**9 + 5)
    for i, t in enumerate(stamps):
        write(f"f{i}")
        os.utime(f"f{i}", ns=(t, t))
    os.symlink("nowhere", "link")
    os.utime("link", ns=(77, 88), follow_symlinks=False)
    remount()
    for i, t in enumerate(stamps):
        st = os.stat(f"f{i}")
        same((st.st_atime_ns, st.st_mtime_ns), (t, t), f"f{i}")
    same(os.lstat("link").st_mtime_ns, 88)


@check
def times_move():
    write("f", b"x")
    os.utime("f", ns=(0, 0))
    os.utime(".", ns=(0, 0))
    old = sysc.Statx("f")
    os.chmod("f", 0o600)
    new = sysc.Statx("f")
    assert new.ctime > old.ctime, "chmod does not change ctime"
    same(new.mtime, 0, "mtime after chmod")
    with open("f", "ab") as f:
        f.write(b"y")
    assert sysc.Statx("f").mtime > 0, "write does not change mtime"
    os.link("f", "g")
    st = sysc.Statx(".")
    assert st.mtime > 0 and st.ctime > 0, "link does not change the directory's times"
    os.utime(".", ns=(0, 0))
    os.unlink("g")
    assert sysc.Statx(".").mtime > 0, "unlink does not change the directory's times"
    os.utime("f", ns=(0, 0))
    os.truncate("f", 0)
    assert sysc.Statx("f").mtime > 0, "truncate does not change mtime"


@check
def birth_time():
    write("f")
    st = sysc.Statx("f")
    assert st.mask & sysc.STATX_BTIME, "no birth time"
    os.utime("f", ns=(5, 5))
    write("f", b"later")
    remount()
    same(sysc.Statx("f").btime, st.btime, "birth time after a change")


ALL_FLAGS = (sysc.FS_IMMUTABLE_FL | sysc.FS_APPEND_FL | sysc.FS_NODUMP_FL |
             sysc.FS_NOATIME_FL)


def set_flags(path, flags):
    """Of the flags the tests know exactly these; others stay (ext4 has some
    that cannot be taken away)."""
    flags |= get_flags(path) & ~ALL_FLAGS
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, sysc.FS_IOC_SETFLAGS, struct.pack("l", flags))
    finally:
        os.close(fd)


def get_flags(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        return struct.unpack("i", fcntl.ioctl(fd, sysc.FS_IOC_GETFLAGS, b"\0" * 8)[:4])[0]
    finally:
        os.close(fd)


@check
def immutable():
    write("f", b"data")
    os.mkdir("d")
    write("d/f")
    try:
        for path in ("f", "d"):
            set_flags(path, sysc.FS_IMMUTABLE_FL)
            assert get_flags(path) & sysc.FS_IMMUTABLE_FL, "flag not there"
        fails(errno.EPERM, os.open, "f", os.O_WRONLY)
        fails(errno.EPERM, os.unlink, "f")
        fails(errno.EPERM, os.rename, "f", "g")
        fails(errno.EPERM, os.link, "f", "g")
        fails(errno.EPERM, os.chmod, "f", 0o600)
        fails(errno.EPERM, os.unlink, "d/f")
        fails(errno.EPERM, os.open, "d/new", os.O_CREAT | os.O_WRONLY)
        assert sysc.Statx("f").attributes & sysc.STATX_ATTR_IMMUTABLE, "statx does not say so"
    finally:
        set_flags("f", 0)
        set_flags("d", 0)
    os.unlink("d/f")


@check
def append_only():
    write("f", b"data")
    try:
        set_flags("f", sysc.FS_APPEND_FL)
        fails(errno.EPERM, os.open, "f", os.O_WRONLY)
        fails(errno.EPERM, os.truncate, "f", 0)
        fails(errno.EPERM, os.unlink, "f")
        with open("f", "ab") as f:
            f.write(b"more")
        same(read("f"), b"datamore")
    finally:
        set_flags("f", 0)


@check
def noatime_flag():
    write("f", b"data")
    set_flags("f", sysc.FS_NOATIME_FL | sysc.FS_NODUMP_FL)
    remount()
    same(get_flags("f") & (sysc.FS_NOATIME_FL | sysc.FS_NODUMP_FL),
         sysc.FS_NOATIME_FL | sysc.FS_NODUMP_FL)
    os.utime("f", ns=(0, 10))
    read("f")
    same(os.stat("f").st_atime_ns, 0, "atime with chattr +A")
    set_flags("f", 0)
    read("f")
    assert os.stat("f").st_atime_ns > 0, "atime without it (relatime, older than mtime)"


# ---- data

@check
def sparse():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    for mib in (1, 5, 1000):
        os.pwrite(fd, b"x" * 4096, mib << 20)
    os.fsync(fd)
    assert os.fstat(fd).st_blocks < 400, f"{os.fstat(fd).st_blocks} sectors for 3 blocks"
    same(os.pread(fd, 4096, 2 << 20), b"\0" * 4096)
    # SEEK_DATA may be coarse but never skip data, SEEK_HOLE never skip a hole here
    pos, found = 0, []
    while True:
        try:
            start = os.lseek(fd, pos, os.SEEK_DATA)
        except OSError as e:
            same(e.errno, errno.ENXIO)
            break
        pos = os.lseek(fd, start, os.SEEK_HOLE)
        found.append((start, pos))
    same(found, [(m << 20, (m << 20) + 4096) for m in (1, 5, 1000)], "data ranges")
    fails(errno.ENXIO, os.lseek, fd, 1 << 40, os.SEEK_HOLE)
    os.ftruncate(fd, 1 << 40)
    same(os.lseek(fd, 1 << 39, os.SEEK_HOLE), 1 << 39)
    os.close(fd)


@check
def truncate_zeroes():
    write("f", b"x" * 10_000)
    os.truncate("f", 5_000)
    os.truncate("f", 10_000)
    same(read("f"), b"x" * 5_000 + b"\0" * 5_000)
    remount()
    same(read("f"), b"x" * 5_000 + b"\0" * 5_000)
    fd = os.open("f", os.O_RDWR)
    os.pwrite(fd, b"y", 20_000)
    same(os.pread(fd, 10_001, 10_000), b"\0" * 10_000 + b"y")
    os.ftruncate(fd, 100)
    with mmap.mmap(fd, 100) as m:
        m[0:1] = b"z"
    os.ftruncate(fd, 4096)
    same(os.pread(fd, 4096, 0), b"z" + b"x" * 99 + b"\0" * 3996)
    os.close(fd)


@check
def sizes():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    fails(errno.EINVAL, os.ftruncate, fd, -1)
    for size in (1 << 31, (1 << 32) + 1, 1 << 40):
        os.ftruncate(fd, size)
        same(os.fstat(fd).st_size, size)
    os.pwrite(fd, b"end", (1 << 40) - 3)
    os.fsync(fd)
    remount()
    same(os.pread(fd, 10, (1 << 40) - 3), b"end")
    os.ftruncate(fd, 0)
    same(os.fstat(fd).st_blocks, 0)
    os.close(fd)


@check
def append():
    fds = [os.open("f", os.O_CREAT | os.O_WRONLY | os.O_APPEND) for _ in range(2)]
    for i in range(100):
        os.write(fds[i % 2], b"%03d\n" % i)
    for fd in fds:
        os.close(fd)
    same(read("f"), b"".join(b"%03d\n" % i for i in range(100)))


@check
def mapped():
    fd = os.open("f", os.O_CREAT | os.O_RDWR)
    os.ftruncate(fd, 1 << 20)
    with mmap.mmap(fd, 1 << 20) as m:
        same(m[500_000], 0)
        for at in range(0, 1 << 20, 65_536):
            m[at:at + 4] = struct.pack("<I", at)
        os.pwrite(fd, b"through write", 1000)
        same(m[1000:1013], b"through write")
        m.flush()
        remount()
        for at in range(0, 1 << 20, 65_536):
            same(struct.unpack("<I", os.pread(fd, 4, at))[0], at)
    os.close(fd)


@check
def direct():
    write("f", bytes(i * 7 & 255 for i in range(70_000)))
    os.sync()
    fd = os.open("f", os.O_RDWR | os.O_DIRECT)
    with mmap.mmap(-1, 65_536) as buf:
        same(os.preadv(fd, [memoryview(buf)[:8192]], 4096), 8192)
        same(buf[:8192], bytes(i * 7 & 255 for i in range(4096, 12_288)))
        # the end of the file is not aligned
        same(os.preadv(fd, [memoryview(buf)[:8192]], 65_536), 70_000 - 65_536)
        same(os.preadv(fd, [memoryview(buf)[:4096]], 73_728), 0)
        buf[:4096] = b"d" * 4096
        same(os.pwritev(fd, [memoryview(buf)[:4096]], 8192), 4096)
    os.close(fd)
    same(read("f")[8192:12_288], b"d" * 4096)
    same(len(read("f")), 70_000)


@check
def fsync_everything():
    os.mkdir("d")
    for path, flags in (("d", os.O_RDONLY), ("d/f", os.O_CREAT | os.O_RDWR)):
        fd = os.open(path, flags)
        if flags:
            os.write(fd, b"x" * 10_000)
            os.fdatasync(fd)
        os.fsync(fd)
        os.close(fd)
    os.sync()


@check
def idmapped():
    ns = sysc.UserNamespace(0, 100_000, 65_536)
    target = "/tmp/idmapped"
    os.makedirs(target, exist_ok=True)
    write("mine")
    os.chown("mine", 1000, 1000)
    try:
        sysc.idmapped_mount(os.getcwd(), target, ns.fd)
        try:
            same(os.stat(target + "/mine").st_uid, 101_000, "owner through the mount")
            # the file system's id of a file made by the map's root is 0
            pid = os.fork()
            if pid == 0:
                try:
                    os.chmod(target, 0o777)
                except OSError:
                    pass
                os.setgid(100_000)
                os.setuid(100_000)
                write(target + "/new")
                os._exit(0)
            same(os.waitpid(pid, 0)[1], 0, "create through the mount")
            same(os.stat("new").st_uid, 0, "owner on disk")
            fails(errno.EOVERFLOW, write, target + "/unmapped")
        finally:
            sysc.libc.umount2(target.encode(), 2)
    finally:
        ns.close()


if __name__ == "__main__":
    sys.exit(main("posix"))
