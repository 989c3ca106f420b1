#!/bin/bash
# The guest's half of scripts/bench-recovery.sh: how long a mount takes that finds a
# full log.  Usage: recovery.sh DEV...
#
# The images, all the same, were made on the host (`latchfs-bench --fill-log`):
# everything is in the log, nothing is in its place.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/lib.sh"

fs_load
times=
for dev; do
	echo 3 >/proc/sys/vm/drop_caches
	lines=$(dmesg | wc -l)
	t0=$(ms)
	fs_mount "$dev"
	t=$(($(ms) - t0))
	times+="$t "
	dmesg | tail -n +$((lines + 1)) >"$RUNDIR/recovery"
	sed -n 's/^.*latchfs.*: recovery: /    /p' "$RUNDIR/recovery"
	echo "  mount: $t ms"
	# a long one says how far it is
	grep -qE 'recovery: [0-9]+ of [0-9]+ MiB' "$RUNDIR/recovery"
	umount "$MNT"
	fs_check "$dev" >"$RUNDIR/fsck" || { tail -n 5 "$RUNDIR/fsck"; exit 1; }
done
# shellcheck disable=SC2086
median=$(printf '%s\n' $times | sort -n | sed -n "$(($# / 2 + 1))p")
echo "recovery of a full log: $median ms (median of $#)"
