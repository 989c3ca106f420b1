#!/usr/bin/python3
"""Shut a mounted file system down: shutdown.py DIR default|logflush|nologflush"""

import fcntl
import os
import struct
import sys

SHUTDOWN = (2 << 30) | (4 << 16) | (ord("X") << 8) | 125    # FS_IOC_SHUTDOWN
HOW = {"default": 0, "logflush": 1, "nologflush": 2}

fd = os.open(sys.argv[1], os.O_RDONLY)
fcntl.ioctl(fd, SHUTDOWN, struct.pack("I", HOW[sys.argv[2]]))
