#!/usr/bin/python3
"""What admin.sh needs and no program does.

  admin.py put PATH			write a file that can be checked, durably
  admin.py held PATH			check it
  admin.py fsync PATH			of a file or directory
  admin.py shutdown DIR HOW [--with-unsynced PATH]	FS_IOC_SHUTDOWN
  admin.py sysfs-path DIR, uuid DIR	what the ioctls say
  admin.py tree-block DEVICE DIR PATH	a block of the tree of a directory
  admin.py watch DIR ERRNOS -- CMD...	CMD makes fanotify report one of them
"""

# Each call is a program of its own in an emulated machine: what one verb needs only is imported there.
import fcntl
import os
import struct
import sys

SIZE = 300_000


def ioc(direction, kind, number, size):
    return direction << 30 | size << 16 | ord(kind) << 8 | number


FS_IOC_SHUTDOWN = ioc(2, "X", 125, 4)
FS_IOC_GETFSUUID = ioc(2, "\x15", 0, 17)
FS_IOC_GETFSSYSFSPATH = ioc(2, "\x15", 1, 129)
HOW = {"default": 0, "logflush": 1, "nologflush": 2}

FAN_CLASS_NOTIF, FAN_REPORT_FID = 0, 0x200
FAN_MARK_ADD, FAN_MARK_FILESYSTEM = 1, 0x100
FAN_FS_ERROR = 0x8000
FAN_EVENT_INFO_TYPE_ERROR = 5


def content(path):
    """Bytes that no other file has, at no other place."""
    name = os.path.basename(path).encode()
    return b"".join(b"%s %d\n" % (name, i) for i in range(SIZE // len(name)))[:SIZE]


def opened(path):
    return os.open(path, os.O_RDONLY)


def fsync(path):
    fd = opened(path)
    os.fsync(fd)
    os.close(fd)


def write(path):
    with open(path, "wb") as f:
        f.write(content(path))


def put(path):
    write(path)
    fsync(path)
    fsync(os.path.dirname(path))


def held(path):
    with open(path, "rb") as f:
        found = f.read()
    if found != content(path):
        sys.exit(f"{path}: not what was written ({len(found)} bytes)")


def shutdown(directory, how, late):
    fd = opened(directory)
    if late:
        write(late)
    fcntl.ioctl(fd, FS_IOC_SHUTDOWN, struct.pack("I", HOW[how] if how in HOW else int(how)))


def sysfs_path(directory):
    buf = fcntl.ioctl(opened(directory), FS_IOC_GETFSSYSFSPATH, bytes(129))
    return buf[1:1 + buf[0]].decode()


def fs_uuid(directory):
    import uuid
    return uuid.UUID(bytes=fcntl.ioctl(opened(directory), FS_IOC_GETFSUUID, bytes(17))[1:])


def tree_block(device, mounted, path):
    """The last node of the tree, which no mount reads."""
    import json
    import subprocess
    ino = os.stat(path).st_ino
    subprocess.run(["mount", "-o", "remount,ro", mounted], check=True)
    subprocess.run(["blockdev", "--flushbufs", device], check=True)
    out = subprocess.run(["latchfs", "tree", "--json", device, str(ino)], check=True,
                         capture_output=True, text=True).stdout
    blocks = []

    def walk(node):
        if isinstance(node, dict):
            if isinstance(node.get("block"), int):
                blocks.append(node["block"])
            node = list(node.values())
        if isinstance(node, list):
            for part in node:
                walk(part)

    walk(json.loads(out))
    if len(blocks) < 2:
        sys.exit(f"{path} has no tree")
    return blocks[-1]


def watch(directory, wanted, command):
    import ctypes
    import select
    import subprocess

    import sysc
    libc = sysc.libc
    fan = sysc.check(libc.fanotify_init(FAN_CLASS_NOTIF | FAN_REPORT_FID, os.O_RDONLY),
                     "fanotify_init")
    sysc.check(libc.fanotify_mark(fan, FAN_MARK_ADD | FAN_MARK_FILESYSTEM,
                                  ctypes.c_uint64(FAN_FS_ERROR), sysc.AT_FDCWD,
                                  os.fsencode(directory)), "fanotify_mark")
    subprocess.run(command, check=False)
    seen = []
    while select.select([fan], [], [], 20)[0]:
        data, at = os.read(fan, 4096), 0
        while at < len(data):
            length, _, _, head = struct.unpack_from("=IBBH", data, at)
            info = at + head
            while info < at + length:
                kind, _, size = struct.unpack_from("=BBH", data, info)
                if kind == FAN_EVENT_INFO_TYPE_ERROR:
                    seen.append(struct.unpack_from("=iI", data, info + 4)[0])
                info += size
            at += length
        if set(seen) & wanted:
            print(f"errors reported: {seen}")
            return
    sys.exit(f"errors reported: {seen}, wanted one of {wanted}")


def main(verb, args):
    if verb == "put":
        put(*args)
    elif verb == "held":
        held(*args)
    elif verb == "fsync":
        fsync(*args)
    elif verb == "shutdown":
        shutdown(args[0], args[1], args[3] if args[2:] else None)
    elif verb == "sysfs-path":
        print(sysfs_path(*args))
    elif verb == "uuid":
        print(fs_uuid(*args))
    elif verb == "tree-block":
        print(tree_block(*args))
    elif verb == "watch":
        watch(args[0], {int(e) for e in args[1].split(",")}, args[3:])
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    try:
        main(sys.argv[1], sys.argv[2:])
    except OSError as error:
        sys.exit(str(error))
