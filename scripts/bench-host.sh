#!/bin/bash
# Benchmarks of the engine in userspace: the benches and bench programs of the
# workspace.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

export CARGO_TARGET_DIR=$LATCHFS_TARGET
t0=$SECONDS
cd "$LATCHFS_TOP/tools"
ran=0
# a bench program prints its own table
for bin in $(cargo metadata --locked --no-deps --format-version 1 |
	python3 -c 'import json, sys
for p in json.load(sys.stdin)["packages"]:
    for t in p["targets"]:
        if "bench" in t["kind"] or ("bin" in t["kind"] and "bench" in t["name"]):
            print(p["name"] + ":" + t["kind"][0] + ":" + t["name"])'); do
	IFS=: read -r package kind name <<<"$bin"
	say "$package: $name"
	case $kind in
	bench)	cargo bench --locked -p "$package" --bench "$name" ;;
	bin)	cargo run --locked --release -p "$package" --bin "$name" ;;
	esac
	ran=$((ran + 1))
done
echo "$ran benchmarks, $((SECONDS - t0)) s"
[ "$ran" -gt 0 ] || die "the workspace has no benchmark"
