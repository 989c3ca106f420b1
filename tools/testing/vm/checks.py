"""What posix.py and linux.py share: checks, and how they are run.

Each check prints `ok GROUP:NAME` or `not ok GROUP:NAME: reason`.
"""

import errno
import os
import sys
import traceback

CHECKS = []


def check(f):
    CHECKS.append(f)
    return f


def same(got, wanted, what="value"):
    if got != wanted:
        raise AssertionError(f"{what}: got {got!r}, wanted {wanted!r}")


def fails(code, f, *args, **kwargs):
    """f must fail with that errno."""
    try:
        f(*args, **kwargs)
    except OSError as e:
        if e.errno != code:
            raise AssertionError(f"got {errno.errorcode.get(e.errno)}, wanted "
                                 f"{errno.errorcode[code]}: {f.__name__}{args}") from e
        return
    raise AssertionError(f"succeeded, wanted {errno.errorcode[code]}: {f.__name__}{args}")


def write(path, data=b""):
    with open(path, "wb") as f:
        f.write(data)


def read(path):
    with open(path, "rb") as f:
        return f.read()


def remount():
    """Forget everything in memory that can be forgotten."""
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("3\n")


def run(group, base, f):
    home = os.path.join(base, f"{group}-{f.__name__}")
    os.mkdir(home)
    os.chmod(home, 0o777)
    os.chdir(home)
    try:
        f()
    except (OSError, AssertionError) as e:
        where = traceback.extract_tb(e.__traceback__)[1]
        print(f"not ok {group}:{f.__name__}: {str(e)[:200]} (line {where.lineno})", flush=True)
        return False
    finally:
        os.chdir(base)
    print(f"ok {group}:{f.__name__}", flush=True)
    return True


def main(group):
    """Runs the checks named in argv[2:], or all, in directories below argv[1]."""
    base = os.path.abspath(sys.argv[1])
    wanted = sys.argv[2:]
    os.umask(0o022)
    results = [run(group, base, f) for f in CHECKS if not wanted or f.__name__ in wanted]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1

