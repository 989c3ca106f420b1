#!/usr/bin/python3
"""Put each line of standard input as a mark into the log of a dm-log-writes device.

    dmmark.py NAME

Answers each line with `ok` when the mark is in the log.  `dmsetup message` does
the same in a process for each mark, which takes longer than what is marked.
"""

import fcntl
import struct
import sys

HEADER = 312            # sizeof(struct dm_ioctl)
TARGET_MSG = (3 << 30) | (HEADER << 16) | (0xfd << 8) | 14


def message(control, name, text):
    body = struct.pack("<Q", 0) + text.encode() + b"\0"
    size = HEADER + len(body)
    head = struct.pack("<IIIIIIiIIIQ", 4, 0, 0, size, HEADER, 0, 0, 0, 0, 0, 0)
    head += name.encode().ljust(128, b"\0") + bytes(129 + 7)
    fcntl.ioctl(control, TARGET_MSG, bytearray(head + body), True)


def main():
    name = sys.argv[1]
    with open("/dev/mapper/control", "r+b", buffering=0) as control:
        for line in sys.stdin:
            # one argument: blanks are quoted
            message(control, name, "mark " + line.strip().replace(" ", "\\ "))
            print("ok", flush=True)


if __name__ == "__main__":
    main()
