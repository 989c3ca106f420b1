#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""Do run.py and watch.py make of a run what it was?  With a check and machines that
only pretend.  Prints nothing but failures; scripts/lint.sh runs it."""

import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))

# As fstests' check writes: the name when a test begins, the rest when it ends.
CHECK = r"""#!/bin/bash
mkdir -p $RESULTS/generic
[ "$1" = --exact-order ] && shift
echo "FSTYP         -- latchfs"
for t; do
	printf '%-12s' $t
	case $t in
	generic/001)	printf '       '; sleep 0.1; echo "  3s" ;;
	generic/002)	printf ' 5s ... '; sleep 0.1; echo "  7s" ;;
	generic/003)	echo "no such thing" >$RESULTS/$t.notrun
			printf '       [not run] no such thing\n' ;;
	generic/004)	printf '       '; sleep 0.1
			printf -- '- output mismatch (see %s.out.bad)\n' $RESULTS/$t
			printf '    --- tests/generic/004.out\n    +++ x.out.bad\n    -what it was\n    +generic/001 is here\n'
			echo x >$RESULTS/$t.out.bad ;;
	generic/005)	printf '       [failed, exit status 1]'
			echo '_check_generic_filesystem: filesystem on /dev/vda is inconsistent'
			echo '(see /x/005.full for details)' ;;
	generic/006)	sleep 1000 ;;
	esac
done
echo "Ran: $*"
echo "Passed all $# tests"
"""

# LOG RESULTS TEST...
MACHINE = r"""#!/bin/bash
results=$2
shift 2
echo "some noise"
for t; do
	echo "@fstests start $t"
	case $t in
	generic/101)	echo "@fstests end $t pass 4 " ;;
	generic/102)	mkdir -p $results/generic
			echo why >$results/generic/102.full
			echo "@fstests end $t fail 4 something else came; +(see /x/102.full for details)" ;;
	generic/103)	exit 1 ;;
	generic/104)	sleep 1000 ;;
	*)		echo "@fstests end $t notrun 0 no reflink" ;;
	esac
done
echo "@fstests finished"
"""


class Case(unittest.TestCase):
    def setUp(self):
        self.room = tempfile.TemporaryDirectory(prefix="latchfs-fstests.")
        self.dir = self.room.name

    def tearDown(self):
        self.room.cleanup()

    def program(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        os.chmod(path, 0o755)
        return path


class Watch(Case):
    def watch(self, *tests, **env):
        self.program("check", CHECK)
        out = subprocess.run(
            [sys.executable, os.path.join(HERE, "watch.py"), *tests], cwd=self.dir, text=True,
            stdout=subprocess.PIPE, check=False, timeout=200,
            env={**os.environ, "RESULTS": self.dir, "LATCHFS_SPLAT": "never in a log", **env})
        events = [line.split(" ", 5)[1:] for line in out.stdout.splitlines()
                  if line.startswith("@fstests")]
        return out.returncode, [e for e in events if e[0] == "end"], events

    def test_verdicts(self):
        code, ends, _ = self.watch(*(f"generic/00{n}" for n in range(1, 6)))
        self.assertEqual(code, 0)
        self.assertEqual([e[1:3] for e in ends], [
            ["generic/001", "pass"], ["generic/002", "pass"], ["generic/003", "notrun"],
            ["generic/004", "fail"], ["generic/005", "fail"]])
        self.assertEqual(ends[2][4], "no such thing")
        self.assertIn("generic/001 is here", ends[3][4])
        self.assertIn("exit status 1", ends[4][4])
        self.assertIn("inconsistent", ends[4][4])

    def test_hang(self):
        code, ends, _ = self.watch("generic/001", "generic/006", "generic/002", TEST_TIMEOUT="5")
        self.assertEqual(code, 3)
        self.assertEqual([e[1:3] for e in ends],
                         [["generic/001", "pass"], ["generic/006", "timeout"]])
        self.assertTrue(os.path.exists(os.path.join(self.dir, "generic/006.hang")))

    def test_time_is_up(self):
        code, ends, events = self.watch("generic/001", "generic/002", BATCH_SECONDS="0.0001")
        self.assertEqual((code, ends, events), (3, [], []))


class Run(Case):
    def run_py(self, tests, *more, build="b1", patience=30):
        out = subprocess.run(
            [sys.executable, os.path.join(HERE, "run.py"), "--fstests", self.dir, "--build", build,
             "--work", os.path.join(self.dir, "work"), "--tests", tests, "--patience", str(patience),
             "--machine", self.program("machine", MACHINE), *more],
            text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=300)
        return out.returncode, out.stdout

    def results(self):
        with open(os.path.join(self.dir, "work/results"), encoding="utf-8") as f:
            return [line.rstrip("\n").split("\t")[:2] for line in f]

    def test_a_crash_costs_one_test(self):
        code, out = self.run_py("generic/101 generic/103 102 generic/105")
        self.assertEqual(code, 1)
        self.assertEqual(out.splitlines()[-1], "1 passed, 2 failed, 1 not run")
        self.assertEqual(self.results(), [["generic/101", "pass"], ["generic/103", "crash"],
                                          ["generic/102", "fail"], ["generic/105", "notrun"]])
        self.assertTrue(os.path.exists(os.path.join(self.dir, "work/out/generic/102.full")))

    def test_a_machine_that_says_nothing_is_ended(self):
        code, out = self.run_py("generic/104 generic/101", patience=6)
        self.assertEqual(code, 1)
        self.assertEqual(self.results(), [["generic/104", "lost"], ["generic/101", "pass"]])
        self.assertEqual(out.splitlines()[-1], "1 passed, 1 failed, 0 not run")

    def test_goes_on_where_it_ended(self):
        self.run_py("generic/101 generic/102")
        self.run_py("generic/101 generic/102 generic/105")
        self.assertEqual(len(self.results()), 3)
        self.run_py("generic/101 generic/102", "--retry")
        self.assertEqual(self.results()[3:], [["generic/102", "fail"]])
        self.run_py("generic/101", build="b2")
        self.assertEqual(self.results()[4:], [["generic/101", "pass"]])
        self.run_py("generic/101", "--force", build="b2")
        self.assertEqual(len(self.results()), 6)

    def recorded(self, name):
        with open(os.path.join(self.dir, name), encoding="utf-8") as f:
            rows = [line.rstrip("\n").split("\t") for line in f if not line.startswith("#")]
        return {row[0]: row[1:] for row in rows}

    def record(self, fs, *more):
        os.makedirs(os.path.join(self.dir, "tests/generic"), exist_ok=True)
        with open(os.path.join(self.dir, "tests/generic/group.list"), "w", encoding="utf-8") as f:
            f.write("101 auto quick\n102 auto quick\n111 auto quick\n")
        return self.run_py("generic/101 generic/102", "--record", "--record-in", self.dir,
                           "--fs", fs, *more)

    def test_record(self):
        self.record("latchfs")
        rows = self.recorded("results.tsv")
        self.assertEqual(rows["generic/101"], ["pass", "base", "4", ""])
        self.assertEqual(rows["generic/102"], ["fail", "base", "4", "something else came"])
        self.assertEqual(rows["generic/111"][0], "notrun")
        # of a tier, not of group quick
        self.assertEqual(rows["generic/475"], ["untried", "-", "-", ""])
        self.assertEqual(rows["latchfs/001"], ["untried", "-", "-", ""])

    def test_a_reason_by_hand_stays(self):
        self.record("latchfs")
        path = os.path.join(self.dir, "results.tsv")
        with open(path, encoding="utf-8") as f:
            text = f.read()
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace("something else came", "known, and why"))
        self.record("latchfs", "--force")
        self.assertEqual(self.recorded("results.tsv")["generic/102"][3], "known, and why")

    def test_results_of_others_are_not_ours(self):
        self.record("ext4")
        self.assertFalse(os.path.exists(os.path.join(self.dir, "results.tsv")))
        rows = self.recorded("results-ext4.tsv")
        self.assertEqual(sorted(rows), ["generic/101", "generic/102"])
        self.assertEqual(rows["generic/101"], ["pass", "base", "4", ""])

    def test_all_good(self):
        code, out = self.run_py("generic/101 generic/105")
        self.assertEqual(code, 0)
        self.assertEqual(out.splitlines()[-1], "1 passed, 0 failed, 1 not run")


if __name__ == "__main__":
    unittest.main(verbosity=0)
