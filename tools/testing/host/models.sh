#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# Models of the engine's concurrency: the very source of the module under
# shuttle (thread interleavings; modules named `schedules`) and under loom (the
# C11 memory model; modules named `ordering`). Their locks and atomics replace
# std's by a cargo feature, so each is a build of its own.  Every shuttle model that
# has mutants (feature `races`) must also catch them; loom cannot unwind out of one.
#
# The models of the data path are those of latchfs-pagecache: the engine under the
# model of the page cache.
#
# LATCHFS_SCHEDULES: schedules of each model under shuttle, 100,000 if not set.
# LATCHFS_SEED: what the schedules are made from: a number, or "random"; the same ones
# each time if not set. A failure prints it.
# LATCHFS_PAIRS: also every pair of operations on a file, so many schedules each.
set -euo pipefail
. "$(dirname "$0")/../../../scripts/lib.sh"

cd "$LATCHFS_TOP/tools"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$LATCHFS_TARGET}
passed=0
failed=0

# model NAME PROFILE CARGO-ARGS...: the tests of one feature
model() {
	local name=$1 profile=$2 out rc=0 p f t0=$SECONDS
	shift 2
	out=$(nice -n 2 cargo test --locked --profile "$profile" "$@" 2>&1) || rc=$?
	p=$(sed -nE 's/^test result: .* ([0-9]+) passed; .*/\1/p' <<<"$out")
	f=$(sed -nE 's/^test result: .* ([0-9]+) failed; .*/\1/p' <<<"$out")
	p=${p:-0} f=${f:-0}
	# no test at all is a failure, too: a filter or a feature went wrong
	if [ "$f" -eq 0 ] && { [ $rc -ne 0 ] || [ "$p" -eq 0 ]; }; then
		f=1
	fi
	if [ "$f" -ne 0 ]; then
		tail -n 60 <<<"$out"
	fi
	echo "$name: $p of $((p + f)) models hold, $((SECONDS - t0)) s"
	passed=$((passed + p))
	failed=$((failed + f))
}

model shuttle sim -p latchfs-engine --lib --features shuttle,races ::schedules::
model "data path" models -p latchfs-pagecache --test models --features shuttle,races
if [ -n "${LATCHFS_PAIRS:-}" ]; then
	LATCHFS_SCHEDULES=$LATCHFS_PAIRS model pairs models -p latchfs-pagecache \
		--test models --features shuttle,races -- --ignored
fi
model loom sim -p latchfs-engine --lib --features loom ::ordering::
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
