#!/bin/bash
# The host lane: lints, the unit and property tests of the workspace, and every
# executable in tools/testing/host/ (each ends with `N passed, N failed`).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$LATCHFS_TOP"
export CARGO_TARGET_DIR=$LATCHFS_TARGET
log=$LATCHFS_CACHE/log
mkdir -p "$log"
passed=0
failed=0
reasons=

# part NAME CMD...: time it and add up what it counted
part() {
	local name=$1 out=$log/host-$1.log t0=$SECONDS rc=0 p f
	shift
	quietly "$out" "$@" || rc=$?
	# lines of our own scripts, and of cargo test
	p=$(sed -nE 's/^([0-9]+) passed, [0-9]+ failed$/\1/p; s/^test result: .* ([0-9]+) passed; .*/\1/p' "$out" |
		awk '{ n += $1 } END { print n + 0 }')
	f=$(sed -nE 's/^[0-9]+ passed, ([0-9]+) failed$/\1/p; s/^test result: .* ([0-9]+) failed; .*/\1/p' "$out" |
		awk '{ n += $1 } END { print n + 0 }')
	if [ $rc -ne 0 ] && [ "$f" -eq 0 ]; then
		f=1	# it did not even come to count
	fi
	passed=$((passed + p))
	failed=$((failed + f))
	printf 'host: %s: %d passed, %d failed, %d s\n' "$name" "$p" "$f" $((SECONDS - t0))
	if [ "$f" -gt 0 ]; then
		reasons+=$(grep -E '^(not ok |test .* FAILED$|error(\[E[0-9]+\])?:)' "$out" | head -n 20 || true)$'\n'
	fi
}

"$LATCHFS_TOP/scripts/doctor.sh" --install
t0=$SECONDS
part lint scripts/lint.sh
part unit nice -n 2 cargo test --locked --workspace --no-fail-fast --manifest-path tools/Cargo.toml
for t in tools/testing/host/*; do
	if [ -f "$t" ] && [ -x "$t" ]; then
		part "$(basename "${t%.*}")" "$t"
	fi
done

echo "host lane: $((SECONDS - t0)) s, logs in $log"
[ -z "$reasons" ] || printf '%s' "$reasons" | grep . || true
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
