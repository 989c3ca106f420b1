#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Stack frames of the module, and how deep its calls go.

    stack.py [--limit BYTES] [--top N] latchfs.o

Reads the disassembly.  A frame is what the function pushes and subtracts from
the stack pointer; the kernel's checkstack.pl also counts the addition at the
end of the function, so its figures are about twice these.  The depth is that of
the deepest chain of direct calls inside the module; what the kernel's own
functions use comes on top.  Fails if a frame is over the limit.
"""

import argparse
import re
import subprocess
import sys

FUNCTION = re.compile(r"^[0-9a-f]+ <(.+)>:$")
INSTRUCTION = re.compile(r"^\s+[0-9a-f]+:\s+(\S+)\s*(.*)$")
RELOCATION = re.compile(r"^\s+[0-9a-f]+:\s+R_X86_64_(?:PLT32|PC32)\s+(\S+?)(?:[-+]0x[0-9a-f]+)?$")
TARGET = re.compile(r"^[0-9a-f]+ <([^+>]+)>$")
SUBTRACT = re.compile(r"^\$0x([0-9a-f]+),%rsp$")


def disassemble(path):
    """Frame in bytes and callees of each function."""
    text = subprocess.run(
        ["objdump", "-dr", "--no-show-raw-insn", path],
        check=True, capture_output=True, text=True).stdout
    frames, calls, name, op = {}, {}, None, ""
    for line in text.splitlines():
        if m := FUNCTION.match(line):
            name = m[1]
            frames[name], calls[name] = 8, set()
        elif name is None:
            continue
        elif m := RELOCATION.match(line):
            if op in ("call", "jmp"):
                calls[name].add(m[1])
        elif m := INSTRUCTION.match(line):
            op, operands = m[1], m[2]
            if op == "push":
                frames[name] += 8
            elif op == "sub" and (size := SUBTRACT.match(operands)):
                frames[name] += int(size[1], 16)
            elif op in ("call", "jmp") and (to := TARGET.match(operands)):
                calls[name].add(to[1])
    return frames, calls


def deepest(frames, calls):
    """The deepest chain of calls, as (bytes, functions)."""
    known, open_calls = {}, set()

    def below(name):
        if name in known:
            return known[name]
        if name in open_calls:
            return 0, ()
        open_calls.add(name)
        best = max((below(to) for to in calls[name] if to in frames),
                   default=(0, ()))
        open_calls.remove(name)
        known[name] = frames[name] + best[0], (name,) + best[1]
        return known[name]

    sys.setrecursionlimit(100000)
    return max((below(name) for name in frames), default=(0, ()))


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--limit", type=int, default=1024)
    p.add_argument("--top", type=int, default=5)
    p.add_argument("object")
    args = p.parse_args()

    frames, calls = disassemble(args.object)
    order = sorted(frames, key=frames.get, reverse=True)
    over = [f for f in order if frames[f] > args.limit]
    for name in over or order[:args.top]:
        print(f"{frames[name]:6d} {name}")
    depth, chain = deepest(frames, calls)
    print(f"{depth:6d} deepest chain: " + " > ".join(
        f"{name}:{frames[name]}" for name in chain if frames[name] >= 256))
    if over:
        print(f"error: {len(over)} frames over {args.limit} bytes")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
