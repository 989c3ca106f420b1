#!/usr/bin/python3
"""Rules of latchfs that no compiler checks.  Usage: lint.py [ROOT]

Prints `ok RULE` or `not ok RULE` with the places, then `N passed, N failed`.
rustfmt and clippy are run by lint.sh.
"""

import os
import re
import subprocess
import sys

# all unsafe lives here
UNSAFE_DIRS = ("rust/kapi/", "rust/sys/", "rust/bindings", "rust/collections/")
UNSAFE_FILES = ("rust/kapi.rs", "rust/sys.rs", "rust/collections.rs")
# these never name the kernel
PURE_DIRS = ("rust/format", "rust/engine")
# no panic here, tests excepted
PANIC_FREE = ("rust/format", "rust/engine", "rust/fs", "rust/kapi")
LIMITED = (".rs", ".c", ".h", ".sh", ".py", ".rst")
MAX_LINES = 800
MAX_FUNCTION = 40
SAFETY_ABOVE = 8


class Source:
    """A Rust file with its comments and strings blanked, line by line."""

    def __init__(self, path, text):
        self.path = path
        self.raw = text.split("\n")
        self.code = blank(text).split("\n")
        self.test_lines = self.find_tests()

    def is_test_file(self):
        name = os.path.basename(self.path)
        return "/tests/" in self.path or name in ("tests.rs", "conformance.rs") \
            or name.endswith(("_tests.rs", "_conformance.rs"))

    def find_tests(self):
        """Lines of items under #[cfg(test)], #[test], #[kunit_tests]."""
        if self.is_test_file():
            return set(range(len(self.code)))
        found = set()
        for i, line in enumerate(self.code):
            if i not in found and re.search(r"#\[(cfg\((any\(|all\()?\s*test\b|test\]|kunit_tests)",
                                            line):
                found.update(range(i, self.item_end(i) + 1))
        return found

    def item_end(self, start):
        """The last line of the item that begins at or after `start`."""
        depth, opened = 0, False
        for i in range(start, len(self.code)):
            for c in re.sub(r"#!?\[[^\]]*\]", "", self.code[i]):
                if c == "{":
                    depth, opened = depth + 1, True
                elif c == "}":
                    depth -= 1
                elif c == ";" and not opened and depth == 0:
                    return i
            if opened and depth <= 0:
                return i
        return len(self.code) - 1


def blank(text):
    """Comments, strings and character literals as blanks; line breaks stay."""
    pattern = re.compile(
        r'//[^\n]*'
        r'|/\*.*?\*/'
        r'|b?r(#*)".*?"\1'
        r'|[bc]?"(?:\\.|[^"\\])*"'
        r"|b?'(?:\\(?:x[0-9a-fA-F]{2}|u\{[^}]*\}|.)|[^\\'\n])'", re.S)
    return pattern.sub(lambda m: re.sub(r"[^\n]", " ", m.group(0)), text)


class Lint:
    def __init__(self, root):
        self.root = root
        self.files = self.tracked()
        self.rust = [self.load(f) for f in self.files if f.endswith(".rs")]
        self.mark_test_modules()
        self.results = []

    def tracked(self):
        """What git knows, and new files it would take; the whole tree without git."""
        try:
            out = subprocess.run(["git", "-C", self.root, "ls-files", "-co", "--exclude-standard"],
                                 check=True, capture_output=True, text=True).stdout
            files = out.splitlines()
        except (subprocess.CalledProcessError, FileNotFoundError):
            files = [os.path.relpath(os.path.join(d, f), self.root)
                     for d, _, fs in os.walk(self.root) for f in fs]
        return sorted({f for f in files if os.path.isfile(os.path.join(self.root, f))})

    def text(self, path):
        with open(os.path.join(self.root, path), encoding="utf-8", errors="replace") as f:
            return f.read()

    def load(self, path):
        return Source(path, self.text(path))

    def mark_test_modules(self):
        """Files of `#[cfg(test)] mod name;` are tests as a whole."""
        roots = set()
        for s in self.rust:
            here, stem = os.path.dirname(s.path), os.path.splitext(os.path.basename(s.path))[0]
            for m in re.finditer(r"#\[cfg\((?:any\(|all\()?\s*test\b[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*"
                                 r"(?:pub(?:\([^)]*\))?\s+)?mod\s+(\w+)\s*;", "\n".join(s.code)):
                roots.update(os.path.join(d, m.group(1)) for d in (here, os.path.join(here, stem)))
        for s in self.rust:
            if any(s.path == r + ".rs" or s.path.startswith(r + "/") for r in roots):
                s.test_lines = set(range(len(s.code)))

    def report(self, rule, places, note=""):
        self.results.append(not places)
        if places:
            print(f"not ok {rule}: {len(places)} places")
            for place in places[:15]:
                print("    " + place)
        else:
            print(f"ok {rule}{note}")

    # ---- the rules

    def unsafe_where(self):
        """`unsafe` only in ring 2, the kernel's facade, bindings, collections."""
        bad = []
        for s in self.rust:
            if s.path.startswith(UNSAFE_DIRS) or s.path in UNSAFE_FILES:
                continue
            for i, line in enumerate(s.code):
                if re.search(r"\bunsafe\b(?!_)", line) and not re.search(r"unsafe_\w+", line):
                    bad.append(f"{s.path}:{i + 1}: {s.raw[i].strip()}")
        self.report("unsafe is only where it may be", bad)

    def unsafe_reasons(self):
        bad = []
        for s in self.rust:
            for i, line in enumerate(s.code):
                if re.search(r"\bunsafe\s+(extern\s+\"[^\"]*\"\s+)?fn\b", s.raw[i]) \
                        and re.search(r"\bunsafe\b", line):
                    # a type of function pointer needs no documentation; the C
                    # callbacks of ring 2 have one contract, in its root
                    if 'extern "C"' in s.raw[i] and s.path.startswith("rust/kapi/") \
                            and self.callback_contract():
                        continue
                    if re.search(r"\bfn\s+\w+", line) and not self.documented(s, i):
                        bad.append(f"{s.path}:{i + 1}: unsafe fn without # Safety")
                elif re.search(r"\bunsafe\s*(\{|impl\b|extern\b)|\bunsafe\s*$", line):
                    if not self.justified(s, i):
                        bad.append(f"{s.path}:{i + 1}: unsafe without // SAFETY:")
        self.report("unsafe has its reason", bad)

    def callback_contract(self):
        root = next((s for s in self.rust if s.path == "rust/kapi.rs"), None)
        return root is not None and any("# Safety of the callbacks" in line for line in root.raw)

    @staticmethod
    def justified(s, at):
        """A SAFETY comment on the line, above the statement, or shortly above.

        In a trait or impl of an unsafe extern "C" callback the comment may also
        be the first thing inside.
        """
        first = max(0, at - SAFETY_ABOVE)
        if any(re.search(r"//.*SAFETY:", s.raw[i]) for i in range(first, at + 1)):
            return True
        # a long comment directly above
        i = at - 1
        while i >= 0 and s.raw[i].lstrip().startswith(("//", "#[")):
            if "SAFETY:" in s.raw[i]:
                return True
            i -= 1
        return False

    @staticmethod
    def documented(s, at):
        i = at - 1
        while i >= 0 and (s.raw[i].lstrip().startswith(("//", "#[", "#!["))
                          or s.raw[i].strip() in ("", ")]", ")")):
            if re.search(r"#+ Safety|SAFETY:", s.raw[i]):
                return True
            if s.raw[i].strip() == "" and i < at - 1:
                return False
            i -= 1
        return False

    def pure_rings(self):
        bad = []
        for s in self.rust:
            if not s.path.startswith(PURE_DIRS):
                continue
            for i, line in enumerate(s.code):
                if re.search(r"\b(kernel|bindings)::|\bextern\s+crate\s+kernel\b", line):
                    bad.append(f"{s.path}:{i + 1}: {s.raw[i].strip()}")
        self.report("rings 0 and 1 do not name the kernel", bad)

    def lengths(self):
        bad = []
        for f in self.files:
            if not f.endswith(LIMITED):
                continue
            n = self.text(f).count("\n")
            if n > MAX_LINES:
                bad.append(f"{f}: {n} lines, {MAX_LINES} is the limit")
        self.report("no file is too long", bad)

    def panics(self):
        pattern = re.compile(r"\.unwrap\(\)|\.expect\(|\b(panic|todo|unimplemented|unreachable)!")
        bad = []
        for s in self.rust:
            if not s.path.startswith(PANIC_FREE):
                continue
            for i, line in enumerate(s.code):
                if i not in s.test_lines and pattern.search(line):
                    bad.append(f"{s.path}:{i + 1}: {s.raw[i].strip()}")
        self.report("nothing in the module can panic by intent", bad)

    def marks(self):
        bad = []
        # spelled so that this file does not find itself
        pattern = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b")
        for f in self.files:
            if not f.endswith(LIMITED + (".config", ".toml", "Makefile", "Kbuild")):
                continue
            for i, line in enumerate(self.text(f).split("\n")):
                # mktemp templates are no marks
                if pattern.search(re.sub(r"\.X{6,}", "", line)):
                    bad.append(f"{f}:{i + 1}: {line.strip()}")
        self.report("no unfinished marks", bad)

    def urls(self):
        bad = []
        for f in self.files:
            if not (f.endswith((".sh", ".py", ".mk", "Makefile", "Kbuild")) or f == ".ci/run"):
                continue
            for i, line in enumerate(self.text(f).split("\n")):
                if re.search(r"https?:/" r"/", line):
                    bad.append(f"{f}:{i + 1}: {line.strip()}")
        self.report("scripts name no host", bad)

    def functions(self):
        """Long functions of ring 3 are named, and fail nothing."""
        long, count = [], 0
        for s in self.rust:
            if not s.path.startswith("rust/fs"):
                continue
            for i, line in enumerate(s.code):
                m = re.search(r"\bfn\s+(\w+)", line)
                if not m or i in s.test_lines:
                    continue
                count += 1
                length = s.item_end(i) - i + 1
                if length > MAX_FUNCTION:
                    long.append(f"{s.path}:{i + 1}: fn {m.group(1)} has {length} lines")
        for place in long:
            print("    note: " + place)
        self.report("functions of ring 3 are counted", [],
                    f" ({count}, {len(long)} of them over {MAX_FUNCTION} lines)")

    def run(self):
        for rule in (self.unsafe_where, self.unsafe_reasons, self.pure_rings, self.lengths,
                     self.panics, self.marks, self.urls, self.functions):
            rule()
        failed = self.results.count(False)
        print(f"{len(self.results) - failed} passed, {failed} failed")
        return 1 if failed else 0


if __name__ == "__main__":
    top = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    sys.exit(Lint(os.path.abspath(sys.argv[1] if len(sys.argv) > 1 else top)).run())
