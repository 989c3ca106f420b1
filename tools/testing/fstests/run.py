#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""The host's half of `make fstests`: which tests, in which machine, and what came
of it.  scripts/fstests.sh calls it.

Tests run in batches, one machine each, so that a crash or a hang costs one batch.
What came of a test is written down at once; a test that has a result for this
build of module and kernel is not run again.

In the directory of the results (--work):

    results	TEST <tab> RESULT <tab> SECONDS <tab> BUILD <tab> REASON, the last counts
    out/	what tests that did not pass left behind, and their kernel log
    batch-N.*	output and kernel log of the machines of the last run

RESULT is pass, fail, notrun, timeout (the test hung), crash (the machine went
down), lost (the machine hung).
"""

import argparse
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
GOOD = ("pass", "notrun")
EVENT = re.compile(r"^@fstests (\w+) ?(.*)$")


class Store:
    """Results that outlive this program."""

    def __init__(self, path, build):
        self.path, self.build = path, build
        self.rows = {}
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                for line in f:
                    row = line.rstrip("\n").split("\t")
                    if len(row) == 5:
                        self.rows[row[0]] = row[1:]

    def add(self, test, result, seconds, reason):
        reason = " ".join(reason.split())
        self.rows[test] = [result, str(seconds), self.build, reason]
        with open(self.path, "a", encoding="utf-8") as f:
            f.write("\t".join([test, *self.rows[test]]) + "\n")

    def current(self, test):
        """(result, seconds, reason) of this build, or None."""
        row = self.rows.get(test)
        return (row[0], row[1], row[3]) if row and row[2] == self.build else None


def read_table(path):
    """{first column: other columns} of a file with tabs and # comments."""
    table = {}
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            for line in f:
                if line.strip() and not line.startswith("#"):
                    first, *rest = line.rstrip("\n").split("\t")
                    table[first] = rest
    return table


def group(fstests, directory, name):
    """Tests of a group, from the list that the build of fstests makes."""
    path = os.path.join(fstests, "tests", directory, "group.list")
    tests = []
    if os.path.exists(path):
        with open(path, encoding="utf-8") as f:
            for line in f:
                words = line.split("#")[0].split()
                if words and re.fullmatch(r"\d+", words[0]) and name in words[1:]:
                    tests.append(f"{directory}/{words[0]}")
    return tests


def own_tests(fs):
    """Ours, in tools/testing/fstests/latchfs."""
    directory = os.path.join(HERE, "latchfs")
    if fs != "latchfs" or not os.path.isdir(directory):
        return []
    return sorted("latchfs/" + n for n in os.listdir(directory) if re.fullmatch(r"\d+", n))


def wanted(args):
    """(tests in order, named one by one)"""
    if args.tests:
        tests = []
        for word in args.tests.split():
            if re.fullmatch(r"\d+", word):
                word = "generic/" + word
            if not re.fullmatch(r"[a-z0-9]+/\d+", word):
                sys.exit(f"error: {word} is not the name of a test")
            tests.append(word)
        return list(dict.fromkeys(tests)), True
    if args.tier == "quick":
        tests = group(args.fstests, "generic", "quick")
    elif args.tier == "auto":
        tests = group(args.fstests, "generic", "auto")
    else:
        path = os.path.join(HERE, "tiers", args.tier)
        if not os.path.exists(path):
            sys.exit(f"error: no such tier: {args.tier} (smoke, core, quick, auto)")
        with open(path, encoding="utf-8") as f:
            tests = f.read().split()
    if not tests:
        sys.exit(f"error: no tests of tier {args.tier} in {args.fstests}: is it built?")
    if args.tier != "smoke":
        tests += own_tests(args.fs)
    return tests, False


class Machine:
    """One batch in one machine."""

    def __init__(self, args, number, tests, store):
        self.args, self.tests, self.store = args, tests, store
        self.log = os.path.join(args.work, f"batch-{number}.kernel")
        self.output = os.path.join(args.work, f"batch-{number}.output")
        self.results = os.path.join(args.work, "batch")
        self.running = None
        self.seen = 0
        self.since = time.monotonic()
        self.state = "waiting"
        self.broken = ""

    def run(self):
        shutil.rmtree(self.results, ignore_errors=True)
        os.makedirs(self.results)
        # a kernel log of an earlier run explains nothing
        open(self.log, "wb").close()
        command = self.args.prefix.split() + [self.args.machine, self.log, self.results, *self.tests]
        proc = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, start_new_session=True)
        try:
            self.follow(proc)
        finally:
            self.end(proc)
        if self.running:
            result = "lost" if self.state == "killed" else "crash"
            self.done(self.running, result, int(time.monotonic() - self.since),
                      self.last_words() or "the machine ended in the middle of it")

    def follow(self, proc):
        """Until the machine is gone, or says nothing for longer than a test may take:
        the guest itself ends tests that take too long."""
        pending = b""
        with open(self.output, "wb") as out:
            while True:
                ready, _, _ = select.select([proc.stdout], [], [], min(5, self.args.patience / 2))
                if not ready:
                    if self.state == "up" and time.monotonic() - self.since > self.args.patience:
                        self.state = "killed"
                        return
                    continue
                data = os.read(proc.stdout.fileno(), 65536)
                if not data:
                    proc.wait()
                    return
                out.write(data)
                out.flush()
                pending += data
                *lines, pending = pending.split(b"\n")
                for line in lines:
                    self.line(line.decode("utf-8", "replace").rstrip("\r"))

    def line(self, line):
        found = EVENT.match(line)
        if not found:
            return
        self.state, self.since = "up", time.monotonic()
        event, rest = found.groups()
        if event == "start":
            self.running = rest
        elif event == "end":
            test, result, seconds, *reason = rest.split(" ", 3)
            self.done(test, result, int(seconds), reason[0] if reason else "")
        elif event == "broken":
            self.broken = rest
        elif event == "leak":
            print(f"   {rest}", flush=True)

    def done(self, test, result, seconds, reason):
        self.running = None
        self.seen += 1
        self.store.add(test, result, seconds, reason)
        self.keep(test, result)
        label = {"pass": "ok", "notrun": "not run"}.get(result, "not ok")
        print(f"{label} {test} ({seconds} s)" + (f": {result}: {reason}" if result not in GOOD else
                                                 f": {reason}" if reason else ""), flush=True)

    def keep(self, test, result):
        """What explains a failure goes where the next batch does not remove it."""
        directory, name = test.split("/")
        target = os.path.join(self.args.work, "out", directory)
        os.makedirs(target, exist_ok=True)
        for entry in os.listdir(target):
            if entry.startswith(name + "."):
                os.unlink(os.path.join(target, entry))
        if result in GOOD:
            return
        source = os.path.join(self.results, directory)
        for entry in os.listdir(source) if os.path.isdir(source) else ():
            path = os.path.join(source, entry)
            if entry.startswith(name + ".") and os.path.isfile(path):
                shutil.copyfile(path, os.path.join(target, entry))
        with open(os.path.join(target, name + ".kernel"), "w", encoding="utf-8") as f:
            f.write(self.kernel_log(test))

    def kernel_log(self, test):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            text = f.read()
        return text[max(0, text.rfind(f"run fstests {test} at")):]

    def last_words(self):
        bad, fine = re.compile(self.args.splat), re.compile(self.args.splat_ok)
        for line in self.kernel_log(self.running).splitlines():
            if bad.search(line) and not fine.search(line):
                return "kernel log: " + re.sub(r"^\[[^]]*\]\s*", "", line).strip()
        return ""

    def end(self, proc):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(proc.pid, sig)
                proc.wait(timeout=20)
            except ProcessLookupError:
                break
            except subprocess.TimeoutExpired:
                pass
        proc.stdout.close()


def run_all(args, tests, store):
    left, number, fruitless = list(tests), 0, 0
    while left:
        number += 1
        batch = left[:args.batch]
        print(f"== batch {number}: {len(left)} tests left, {batch[0]} to {batch[-1]}", flush=True)
        machine = Machine(args, number, batch, store)
        machine.run()
        if machine.broken:
            sys.exit(f"error: {machine.broken} ({machine.output})")
        left = [t for t in left if store.current(t) is None]
        fruitless = 0 if machine.seen else fruitless + 1
        if fruitless == 2:
            sys.exit(f"error: the machine ended twice before a test began: {machine.output}")


def compare(args, test):
    """What the other file systems made of it, if it was run on them."""
    words = []
    for fs in ("ext4", "xfs", "latchfs"):
        path = os.path.join(os.path.dirname(args.work), f"{fs}-{args.kernel}", "results")
        if fs != args.fs and os.path.exists(path):
            row = Store(path, "").rows.get(test)
            if row:
                words.append(f"{fs}: {row[0]}")
    return f" ({', '.join(words)})" if words else ""


def summary(args, tests, not_applicable, store):
    count = {"pass": 0, "fail": 0, "notrun": 0}
    print(f"\nfstests on {args.fs}, {args.kernel} kernel:")
    for test in tests:
        row = store.current(test)
        if test in not_applicable:
            count["notrun"] += 1
        elif row[0] in GOOD:
            count[row[0]] += 1
        else:
            count["fail"] += 1
            print(f"not ok {test}: {row[0]}: {row[2]}{compare(args, test)}")
    reasons = {}
    for test in tests:
        if test in not_applicable:
            reasons.setdefault(not_applicable[test], []).append(test)
        elif store.current(test)[0] == "notrun":
            reasons.setdefault(store.current(test)[2], []).append(test)
    for reason, those in sorted(reasons.items(), key=lambda r: -len(r[1])):
        names = " ".join(those[:6]) + (" ..." if len(those) > 6 else "")
        print(f"not run, {len(those)}: {reason}: {names}")
    print(f"what failing tests left: {os.path.join(args.work, 'out')}")
    print(f"{count['pass']} passed, {count['fail']} failed, {count['notrun']} not run")
    return count["fail"] == 0


def listed(args):
    """What the file of results has a line for: group quick, the tiers, and ours."""
    quick = group(args.fstests, "generic", "quick")
    if not quick:
        sys.exit(f"error: no tests of group quick in {args.fstests}: is it built?")
    tests = set(quick)
    directory = os.path.join(HERE, "tiers")
    for tier in os.listdir(directory):
        with open(os.path.join(directory, tier), encoding="utf-8") as f:
            tests.update(f.read().split())
    return sorted(tests) + own_tests(args.fs)


def record(args, not_applicable, store):
    """The results into results.tsv.  A reason that somebody wrote there for a test
    stays as long as the test fails.  What another file system made of the tests is
    not a result of latchfs: results-ext4.tsv and so on, only what was run."""
    ours = args.fs == "latchfs"
    path = os.path.join(args.record_in, "results.tsv" if ours else f"results-{args.fs}.tsv")
    old = read_table(path)
    lines = ["# SPDX-License-Identifier: GPL-2.0"]
    if ours:
        lines += ["# The last result of each generic test of group quick and of the tiers, and of",
                  "# our own: test, result, kernel, seconds, reason.  `make fstests RECORD=1` writes it."]
    else:
        lines += [f"# What {args.fs} made of the same tests, as far as they were run on it: test, result,",
                  f"# kernel, seconds, reason.  `make fstests FS={args.fs} RECORD=1` writes it."]
    for test in listed(args):
        row = store.rows.get(test)
        before = old.get(test)
        if ours and test in not_applicable:
            cells = ["notrun", "-", "-", not_applicable[test]]
        elif row:
            # where that machine had its files is of no use to others
            reason = re.sub(r"(; )?\+?\(see \S+ for details\)", "", row[3])
            if row[0] not in GOOD and before and before[0] == row[0] and before[3]:
                reason = before[3]
            cells = [row[0], args.kernel, row[1], reason]
        elif before or ours:
            cells = before or ["untried", "-", "-", ""]
        else:
            continue
        lines.append("\t".join([test, *cells]))
    with open(path, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    p.add_argument("--fstests", required=True, help="built tree of fstests")
    p.add_argument("--fs", default="latchfs")
    p.add_argument("--kernel", default="base", help="name of kernel and lane, for messages")
    p.add_argument("--build", required=True, help="what the results are of")
    p.add_argument("--work", required=True, help="directory of the results")
    p.add_argument("--machine", required=True, help="program that runs a batch: LOG RESULTS TEST...")
    p.add_argument("--prefix", default="", help="command in front of it")
    p.add_argument("--tests", default="")
    p.add_argument("--tier", default="smoke")
    p.add_argument("--batch", type=int, default=25, help="tests of one machine")
    p.add_argument("--patience", type=float, default=1200,
                   help="seconds without a word after which a machine is ended")
    p.add_argument("--force", action="store_true", help="what has a result, too")
    p.add_argument("--retry", action="store_true", help="what has a result and did not pass, too")
    p.add_argument("--record", action="store_true", help="write results.tsv")
    p.add_argument("--record-in", default=HERE, help="directory of results.tsv")
    p.add_argument("--splat", default="BUG: |Oops")
    p.add_argument("--splat-ok", default="^$")
    args = p.parse_args()
    os.makedirs(args.work, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    store = Store(os.path.join(args.work, "results"), args.build)
    tests, named = wanted(args)
    table = read_table(os.path.join(HERE, "not-applicable.tsv"))
    not_applicable = {t: table[t][0] for t in tests if t in table and not named}
    for test in tests:
        row = store.current(test)
        if row and (args.force or args.retry and row[0] not in GOOD):
            del store.rows[test]
    todo = [t for t in tests if t not in not_applicable and store.current(t) is None]
    known = len(tests) - len(not_applicable) - len(todo)
    print(f"== {len(tests)} tests on {args.fs}: {len(todo)} to run, {known} have a result of this "
          f"build, {len(not_applicable)} do not apply", flush=True)
    try:
        run_all(args, todo, store)
        good = summary(args, tests, not_applicable, store)
    finally:
        if args.record:
            record(args, {t: r[0] for t, r in table.items()}, store)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
