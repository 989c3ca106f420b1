#!/bin/bash
# `make test` and its parts: scripts/test.sh all|host|vm|crash|long
#
# `all` runs the host lane and the VM lane side by side: the first needs the
# processor while the second boots, and starts while kernels still build. The short
# forms of `make races` and `make crash` follow the lane that ends first. A guest uses
# one processor well and the second hardly; the host lane uses what is left of both, so
# it gives way to the guests, and no processor is idle before the end.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

t0=$SECONDS
scripts=$LATCHFS_TOP/scripts

lanes() {
	local dir=$LATCHFS_CACHE/log lane pids=() passed=0 failed=0 p f all=
	mkdir -p "$dir"
	rm -f "$dir"/{host,vm,crash}.{log,rc}
	"$scripts/doctor.sh" --install
	# Ctrl-C or a killed make must not leave a VM behind
	trap 'kill -- "${pids[@]/#/-}" 2>/dev/null; exit 130' INT TERM
	start host nice -n 5 "$scripts/test-host.sh"
	start vm "$scripts/vm-tests.sh" debug
	wait -n "${pids[@]}" || true
	start crash "$scripts/test.sh" crash
	wait "${pids[@]}" || true
	sleep 1		# the last lines are still in the pipes
	echo
	grep -hE '^(not ok|test .* FAILED|vm: FAILED|error)' "$dir"/{host,vm,crash}.log |
		sort -u | head -n 40 || true
	for lane in host vm crash; do
		read -r p f < <(counts "$dir/$lane.log") || true
		# a lane that failed without counting a failure has failed all the same
		[ "$(cat "$dir/$lane.rc" 2>/dev/null)" = 0 ] || [ "$f" -gt 0 ] || f=1
		passed=$((passed + p))
		failed=$((failed + f))
		all+="$lane: $p passed, $f failed; "
	done
	echo "$all$((SECONDS - t0)) s"
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ]
}

# start LANE CMD...: in the background, as a process group of its own, so that all
# of it can be ended
start() {
	local lane=$1 dir=$LATCHFS_CACHE/log
	shift
	# shellcheck disable=SC2016
	setsid bash -c 'rc=0; "${@:2}" || rc=$?; echo $rc >"$1"' lane "$dir/$lane.rc" "$@" \
		> >(tee "$dir/$lane.log" | sed -u "s/^/[$lane] /") 2>&1 &
	pids+=($!)
}

# The short forms of the races and the power failures in the VM: beside the tail of
# the VM lane, which leaves half of the machine idle when the host lane is over.
crash_lane() {
	local dir=$LATCHFS_CACHE/log passed=0 failed=0 name p f rc
	for name in "races vm-short" "crash short"; do
		rc=0
		# shellcheck disable=SC2086
		"$scripts/${name%% *}.sh" ${name#* } 2>&1 | tee "$dir/crash-${name%% *}.log" || rc=$?
		read -r p f < <(counts "$dir/crash-${name%% *}.log") || true
		[ $rc -eq 0 ] || [ "$f" -gt 0 ] || f=1
		passed=$((passed + p))
		failed=$((failed + f))
		say "$name: $p passed, $f failed, $((SECONDS - t0)) s"
	done
	echo "$passed passed, $failed failed"
	[ "$failed" -eq 0 ]
}

# counts LOG: the last `N passed, N failed`
counts() {
	sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$1" | tail -n 1 | grep . || echo 0 1
}

case ${1:-all} in
all)	lanes ;;
host)	exec "$scripts/test-host.sh" ;;
vm)	exec "$scripts/vm-tests.sh" debug ;;
crash)	crash_lane ;;
long)	LONG=1 TIMEOUT=${TIMEOUT:-14400} exec "$scripts/vm-tests.sh" debug-long ;;
*)	die "all, host, vm, crash or long" ;;
esac
