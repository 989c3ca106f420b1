#!/usr/bin/python3
"""The table of `make bench`, from lines `raw ROW FS ROUND MICROSECONDS` on stdin.

    bench-table.py [--rst]

For each row the median of each file system, and ours as a ratio to the best of
the others, as speed: above 1 is faster.
"""

import statistics
import sys

US = "latchfs"
NAMES = {
    "create-1": "create, 1 thread", "create-4": "create, 4 threads",
    "rename-1": "rename, 1 thread", "rename-4": "rename, 4 threads",
    "unlink-1": "unlink, 1 thread", "unlink-4": "unlink, 4 threads",
    "mkdir-1": "mkdir, 1 thread", "mkdir-4": "mkdir, 4 threads",
    "rmdir-1": "rmdir, 1 thread", "rmdir-4": "rmdir, 4 threads",
    "fsync-1": "append and fsync, 1 thread", "fsync-8": "append and fsync, 8 threads",
    "write-seq": "write in order, and fsync", "overwrite-seq": "overwrite in order, and fsync",
    "read-seq": "read in order, cold", "write-random": "overwrite at random, and fsync",
    "read-random": "read at random, cold", "write-mmap": "write by mmap, and fsync",
    "direct-over-1": "direct overwrite, depth 1", "direct-over-16": "direct overwrite, depth 16",
    "direct-read-1": "direct read, depth 1", "direct-read-16": "direct read, depth 16",
    "direct-unwritten-1": "direct into unwritten, depth 1",
    "direct-unwritten-16": "direct into unwritten, depth 16",
    "direct-holes-1": "direct into holes, depth 1", "direct-holes-16": "direct into holes, depth 16",
    "store-1": "create, write, fsync, 1 thread", "store-8": "create, write, fsync, 8 threads",
    "age": "fill to nine tenths, aging",
    "untar": "unpack the tree, and sync", "rm-tree": "remove the tree",
    "crash-mount": "mount after a crash",
}


def read(lines):
    rows, systems = {}, []
    for line in lines:
        words = line.split()
        if len(words) != 5 or words[0] != "raw":
            continue
        _, row, fs, _, time = words
        if fs not in systems:
            systems.append(fs)
        rows.setdefault(row, {}).setdefault(fs, []).append(int(time))
    return rows, sorted(systems, key=lambda fs: (fs != US, fs))


def main():
    rows, systems = read(sys.stdin)
    if not rows:
        sys.exit("no results")
    rst = "--rst" in sys.argv[1:]
    rounds = min(len(times) for row in rows.values() for times in row.values())
    head = ["work"] + [f"{fs}, ms" for fs in systems] + ["ratio"]
    table, ratios = [], {}
    for row in [r for r in NAMES if r in rows] + [r for r in rows if r not in NAMES]:
        medians = {fs: statistics.median(times) / 1000 for fs, times in rows[row].items()}
        others = [t for fs, t in medians.items() if fs != US]
        ratio = "-"
        if US in medians and others:
            ratios[row] = min(others) / medians[US]
            ratio = f"{ratios[row]:.2f}"
        table.append([NAMES.get(row, row)] + [f"{medians[fs]:.1f}" if fs in medians else "-"
                                              for fs in systems] + [ratio])
    if rst:
        print(".. list-table::\n   :header-rows: 1\n")
        for line in [head] + table:
            print("   * - " + "\n     - ".join(line))
        return
    widths = [max(len(line[i]) for line in [head] + table) for i in range(len(head))]
    for line in [head] + table:
        print("  " + line[0].ljust(widths[0]) + "".join(
            "  " + cell.rjust(widths[i + 1]) for i, cell in enumerate(line[1:])))
    print(f"  medians of {rounds}; ratio: speed of {US} to the best of the others, above 1 is faster")
    if ratios:
        worst = min(ratios, key=ratios.get)
        print(f"worst: {NAMES.get(worst, worst)}, {ratios[worst]:.2f}")
        print(f"geometric mean: {statistics.geometric_mean(ratios.values()):.2f}")


if __name__ == "__main__":
    main()
