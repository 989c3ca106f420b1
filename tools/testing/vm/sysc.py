"""System calls that Python does not have, for posix.py."""

import ctypes
import os
import struct

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long

AT_FDCWD = -100
AT_EMPTY_PATH = 0x1000
AT_SYMLINK_FOLLOW = 0x400
AT_SYMLINK_NOFOLLOW = 0x100
AT_RECURSIVE = 0x8000

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2
RENAME_WHITEOUT = 4

STATX_BASIC_STATS = 0x7FF
STATX_BTIME = 0x800
STATX_DIOALIGN = 0x2000
STATX_ATTR_IMMUTABLE = 0x10
STATX_ATTR_APPEND = 0x20
STATX_ATTR_NODUMP = 0x40

# x86-64
NR_STATX = 332
NR_RENAMEAT2 = 316
NR_OPEN_TREE = 428
NR_MOVE_MOUNT = 429
NR_MOUNT_SETATTR = 442

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
MOVE_MOUNT_F_EMPTY_PATH = 4
MOUNT_ATTR_IDMAP = 0x100000
CLONE_NEWUSER = 0x10000000

FS_IOC_GETFLAGS = 0x80086601
FS_IOC_SETFLAGS = 0x40086602
FS_APPEND_FL = 0x20
FS_IMMUTABLE_FL = 0x10
FS_NODUMP_FL = 0x40
FS_NOATIME_FL = 0x80
FS_IOC_FIEMAP = 0xC020660B


def check(result, what):
    if result < 0:
        e = ctypes.get_errno()
        raise OSError(e, os.strerror(e), what)
    return result


def on_latchfs(path):
    """Whether that is on our file system (the tests also run on others)."""
    return fs_magic(path) == 0x4C544348


def fs_magic(path):
    buf = ctypes.create_string_buffer(256)
    check(libc.statfs(os.fsencode(path), buf), f"statfs {path}")
    return struct.unpack_from("<l", buf.raw)[0]


def renameat2(old, new, flags):
    check(libc.syscall(NR_RENAMEAT2, AT_FDCWD, os.fsencode(old), AT_FDCWD, os.fsencode(new),
                       flags), f"renameat2 {old} {new}")


def linkat_fd(fd, path):
    check(libc.linkat(AT_FDCWD, f"/proc/self/fd/{fd}".encode(), AT_FDCWD, os.fsencode(path),
                      AT_SYMLINK_FOLLOW), f"linkat {path}")


class Statx:
    """The fields of struct statx that the tests look at."""

    def __init__(self, path, mask=STATX_BASIC_STATS | STATX_BTIME | STATX_DIOALIGN):
        buf = ctypes.create_string_buffer(256)
        check(libc.syscall(NR_STATX, AT_FDCWD, os.fsencode(path), AT_SYMLINK_NOFOLLOW,
                           mask, buf), f"statx {path}")
        raw = buf.raw
        self.mask, self.blksize, self.attributes = struct.unpack_from("<IIQ", raw, 0)
        self.nlink, self.uid, self.gid, self.mode = struct.unpack_from("<IIIH", raw, 16)
        self.ino, self.size, self.blocks, self.attributes_mask = \
            struct.unpack_from("<QQQQ", raw, 32)
        self.atime, self.btime, self.ctime, self.mtime = (
            self.stamp(raw, at) for at in (64, 80, 96, 112))
        self.dio_mem_align, self.dio_offset_align = struct.unpack_from("<II", raw, 152)

    @staticmethod
    def stamp(raw, at):
        sec, nsec = struct.unpack_from("<qI", raw, at)
        return sec * 10**9 + nsec


def idmapped_mount(source, target, userns_fd):
    """A copy of the mount `source` at `target`, with the map of that namespace."""
    tree = check(libc.syscall(NR_OPEN_TREE, AT_FDCWD, os.fsencode(source),
                              OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC), "open_tree")
    attr = struct.pack("<QQQQ", MOUNT_ATTR_IDMAP, 0, 0, userns_fd)
    check(libc.syscall(NR_MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH | AT_RECURSIVE,
                       attr, len(attr)), "mount_setattr")
    check(libc.syscall(NR_MOVE_MOUNT, tree, b"", AT_FDCWD, os.fsencode(target),
                       MOVE_MOUNT_F_EMPTY_PATH), "move_mount")
    os.close(tree)


class UserNamespace:
    """A process that only holds a user namespace with uid and gid maps."""

    def __init__(self, inside, outside, count):
        ready_r, ready_w = os.pipe()
        self.end_r, self.end_w = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.end_w)
            if libc.unshare(CLONE_NEWUSER) != 0:
                os._exit(1)
            os.write(ready_w, b"x")
            os.read(self.end_r, 1)
            os._exit(0)
        os.close(self.end_r)
        os.close(ready_w)
        if os.read(ready_r, 1) != b"x":
            raise OSError("no user namespace")
        os.close(ready_r)
        for kind in ("uid", "gid"):
            with open(f"/proc/{self.pid}/{kind}_map", "w", encoding="ascii") as f:
                f.write(f"{inside} {outside} {count}\n")
        self.fd = os.open(f"/proc/{self.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)

    def close(self):
        os.close(self.fd)
        os.close(self.end_w)
        os.waitpid(self.pid, 0)
