#!/usr/bin/python3
"""Run a command in a virtual machine with one of the project's kernels.

    vm.py run [options] -- CMD...   run CMD, exit with its status
    vm.py shell [options] -- CMD... run CMD, then an interactive shell

The guest sees the root file system of the host read-only, with writable
overlays over /tmp, /etc, /usr and the like; what the host shall get back goes
through --disk or --share.  In `run` that root is cached: files that the host
changes meanwhile may be seen as they were.  The kernel log is always kept and searched: a splat,
a panic or a timeout is a failure whatever CMD says, and the last lines of the
output name the reason.
"""

import argparse
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time

END = "__latchfs_guest_exit"
SEEN = "__latchfs_guest_splat"
START = "__latchfs_guest_start"


def use_kvm():
    """KVM only with real hardware support: /dev/kvm may be a software
    hypervisor under which an ordinary guest never finishes booting."""
    forced = os.environ.get("LATCHFS_KVM", "")
    if forced:
        return forced not in ("0", "n", "no")
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return False
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        return re.search(r"^flags\s*:.*\b(vmx|svm)\b", f.read(), re.M) is not None


def parse_size(text):
    """1G, 512M, 4096 -> bytes; None when it is not a size."""
    m = re.fullmatch(r"(\d+)([KMGT]?)", text)
    if not m:
        return None
    return int(m.group(1)) << {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[m.group(2)]


class Scratch:
    """A directory for this VM; gone afterwards."""

    def __init__(self):
        base = os.path.join(os.environ["LATCHFS_CACHE"], "vm")
        os.makedirs(base, exist_ok=True)
        self.path = tempfile.mkdtemp(prefix="vm.", dir=base)

    def file(self, name, text, mode=0o644):
        path = os.path.join(self.path, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, mode)
        return path

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


def disk_opts(args, scratch):
    """The disks are /dev/vda, /dev/vdb ... in the order they are named."""
    opts = []
    for i, (spec, readonly) in enumerate(args.disks or []):
        size = parse_size(spec)
        if size is None:
            path = os.path.abspath(spec)
            if not os.path.exists(path):
                sys.exit(f"error: no such disk: {path}")
        else:
            path = os.path.join(scratch.path, f"disk{i}.img")
            with open(path, "wb") as f:
                f.truncate(size)
        if "," in path:
            sys.exit(f"error: a disk's path cannot have a comma: {path}")
        # QEMU itself does not die with the guest, so what the guest wrote is in
        # the host's page cache at least: no need to wait for the host's disk
        mode = "readonly=on" if readonly else "cache=unsafe,discard=unmap"
        opts.append(f"-drive if=none,id=latchfs{i},format=raw,file={path},{mode}")
        opts.append(f"-device virtio-blk-pci,drive=latchfs{i},serial=latchfs{i}")
    return opts


def guest_script(args, scratch, interactive):
    """What the guest runs.  A file, because a kernel command line is short."""
    env = {"PATH": args.path or os.environ["PATH"], "HOME": "/tmp", "LC_ALL": "C.UTF-8",
           "LATCHFS_IN_VM": "1", "TERM": os.environ.get("TERM", "dumb")}
    for item in args.env:
        name, eq, value = item.partition("=")
        env[name] = value if eq else os.environ.get(name, "")
    lines = ["#!/bin/bash"]
    lines += [f"export {k}={shlex.quote(v)}" for k, v in env.items()]
    lines.append("unset CDPATH; cd " + shlex.quote(args.cwd))
    # the first printk level that reaches the console: everything but debug
    lines.append("echo 8 >/proc/sys/kernel/printk 2>/dev/null")
    command = shlex.join(args.command)
    if interactive:
        lines += [command, "exec bash -i"]
    else:
        splat, ok = shlex.quote(args.splat), shlex.quote(args.splat_ok)
        lines += [# a kernel that complained before anything of ours ran proves nothing
                  # afterwards: KASAN and lockdep report once only
                  f"if dmesg | grep -aE {splat} | grep -avqE {ok}; then exit 99; fi",
                  f"echo {START}",
                  f"( {command} ) 2>&1 </dev/null; rc=$?",
                  # the console may lag behind: ask the ring buffer as well
                  f"dmesg | grep -aE {splat} | grep -avE {ok} | head -n 5 | sed 's/^/{SEEN} /'",
                  f"printf '\\n{END} %d\\n' $rc", "exit $rc"]
    return scratch.file("command.sh", "\n".join(lines) + "\n", 0o755)


# The guest's root is the host's, by 9p. Cached, programs start in half the time; what the host
# changes meanwhile may not be seen.
CACHED = "rootflags=version=9p2000.L,trans=virtio,access=any,msize=524288,cache=loose"


def vng_command(args, scratch, interactive):
    script = guest_script(args, scratch, interactive)
    cmd = [os.environ["LATCHFS_VENV"] + "/bin/vng", "--run", args.kdir, "--user", "root",
           "--cpus", str(args.cpus), "--memory", args.mem, "--disable-microvm",
           "--disable-monitor", "--cwd", "/", "--name", "latchfs"]
    if not use_kvm():
        cmd.append("--disable-kvm")
    for share in args.share:
        guest, eq, host = share.partition("=")
        host = os.path.abspath(host if eq else guest)
        cmd += ["--rwdir", f"{guest if eq else host}={host}"]
    for item in ([] if interactive else [CACHED]) + args.append:
        cmd += ["--append", item]
    for opt in disk_opts(args, scratch) + args.qemu_opt:
        cmd.append("--qemu-opts=" + opt)
    if interactive:
        cmd += ["--shell", script]
    else:
        cmd += ["--verbose", "--exec", script]
    return cmd


class Console:
    """Copies the guest's two streams: the command's output to ours, the kernel
    log to a file.  Both are pipes: QEMU writes each through its own file
    description, in a plain file the streams would overwrite each other."""

    def __init__(self, args, proc, log):
        self.args, self.proc, self.log = args, proc, log
        self.exit_code = None
        self.started = False
        self.guest_splats = []
        # --kill-at: how many lines are still to come
        self.kill_at, self.kill_left, self.killed = None, 0, False
        if args.kill_at:
            self.kill_at, self.kill_left = re.compile(args.kill_at[0]), int(args.kill_at[1])
        self.threads = [threading.Thread(target=self.copy_output, daemon=True),
                        threading.Thread(target=self.copy_log, daemon=True)]
        for t in self.threads:
            t.start()

    def copy_output(self):
        blank = 0       # the line break before END may have made an empty line
        for raw in self.proc.stdout:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            if not line:
                blank += 1
                continue
            if line.startswith((END, SEEN, START)):
                blank = 0
            print("\n" * blank, end="", flush=True)
            blank = 0
            if line.startswith(START):
                self.started = True
            elif line.startswith(END):
                code = line[len(END):].strip()
                self.exit_code = int(code) if code.isdigit() else None
            elif line.startswith(SEEN):
                self.guest_splats.append(line[len(SEEN):].strip())
            else:
                print(line, flush=True)
                self.kill_if_asked(line)

    def kill_if_asked(self, line):
        """A power failure in the middle of whatever the guest does."""
        if self.kill_left > 0 and self.kill_at.search(line):
            self.kill_left -= 1
            if self.kill_left == 0:
                self.killed = True
                os.killpg(self.proc.pid, signal.SIGKILL)

    def copy_log(self):
        with open(self.log, "wb") as f:
            for raw in self.proc.stderr:
                f.write(raw)
                f.flush()
                if self.args.show_log:
                    sys.stderr.write(raw.decode("utf-8", "replace"))

    def join(self):
        for t in self.threads:
            t.join(timeout=10)


def find_splats(args, log):
    bad, ok = re.compile(args.splat), re.compile(args.splat_ok)
    found = []
    with open(log, encoding="utf-8", errors="replace") as f:
        for line in f:
            if bad.search(line) and not ok.search(line):
                found.append(line.strip())
    return found


def show_around(log, needle, after=25):
    """The part of the log that explains the first splat."""
    with open(log, encoding="utf-8", errors="replace") as f:
        lines = f.read().splitlines()
    at = next((i for i, line in enumerate(lines) if needle in line), None)
    if at is None:
        return
    print("---- kernel log", flush=True)
    for line in lines[max(0, at - 3):at + after]:
        print(line)
    print("----", flush=True)


def kill_group(proc):
    for sig in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(proc.pid, sig)
        except ProcessLookupError:
            return
        try:
            proc.wait(timeout=5)
            # vng ends on SIGTERM, QEMU below it needs a moment longer
            time.sleep(0.5)
        except subprocess.TimeoutExpired:
            pass


def new_log(args, keep=30):
    """A log of its own for each VM, several may run; the oldest go."""
    base = os.path.join(os.environ["LATCHFS_CACHE"], "vm", "log")
    os.makedirs(base, exist_ok=True)
    old = sorted((os.path.join(base, f) for f in os.listdir(base)), key=os.path.getmtime)
    for path in old[:-keep]:
        os.unlink(path)
    return os.path.join(base, f"{args.kernel}-{os.getpid()}.log")


def run(args, scratch):
    """Exit status of the guest.  Under TCG a kernel fails to boot now and then; that is tried again, once
    and not silently.  What happens after the command has started counts."""
    code, started, reasons = run_once(args, scratch)
    if not started:
        print(f"vm: the kernel did not boot cleanly ({reasons[0]}), booting again", flush=True)
        code, _, reasons = run_once(args, scratch)
    for reason in reasons:
        print("vm: FAILED: " + reason, flush=True)
    return code


def run_once(args, scratch):
    log = args.log or new_log(args)
    start = time.monotonic()
    proc = subprocess.Popen(vng_command(args, scratch, False), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            start_new_session=True)
    console = Console(args, proc, log)
    reasons = []
    try:
        status = proc.wait(timeout=args.timeout)
    except subprocess.TimeoutExpired:
        reasons.append(f"timeout: the guest did not finish in {args.timeout} s")
        status = 124
    finally:
        kill_group(proc)
    console.join()
    splats = find_splats(args, log) or console.guest_splats
    if splats:
        show_around(log, splats[0])
        reasons.append("kernel log: " + splats[0])
    if console.killed and not reasons:
        print("vm: killed, as asked", flush=True)
        return 0, True, []
    if console.exit_code is None and not reasons:
        tail = open(log, encoding="utf-8", errors="replace").read().splitlines()[-8:]
        print("\n".join(tail))
        reasons.append(f"the guest ended without a result (vng exit status {status})")
    if not args.quiet:
        print(f"vm: {args.kernel} kernel, {time.monotonic() - start:.0f} s, log {log}",
              file=sys.stderr)
    if not reasons and console.exit_code:
        reasons.append(f"the guest command ended with status {console.exit_code}")
        return console.exit_code, True, reasons
    if reasons:
        return console.exit_code or (124 if status == 124 else 1), console.started, reasons
    return 0, True, reasons


def main():
    p = argparse.ArgumentParser(prog="vm.sh", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    disk = lambda ro: type("Disk", (argparse.Action,), {  # noqa: E731
        "__call__": lambda s, p, ns, v, o=None: ns.__dict__.__setitem__(
            "disks", (ns.disks or []) + [(v, ro)])})
    p.add_argument("action", choices=("run", "shell"))
    p.add_argument("--kernel", default="base", help="name for messages")
    p.add_argument("--kdir", required=True, help="built kernel tree")
    p.add_argument("--timeout", type=float, default=600, metavar="S")
    p.add_argument("--mem", default="2G")
    p.add_argument("--cpus", type=int, default=2)
    p.add_argument("--disk", action=disk(False), dest="disks", metavar="SIZE|FILE",
                   help="scratch disk, sparse and removed afterwards, or an image file")
    p.add_argument("--rodisk", action=disk(True), dest="disks", metavar="FILE")
    p.add_argument("--share", action="append", default=[], metavar="[GUEST=]HOST",
                   help="host directory the guest may write to")
    p.add_argument("--env", action="append", default=[], metavar="NAME[=VALUE]")
    p.add_argument("--path", help="PATH in the guest")
    p.add_argument("--cwd", default=os.environ.get("LATCHFS_TOP", "/"))
    p.add_argument("--append", action="append", default=[], help="kernel command line")
    p.add_argument("--qemu-opt", action="append", default=[])
    p.add_argument("--log", help="file for the kernel log")
    p.add_argument("--show-log", action="store_true")
    p.add_argument("--kill-at", nargs=2, metavar=("REGEX", "N"),
                   help="kill the VM without warning at the N-th such line of its output")
    p.add_argument("--quiet", action="store_true")
    p.add_argument("--splat", default=os.environ.get("LATCHFS_SPLAT", "BUG: |Oops"))
    p.add_argument("--splat-ok", default=os.environ.get("LATCHFS_SPLAT_OK", "^$"))
    p.add_argument("command", nargs="+")
    args = p.parse_args()
    scratch = Scratch()
    # a killed runner must not leave a VM behind
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        if args.action == "shell":
            return subprocess.call(vng_command(args, scratch, True))
        return run(args, scratch)
    finally:
        scratch.remove()


if __name__ == "__main__":
    sys.exit(main())
