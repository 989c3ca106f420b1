#!/bin/bash
# The guest's half of `make bench`: the same work on each file system, on the same
# device, one after the other, in another order in each round.
# Usage: bench.sh DEV TARDEV
#
# Prints `raw ROW FS ROUND MICROSECONDS`; scripts/bench-table.py makes the table.
# Environment: ROUNDS, FILES (of the small files), SYNCS (fsyncs), FILESYSTEMS,
# FLUSH_MS (what a flush of the device takes, by dm-delay), ROWS (only these),
# PROFILE=ROW (only this row, on the first of FILESYSTEMS; tells qemu/profile.py in
# PROFILE_DIR when to look).
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/lib.sh"
. "$HERE/bench-data.sh"

DEV=$1
TARDEV=$2
ROUNDS=${ROUNDS:-5}
FILES=${FILES:-2000}
SYNCS=${SYNCS:-400}
FLUSH_MS=${FLUSH_MS:-0}
ROWS=${ROWS:-}
PROFILE=${PROFILE:-}
read -r -a FILESYSTEMS <<<"${FILESYSTEMS:-latchfs ext4 xfs btrfs}"
[ -z "$PROFILE" ] || { ROUNDS=1; FILESYSTEMS=("${FILESYSTEMS[0]}"); }
DM=(--noudevrules --noudevsync)
DATA_WANTED=
for row in ${ROWS:-all}; do
	case $row in
	all | *-seq | *-random | write-mmap | direct-* | store-*) DATA_WANTED=1 ;;
	esac
done
NODE=
SECTORS=$(blockdev --getsz "$DEV")

# the good device; its flushes may take a while
good_table() {
	if [ "$FLUSH_MS" = 0 ]; then
		echo "0 $SECTORS linear $DEV 0"
	else
		echo "0 $SECTORS delay $DEV 0 0 $DEV 0 0 $DEV 0 $FLUSH_MS"
	fi
}

table() {
	dmsetup suspend --nolockfs "${DM[@]}" bench
	dmsetup load bench --table "$1"
	dmsetup resume "${DM[@]}" bench
}

us() {
	local now=$EPOCHREALTIME
	echo $((10#${now/./}))
}

wanted() { [ -z "$ROWS" ] || [[ " $ROWS " == *" $1 "* ]]; }

# measure ROW CMD...: CMD prints microseconds
measure() {
	local row=$1 time
	shift
	sync -f "$MNT"
	if [ "$row" = "$PROFILE" ]; then
		cat /proc/kallsyms >"$PROFILE_DIR/kallsyms"
		echo "$row" >"$PROFILE_DIR/phase"
		"$@" >/dev/null
		echo end >"$PROFILE_DIR/phase"
		return
	fi
	time=$("$@")
	# shellcheck disable=SC2154
	if wanted "$row"; then
		echo "raw $row $FS $round $time"
	fi
}

work() { vmtests bench "$MNT/$1" --what "$2" --files "$3" --threads "$4"; }

# timed CMD...: prints the microseconds that CMD took
timed() {
	local t0
	t0=$(us)
	"$@" >/dev/null
	echo $(($(us) - t0))
}

untar() {
	mkdir "$MNT/tree"
	tar --numeric-owner -xpf "$TARDEV" -C "$MNT/tree"
	sync -f "$MNT"
}

# what a power failure leaves: nothing more reaches the device
crash() {
	sync -f "$MNT"
	table "0 $SECTORS flakey $DEV 0 0 3600 1 drop_writes"
	umount "$MNT"
	table "$(good_table)"
	echo 3 >/proc/sys/vm/drop_caches
}

one_file_system() {
	local threads what
	fs_mkfs "$NODE" >/dev/null 2>&1
	fs_mount "$NODE"
	for threads in 1 4; do
		mkdir "$MNT/with-$threads"
		for what in create rename unlink mkdir; do
			# later ones need what the earlier ones made
			measure "$what-$threads" work "with-$threads" $what "$FILES" $threads
		done
	done
	for threads in 1 8; do
		mkdir "$MNT/log-$threads"
		if wanted "fsync-$threads"; then
			measure "fsync-$threads" work "log-$threads" append $((SYNCS * (threads + 1) / 2)) $threads
		fi
	done
	[ -z "$DATA_WANTED" ] || data_rows
	if wanted untar; then
		echo 3 >/proc/sys/vm/drop_caches
		cat "$TARDEV" >/dev/null
		measure untar timed untar
	fi
	if wanted rm-tree && [ -d "$MNT/tree" ]; then
		measure rm-tree timed rm -rf "$MNT/tree"
	fi
	if wanted crash-mount; then
		mkdir "$MNT/crash"
		work crash create "$FILES" 4 >/dev/null
		work crash rename "$FILES" 4 >/dev/null
		crash
		measure crash-mount timed fs_mount "$NODE"
	fi
	umount "$MNT"
	age_row
}

{	# read as a whole before it runs
	all=("${FILESYSTEMS[@]}")
	for FS in "${all[@]}"; do
		fs_load
	done
	dmsetup create "${DM[@]}" bench --table "$(good_table)"
	NODE=/dev/$(dmsetup info -c --noheadings -o blkdevname bench)
	for ((round = 0; round < ROUNDS; round++)); do
		for ((n = 0; n < ${#all[@]}; n++)); do
			FS=${all[(n + round) % ${#all[@]}]}
			one_file_system
		done
	done
	exit
}
