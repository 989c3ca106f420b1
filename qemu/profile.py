#!/usr/bin/python3
"""Where a guest spends its time: samples of both CPUs, through QEMU's gdb stub.

    profile.py DIR

DIR is shared with the guest, which writes /proc/kallsyms to DIR/kallsyms, and to
DIR/phase what it is doing: samples are taken while that is not empty, and the
report is made when it says "end" or the guest is gone.  DIR/gdb is the stub's
socket.  perf in the guest does not do: under TCG it takes longer to start and to
stop than the work that is measured, and disturbs it more.

Callers are what a scan of the top of the stack finds: read their shares as upper
bounds.
"""

import bisect
import collections
import os
import socket
import struct
import sys
import time

KERNEL = 1 << 63
TEXT = 0xffffffff80000000
IDLE = ("pv_native_safe_halt", "default_idle", "cpuidle_idle_call", "acpi_safe_halt")
STACK = 1200
PAUSE = 0.012
LINES = 60


class Stub:
    """The remote serial protocol, as much of it as is needed."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.sock.settimeout(60)
        self.buf = b""

    def send(self, data):
        self.sock.sendall(b"$" + data + b"#%02x" % (sum(data) & 0xff))

    def reply(self):
        while True:
            start = self.buf.find(b"$")
            end = self.buf.find(b"#", start) if start >= 0 else -1
            if 0 <= end <= len(self.buf) - 3:
                packet, self.buf = self.buf[start + 1:end], self.buf[end + 3:]
                self.sock.sendall(b"+")
                return packet
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.buf += data

    def ask(self, data):
        """A command whose answer is not that the guest has stopped."""
        self.send(data)
        while True:
            packet = self.reply()
            if not packet.startswith(b"T"):
                return packet

    def stop(self):
        self.sock.sendall(b"\x03")
        while not self.reply().startswith(b"T"):
            pass

    def go(self):
        self.send(b"c")


def sample(stub, cpu):
    """Instruction pointer and the words on the kernel stack."""
    stub.ask(b"Hg%d" % cpu)
    try:
        regs = struct.unpack("<17Q", bytes.fromhex(stub.ask(b"g")[:272].decode()))
        rsp, rip = regs[7], regs[16]
        stack = b""
        if rip >= KERNEL and rsp >= KERNEL:
            stack = bytes.fromhex(stub.ask(b"m%x,%x" % (rsp, STACK)).decode())
    except (ValueError, struct.error):
        return None
    return rip, struct.unpack(f"<{len(stack) // 8}Q", stack[:len(stack) // 8 * 8])


def read(path):
    try:
        with open(path) as f:
            return f.read().strip()
    except OSError:
        return ""


def collect(where):
    """Samples while the guest says that it is at work."""
    samples = []
    while read(where + "/phase") != "end":
        try:
            stub = Stub(where + "/gdb")
            break
        except OSError:
            time.sleep(0.2)
    else:
        return samples
    try:
        stub.send(b"?")
        stub.reply()
        stub.go()
        while (phase := read(where + "/phase")) != "end":
            if not phase:
                time.sleep(0.1)
                continue
            time.sleep(PAUSE)
            stub.stop()
            samples += [s for s in (sample(stub, cpu) for cpu in (1, 2)) if s]
            stub.go()
    except (EOFError, OSError):
        pass    # the guest is gone
    return samples


def symbols(path):
    table = []
    with open(path) as f:
        for line in f:
            at, kind, name = line.split()[:3]
            if kind in "tTwW":
                table.append((int(at, 16), name))
    table.sort()
    starts = [at for at, _ in table]

    def name_of(address):
        n = bisect.bisect_right(starts, address) - 1
        return table[n][1] if n >= 0 and address - starts[n] < 1 << 16 else None
    return name_of


def report(samples, name_of):
    leaf, callers, idle = collections.Counter(), collections.Counter(), 0
    for rip, stack in samples:
        name = (name_of(rip) or "?") if rip >= KERNEL else "(user)"
        if name in IDLE:
            idle += 1
            continue
        leaf[name] += 1
        callers.update({name_of(word) for word in stack if word >= TEXT} - {None, name})
    total = max(leaf.total(), 1)
    print(f"{leaf.total()} samples, and {idle} of idle CPUs")
    for title, counts in (("in", leaf), ("below", callers)):
        print(f"---- {title}")
        for name, n in counts.most_common(LINES):
            print(f"{100 * n / total:5.1f}% {name}")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    where = sys.argv[1]
    samples = collect(where)
    if not os.path.exists(where + "/kallsyms"):
        sys.exit("error: the guest has not left its symbols")
    report(samples, symbols(where + "/kallsyms"))


if __name__ == "__main__":
    main()
