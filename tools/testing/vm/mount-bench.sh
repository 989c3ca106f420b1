#!/bin/bash
# The guest's half of `make bench`: how long a mount takes, side by side.
# Usage: mount-bench.sh MILLION, a disk with a latchfs of 1 TiB and a million
# files.  The others are made here, empty, on sparse files of 1 TiB.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/lib.sh"

MILLION=$1
ROUNDS=${ROUNDS:-7}
declare -A dev times

for FS in latchfs ext4 xfs btrfs; do
	fs_load
	truncate -s 1T "$RUNDIR/$FS.img"
	t0=$(ms)
	fs_mkfs "$RUNDIR/$FS.img" >/dev/null
	printf '  mkfs  %-24s %6d ms\n' "$FS, 1 TiB" $(($(ms) - t0))
	dev[$FS]=$(losetup -f --show "$RUNDIR/$FS.img")
done
dev[million]=$MILLION

for ((i = 0; i < ROUNDS; i++)); do
	for what in latchfs million ext4 xfs btrfs; do
		FS=$what
		[ "$what" != million ] || FS=latchfs
		echo 3 >/proc/sys/vm/drop_caches
		t0=$(ms)
		fs_mount "${dev[$what]}"
		t=$(($(ms) - t0))
		umount "$MNT"
		times[$what]+="$t "
	done
done

for what in latchfs million ext4 xfs btrfs; do
	# shellcheck disable=SC2086
	median=$(printf '%s\n' ${times[$what]} | sort -n | sed -n "$((ROUNDS / 2 + 1))p")
	name="$what, empty"
	[ "$what" != million ] || name="latchfs, 1,000,000 files"
	printf '  mount %-24s %6d ms (median of %d, 1 TiB)\n' "$name" "$median" "$ROUNDS"
done
grep -E '^latchfs' /proc/slabinfo | awk '{ print "  slab  " $1 ": " $4 " bytes an object" }' || true
