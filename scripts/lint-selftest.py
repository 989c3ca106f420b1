#!/usr/bin/python3
"""Plants each kind of violation in a small tree and sees lint.py report it,
and sees that what is allowed is not reported."""

import os
import subprocess
import sys
import tempfile

LINT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "lint.py")
# spelled so that lint.py does not find its own violations here
MARK = "FIX" + "ME"
URL = "http:/" + "/example.org/x"

# (rule, file, text): each must be reported by that rule
BAD = [
    ("unsafe is only where it may be", "rust/fs/a.rs",
     "fn f() {\n    // SAFETY: a reason\n    unsafe { g() }\n}\n"),
    ("unsafe is only where it may be", "tools/host/src/a.rs",
     "// SAFETY: a reason\nunsafe impl Send for X {}\n"),
    ("unsafe is only where it may be", "rust/engine/a.rs",
     "/// # Safety\n/// none\npub unsafe fn f() {}\n"),
    ("unsafe has its reason", "rust/kapi/a.rs", "fn f() {\n    unsafe { g() }\n}\n"),
    ("unsafe has its reason", "rust/kapi/b.rs", "unsafe impl Send for X {}\n"),
    ("unsafe has its reason", "rust/sys/c.rs", "/// Does it.\npub unsafe fn f() {}\n"),
    ("unsafe has its reason", "rust/kapi/e.rs",
     "unsafe extern \"C\" fn cb<T: Ops>(p: *mut u8) -> c_int {\n    0\n}\n"),
    ("unsafe has its reason", "rust/kapi/d.rs",
     "fn f() {\n    // SAFETY: far away\n" + "    g();\n" * 12 + "    unsafe { g() }\n}\n"),
    ("rings 0 and 1 do not name the kernel", "rust/engine/b.rs", "use kernel::prelude::*;\n"),
    ("rings 0 and 1 do not name the kernel", "rust/format/b.rs",
     "fn f() { bindings::g() }\n"),
    ("no file is too long", "rust/fs/long.rs", "\n" * 801),
    ("no file is too long", "scripts/long.sh", "\n" * 801),
    ("nothing in the module can panic by intent", "rust/format/c.rs",
     "fn f() { g().unwrap() }\n"),
    ("nothing in the module can panic by intent", "rust/engine/c.rs",
     'fn f() { g().expect("x") }\n'),
    ("nothing in the module can panic by intent", "rust/fs/c.rs", "fn f() { todo!() }\n"),
    ("nothing in the module can panic by intent", "rust/kapi/c.rs",
     'fn f() { unreachable!("x") }\n'),
    ("nothing in the module can panic by intent", "rust/engine/d.rs",
     "#[cfg(test)]\nmod tests;\n\nfn f() { panic!() }\n"),
    ("nothing in the module can panic by intent", "rust/engine/testing.rs",
     "fn t() { f().unwrap(); }\n"),
    ("no unfinished marks", "rust/engine/e.rs", f"// {MARK}: later\n"),
    ("no unfinished marks", "tools/a.sh", f"# {MARK} later\n"),
    ("scripts name no host", "scripts/b.sh", f"wget {URL}\n"),
    ("scripts name no host", ".ci/run", f"# see {URL}\n"),
]

# none of these may be reported
GOOD = {
    "rust/kapi/good.rs":
        "// SAFETY: a reason\nunsafe impl Send for X {}\n\n"
        "/// Does it.\n///\n/// # Safety\n///\n/// `p` is valid.\n#[inline]\n"
        "pub unsafe fn f(p: *mut u8) {\n    // SAFETY: by the caller.\n    unsafe { g(p) }\n}\n"
        "type T = unsafe fn(u8);\n",
    "rust/engine/good.rs":
        "//! No `unsafe` here, and no kernel::anything; unwrap() is only spoken of.\n"
        "#![deny(unsafe_code)]\n"
        "fn f() -> &'static str { \"kernel::x .unwrap() panic!\" }\n"
        "#[cfg(test)]\nmod tests {\n    #[test]\n    fn t() {\n        f().unwrap();\n    }\n}\n"
        "fn g<'a>(x: &'a str) -> char { if x == \"}\" { '{' } else { '}' } }\n",
    "rust/y.rs": "#[cfg(test)]\npub(crate) mod testing;\nmod other;\n",
    "rust/y/testing.rs": "fn t() { f().unwrap(); }\n",
    "rust/engine/x/tests.rs": "fn t() { f().unwrap(); panic!(\"x\"); }\n",
    "rust/fs/good.rs": "\n" * 799,
    "scripts/good.sh": "mktemp /tmp/x.XX" "XXXX\n",
}


def lint(files):
    with tempfile.TemporaryDirectory() as root:
        for path, text in files.items():
            full = os.path.join(root, path)
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full, "w", encoding="utf-8") as f:
                f.write(text)
        r = subprocess.run([sys.executable, LINT, root], capture_output=True, text=True,
                           check=False)
        return r.returncode, r.stdout


def main():
    failed = 0
    for rule, path, text in BAD:
        code, out = lint({path: text})
        if code == 0 or f"not ok {rule}:" not in out or path not in out:
            failed += 1
            print(f"not ok: '{rule}' does not see {path}: {text[:80]!r}\n{out}")
    code, out = lint(GOOD)
    if code != 0:
        failed += 1
        print("not ok: reports what is allowed:\n" + out)
    # long functions of ring 3 are named, and fail nothing
    code, out = lint({"rust/fs/f.rs": "fn f() {\n" + "    g();\n" * 60 + "}\n"})
    if code != 0 or "fn f has 62 lines" not in out:
        failed += 1
        print("not ok: a long function is not counted:\n" + out)
    total = len(BAD) + 2
    print(f"{total - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
