#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Runs fstests' check in the guest and tells the host how each test went.

    watch.py TEST...	(in the tree of fstests, which guest.sh has made ready)

Lines for the host, all else is for the reader:

    @fstests start TEST
    @fstests end TEST pass|fail|notrun|timeout SECONDS REASON
    @fstests splat TEST		the kernel complained, this machine is no longer
    				to be trusted (lockdep and KASAN say a thing once)

Ends with 0 when every test was run, with 3 when some are left over: the time of
the batch is up, a test hung, or the kernel complained.

Environment: TEST_TIMEOUT and BATCH_SECONDS (seconds), RESULTS (where check puts
what the tests leave), LATCHFS_SPLAT and LATCHFS_SPLAT_OK.
"""

import os
import re
import select
import signal
import subprocess
import sys
import time

NAME = re.compile(r"^((?:generic|latchfs|ext4|xfs)/\d+)\s")
# "generic/001 5s ...  7s", "generic/001        7s"
PASSED = re.compile(r"^\S+\s+(?:\d+s \.\.\. )?\s*\d+s\s*$")
SUMMARY = re.compile(r"^(Ran|Not run|Failures|Failed \d+ of|Passed all|Interrupted)\b")


def say(*words):
    print("@fstests", *words, flush=True)


class Results:
    """The files that check and the tests write."""

    def __init__(self, base):
        self.base = base

    def path(self, test, suffix):
        return os.path.join(self.base, test + suffix)

    def read(self, test, suffix):
        try:
            with open(self.path(test, suffix), encoding="utf-8", errors="replace") as f:
                return f.read()
        except OSError:
            return ""

    def write(self, test, suffix, text):
        path = self.path(test, suffix)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)


def verdict(test, output, results):
    """(result, reason) of a test that came to its end; `output` is check's."""
    notrun = results.read(test, ".notrun").strip()
    if notrun or "[not run]" in output:
        return "notrun", " ".join(notrun.split()) or "no reason given"
    lines = output.splitlines()
    if len(lines) == 1 and PASSED.match(lines[0]):
        return "pass", ""
    return "fail", reason_of(lines)


COMPLAINTS = re.compile(
    r"\[failed, exit status \d+\]|\[dumped core\]|no qualified output|no such test"
    r"|_check_dmesg: something found in dmesg"
    r"|_check_\w+: filesystem on \S+ is inconsistent|_check_\w+: [^(]*")


def reason_of(lines):
    """What check complained of, and the first lines that differ."""
    reasons = [found.strip() for line in lines for found in COMPLAINTS.findall(line)]
    changed = [line.strip() for line in lines if re.match(r"^    [+-](?![+-])", line)]
    added = [line for line in changed if line[0] == "+"]
    # what came too much says more than what is missing
    reasons += (added or changed)[:3]
    said = "; ".join(" ".join(r.split()) for r in reasons)
    return said[:400] or "check said: " + " ".join(" ".join(lines).split())[:200]


class Watch:
    def __init__(self, tests):
        self.tests = tests
        self.results = Results(os.environ["RESULTS"])
        self.limit = float(os.environ.get("TEST_TIMEOUT") or 900)
        self.batch = float(os.environ.get("BATCH_SECONDS") or 600)
        self.splat = re.compile(os.environ.get("LATCHFS_SPLAT") or "BUG: |Oops|WARNING: ")
        self.splat_ok = re.compile(os.environ.get("LATCHFS_SPLAT_OK") or "^$")
        self.began = time.monotonic()
        self.test, self.output, self.start = None, "", 0.0
        self.pending = ""
        self.stop = ""
        self.check = None

    def run(self):
        # in a session of its own, so that all of it can be ended
        self.check = subprocess.Popen(["./check", "--exact-order", *self.tests], stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                      start_new_session=True)
        fd = self.check.stdout.fileno()
        while not self.stop:
            ready, _, _ = select.select([fd], [], [], 1)
            if ready:
                data = os.read(fd, 65536)
                if not data:
                    break
                self.feed(data.decode("utf-8", "replace"))
            elif self.test and time.monotonic() - self.start > self.limit:
                self.hung()
        if self.stop:
            print(f"   the rest is for another machine: {self.stop}", flush=True)
            self.end_check()
            return 3
        self.line_done()
        self.finish()
        return 0 if self.check.wait() in (0, 1) else 3

    def feed(self, text):
        """check writes the name of a test when it begins, the rest of that line
        when the test has ended, and then perhaps more lines."""
        for piece in re.split(r"(\n)", text):
            if piece == "\n":
                self.line_done()
            else:
                self.pending += piece
                if self.test_begins(self.pending):
                    break
            if self.stop:
                break

    def test_begins(self, line):
        found = NAME.match(line)
        if not found or found.group(1) == self.test:
            return False
        self.finish()
        if self.stop:
            return True
        if time.monotonic() - self.began > self.batch:
            self.stop = "time is up"
            return True
        self.test, self.output, self.start = found.group(1), "", time.monotonic()
        say("start", self.test)
        return False

    def line_done(self):
        line, self.pending = self.pending, ""
        if SUMMARY.match(line):
            self.finish()
        elif self.test:
            self.output += line + "\n"
        elif line:
            print("   " + line, flush=True)

    def finish(self):
        """The test that was running has come to its end."""
        if not self.test:
            return
        test, self.test = self.test, None
        result, reason = verdict(test, self.output.strip("\n"), self.results)
        splat = self.complaint(test)
        if splat:
            if result == "pass":
                result, reason = "fail", ""
            reason = "; ".join(filter(None, ["kernel log: " + splat, reason]))
        if result == "fail":
            self.results.write(test, ".check", self.output)
        say("end", test, result, int(time.monotonic() - self.start), reason)
        if splat:
            say("splat", test)
            self.stop = "the kernel complained"

    def log_since(self, test):
        log = subprocess.run(["dmesg"], stdout=subprocess.PIPE, check=False)
        text = log.stdout.decode("utf-8", "replace")
        return text[max(0, text.rfind(f"run fstests {test} at")):]

    def complaint(self, test):
        """The first line of the kernel log that must not be there."""
        for line in self.log_since(test).splitlines():
            if self.splat.search(line) and not self.splat_ok.search(line):
                return re.sub(r"^\[[^]]*\]\s*", "", line).strip()
        return ""

    def hung(self):
        """Says where everybody waits and gives this machine up."""
        test, self.test = self.test, None
        for key in "lw":
            try:
                with open("/proc/sysrq-trigger", "w", encoding="ascii") as f:
                    f.write(key)
            except OSError:
                pass
        time.sleep(1)
        processes = subprocess.run(["ps", "axfo", "pid,ppid,stat,wchan:32,etimes,args"],
                                   stdout=subprocess.PIPE, check=False).stdout
        self.results.write(test, ".hang", processes.decode("utf-8", "replace")
                           + "\n" + self.log_since(test))
        splat = self.complaint(test)
        say("end", test, "timeout", int(self.limit),
            "; ".join(filter(None, [splat and "kernel log: " + splat,
                                    f"not done after {int(self.limit)} s"])))
        self.stop = "a test hung"

    def end_check(self):
        try:
            os.killpg(self.check.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: watch.py TEST...")
    sys.exit(Watch(sys.argv[1:]).run())
