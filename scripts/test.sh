#!/bin/bash
# `make test` and its parts: scripts/test.sh all|host|vm|long
#
# `all` runs the host lane and the VM lane side by side: the first needs the
# processor while the second boots, and starts while kernels still build.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

t0=$SECONDS
scripts=$LATCHFS_TOP/scripts

both_lanes() {
	local dir=$LATCHFS_CACHE/log host vm host_rc=0 vm_rc=0 hp=0 hf=1 vp=0 vf=1
	mkdir -p "$dir"
	"$scripts/doctor.sh" --install
	# each lane is a process group of its own, so that all of it can be ended
	setsid "$scripts/test-host.sh" > >(tee "$dir/host.log" | sed -u 's/^/[host] /') 2>&1 &
	host=$!
	setsid "$scripts/vm-tests.sh" debug > >(tee "$dir/vm.log" | sed -u 's/^/[vm] /') 2>&1 &
	vm=$!
	# Ctrl-C or a killed make must not leave a VM behind
	# shellcheck disable=SC2064
	trap "kill -- -$host -$vm 2>/dev/null; exit 130" INT TERM
	wait "$host" || host_rc=$?
	say "host lane ended after $((SECONDS - t0)) s"
	wait "$vm" || vm_rc=$?
	sleep 1		# the last lines are still in the pipes
	read -r hp hf < <(counts "$dir/host.log") || true
	read -r vp vf < <(counts "$dir/vm.log") || true
	echo
	grep -hE '^(not ok|test .* FAILED|vm: FAILED|error)' "$dir/host.log" "$dir/vm.log" |
		sort -u | head -n 40 || true
	printf 'host: %s passed, %s failed; vm: %s passed, %s failed; %d s\n' \
		"$hp" "$hf" "$vp" "$vf" $((SECONDS - t0))
	# a lane that failed without counting a failure has failed all the same
	[ $host_rc -eq 0 ] || [ "$hf" -gt 0 ] || hf=1
	[ $vm_rc -eq 0 ] || [ "$vf" -gt 0 ] || vf=1
	echo "$((hp + vp)) passed, $((hf + vf)) failed"
	[ $((hf + vf)) -eq 0 ]
}

# counts LOG: the last `N passed, N failed`
counts() {
	sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$1" | tail -n 1 | grep . || echo 0 1
}

case ${1:-all} in
all)	both_lanes ;;
host)	exec "$scripts/test-host.sh" ;;
vm)	exec "$scripts/vm-tests.sh" debug ;;
long)	LONG=1 TIMEOUT=${TIMEOUT:-14400} exec "$scripts/vm-tests.sh" debug-long ;;
*)	die "all, host, vm or long" ;;
esac
