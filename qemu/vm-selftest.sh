#!/bin/bash
# The VM runner must tell the truth: a panic, a splat, a timeout and a failing
# command are failures with their reason, and nothing else is.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"

passed=0
failed=0
out=$(mktemp "${TMPDIR:-/tmp}/latchfs-vm.XXXXXX")
trap 'rm -f "$out"' EXIT

# expect NAME STATUS REGEX OPTIONS... -- CMD...: STATUS may be `fail`
expect() {
	local name=$1 status=$2 regex=$3 rc=0 good=
	shift 3
	"$LATCHFS_TOP/qemu/vm.sh" run --kernel "${KERNEL:-base}" --timeout 150 "$@" >"$out" 2>&1 || rc=$?
	if [ "$status" = fail ]; then
		[ $rc -eq 0 ] || good=1
	else
		[ $rc -ne "$status" ] || good=1
	fi
	if [ -n "$good" ] && tail -n 4 "$out" | grep -qE "$regex"; then
		passed=$((passed + 1))
		echo "ok $name"
	else
		failed=$((failed + 1))
		tail -n 10 "$out" | sed 's/^/    /'
		echo "not ok $name: exit status $rc, wanted $status and '$regex'"
	fi
}

disk=$(mktemp "${TMPDIR:-/tmp}/latchfs-vm.XXXXXX")
trap 'rm -f "$out" "$disk"' EXIT
truncate -s 8M "$disk"

expect "success" 0 "^fine$" -- echo fine
expect "a failing command" 7 "ended with status 7" -- bash -c 'exit 7'
expect "a panic" fail "FAILED: kernel log: .*panic" -- \
	bash -c 'echo c >/proc/sysrq-trigger; sleep 60'
expect "a splat after which all goes on" fail "FAILED: kernel log: .*BUG: planted" -- \
	bash -c 'echo "<3>BUG: planted" >/dev/kmsg; echo fine'
expect "a splat in the last moment" fail "FAILED: kernel log: .*WARNING: planted" -- \
	bash -c 'for i in $(seq 200); do echo "<6>filler $i" >/dev/kmsg; done; echo "<4>WARNING: planted" >/dev/kmsg'
expect "a timeout" 124 "FAILED: timeout" --timeout 30 -- sleep 1000
expect "a guest that powers off early" fail "FAILED: the guest ended without" -- \
	bash -c 'echo o >/proc/sysrq-trigger; sleep 60'
expect "a disk that the host sees" 0 "^16384 sectors" --disk "$disk" -- \
	bash -c 'printf hello >/dev/vda; sync; echo "$(cat /sys/block/vda/size) sectors"'
if [ "$(head -c 5 "$disk")" = hello ]; then
	passed=$((passed + 1))
else
	failed=$((failed + 1))
	echo "not ok what the guest wrote is not on the host's file"
fi
expect "the host's files are safe" 0 "^safe$" -- \
	bash -c "rm -f '$out' 2>/dev/null; touch '$LATCHFS_TOP/planted' 2>/dev/null || echo safe"
[ -e "$out" ] && [ ! -e "$LATCHFS_TOP/planted" ] || { failed=$((failed + 1)); echo "not ok the guest changed the host"; }

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
