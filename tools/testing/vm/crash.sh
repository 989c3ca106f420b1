#!/bin/bash
# The guest's half of `make crash`.  Usage: crash.sh NAME...
#
#   record	a load on dm-log-writes
#   samples	some of the moments in its log are mounted and checked (the host
#		looks at all of them); one of these mounts is itself recorded, and
#		cut off at some moments
#   shutdown	the shutdown ioctl under load, again and again
#   drop	a device that loses what is written from some moment on
#   error	a device that fails all writes from some moment on
#   flaky	a device that fails writes for a second, now and then
#   kill	a load that never ends: the host kills the machine
#   after-kill	what a machine that was killed left
#   control	without what is under test: a load that ends, and is there (not before
#		record: that takes what the host made)
#
# Environment: FS, LATCHFS_KO, LATCHFS_SPLAT*, SEED, and how much: LOAD_SECONDS,
# SAMPLES, LOOPS, WORKERS.
# Disks: vda the file system, vdb log of dm-log-writes, vdc a copy of vda as it is
# before the load, vdd log of the recorded mount, vde acknowledgments.
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/lib.sh"

SEED=${SEED:-1}
WORKERS=${WORKERS:-3}
LOAD_SECONDS=${LOAD_SECONDS:-20}
SAMPLES=${SAMPLES:-3}
LOOPS=${LOOPS:-3}
ACKS=$RUNDIR/acks

sectors() { blockdev --getsz "$1"; }

# table NAME TABLE: replaces the table of a device while it is in use
table() {
	dmsetup suspend --nolockfs "${DM[@]}" "$1"
	dmsetup load "$1" --table "$2"
	dmsetup resume "${DM[@]}" "$1"
}

# udev is late for whom needs the device at once, and may remove a name that is in
# use again: names of our own for the nodes of devtmpfs
DM=(--noudevrules --noudevsync)
dm_create() {
	dmsetup create "${DM[@]}" "$1" --table "$2"
	ln -sf "/dev/$(dmsetup info -c --noheadings -o blkdevname "$1")" "$RUNDIR/$1"
}
dm_remove() { dmsetup remove "${DM[@]}" --retry "$1"; }

load() { vmtests crash-load "$@" --workers "$WORKERS"; }
verify() { vmtests crash-verify "$@" --workers "$WORKERS"; }

# acks_at_least N: until that much is acknowledged, or the load has ended
acks_at_least() {
	while [ "$(wc -l <"$ACKS")" -lt "$1" ] && kill -0 "$LOAD_PID" 2>/dev/null; do
		sleep 0.05
	done
}

# start_load DIR SEED: in the background, acknowledged in $ACKS
start_load() {
	: >"$ACKS"
	rm -f "$RUNDIR/stop"
	load "$1" --seed "$2" --ack-file "$ACKS" --stop "$RUNDIR/stop" --errors-expected \
		>"$RUNDIR/load" 2>&1 &
	LOAD_PID=$!
}

end_load() {	# it ends by itself when its file system does
	wait "$LOAD_PID"
	sed 's/^/   /' "$RUNDIR/load"
}

stop_load() {
	touch "$RUNDIR/stop"
	end_load
}

checked() {	# fsck of a device that is not mounted
	fs_check "$1" >"$RUNDIR/fsck" 2>&1 || {
		tail -n 20 "$RUNDIR/fsck"
		echo "fsck: $(tail -n 1 "$RUNDIR/fsck")"
		return 1
	}
}

# mounted_and_checked DEV VERIFY-OPTIONS...: recovery, content, fsck
mounted_and_checked() {
	local dev=$1
	shift
	fs_mount "$dev"
	verify "$MNT" "$@"
	umount "$MNT"
	checked "$dev"
}

test_control() {
	fs_mkfs /dev/vda >/dev/null
	fs_mount /dev/vda
	: >"$ACKS"
	load "$MNT" --seed "$SEED" --seconds 3 --ack-file "$ACKS"
	umount "$MNT"
	mounted_and_checked /dev/vda --seed "$SEED" --acks "$ACKS"
	# and the check can fail
	fs_mount /dev/vda
	expect_fail "crash-verify" verify "$MNT" --seed $((SEED + 1)) --acks "$ACKS"
	umount "$MNT"
}

# the file systems on vda and vdc are made by the host and are the same
record() {
	dm_create lw "0 $(sectors /dev/vda) log-writes /dev/vda /dev/vdb"
	fs_mount $RUNDIR/lw
	load "$MNT" --seed "$SEED" --seconds "$LOAD_SECONDS" --acker "python3 $HERE/dmmark.py lw"
	umount "$MNT"
	echo "# $(dmsetup status lw)"
	! dmsetup status lw | grep -q logging_disabled
	dm_remove lw
	blockdev --flushbufs /dev/vdb
	checked /dev/vda
}

test_record() {
	record | sed 's/^load/# load/'
}

# what would be there had the power failed at some moments of the record
test_samples() {
	local until prev=0 n=0
	vmtests log-points /dev/vdb --count "$SAMPLES" >"$RUNDIR/points" 2>"$RUNDIR/points.log"
	echo "# $(cat "$RUNDIR/points.log")"
	while read -r until; do
		n=$((n + 1))
		vmtests log-replay /dev/vdb --to /dev/vdc --from "$prev" --until "$until" --acks "$ACKS"
		prev=$until
		if [ "$n" = "$((SAMPLES / 2 + 1))" ]; then
			cut_recovery "$until"
		fi
		echo "entry $until"
		# mounting changes it, but not for good
		snap_create
		mounted_and_checked $RUNDIR/snap --seed "$SEED" --acks "$ACKS"
		snap_remove
	done <"$RUNDIR/points"
}

# a device for what differs from vdc
snap_create() {
	truncate -s 0 "$RUNDIR/cow"
	truncate -s "${COW_SIZE:-512M}" "$RUNDIR/cow"
	losetup /dev/loop5 "$RUNDIR/cow"
	dm_create snap "0 $(sectors /dev/vdc) snapshot /dev/vdc /dev/loop5 N 8"
}

snap_remove() {
	dm_remove snap
	losetup -d /dev/loop5
	rm -f "$RUNDIR/cow"
}

# cut_recovery ENTRY: records the mount of that moment, and cuts it off at each
# moment in turn
cut_recovery() {
	local until count n
	snap_create
	dm_create lw2 "0 $(sectors $RUNDIR/snap) log-writes $RUNDIR/snap /dev/vdd"
	fs_mount $RUNDIR/lw2
	umount "$MNT"
	dm_remove lw2
	blockdev --flushbufs /dev/vdd
	snap_remove
	echo "recovery-of-entry $1"
	vmtests log-points /dev/vdd --count "$((SAMPLES + 1))" >"$RUNDIR/points2" 2>"$RUNDIR/points.log"
	echo "# recovery of entry $1: $(cat "$RUNDIR/points.log")"
	while read -r until; do
		snap_create
		vmtests log-replay /dev/vdd --to $RUNDIR/snap --until "$until"
		mounted_and_checked $RUNDIR/snap --seed "$SEED" --acks "$ACKS"
		snap_remove
	done <"$RUNDIR/points2"
}

test_shutdown() {
	local i how dir
	fs_mkfs /dev/vda >/dev/null
	fs_mount /dev/vda
	for i in $(seq "$LOOPS"); do
		dir=$MNT/round$i
		mkdir "$dir"
		start_load "$dir" $((SEED * 1000 + i))
		acks_at_least $((10 + (SEED * 7919 + i * 104729) % 90))
		case $((i % 3)) in
		0)	how=default ;;
		1)	how=nologflush ;;
		2)	how=logflush ;;
		esac
		python3 "$HERE/shutdown.py" "$MNT" $how
		end_load
		umount "$MNT"
		fs_mount /dev/vda
		echo "round $i, $how"
		verify "$dir" --seed $((SEED * 1000 + i)) --acks "$ACKS"
		if [ "$i" -gt 1 ]; then
			verify "$MNT/round$((i - 1))" --seed $((SEED * 1000 + i - 1)) --acks "$ACKS.last"
			rm -rf "$MNT/round$((i - 1))"
		fi
		cp "$ACKS" "$ACKS.last"
		umount "$MNT"
		checked /dev/vda
		fs_mount /dev/vda
	done
	umount "$MNT"
}

# a new file system on a device that can be made to fail
flakey() {
	local size
	size=$(sectors /dev/vda)
	GOOD="0 $size linear /dev/vda 0"
	DROP="0 $size flakey /dev/vda 0 0 3600 1 drop_writes"
	ERROR="0 $size flakey /dev/vda 0 0 3600 1 error_writes"
	fs_mkfs /dev/vda >/dev/null
	dm_create flk "$GOOD"
}

test_drop() {
	local i
	for i in $(seq "$LOOPS"); do
		flakey
		fs_mount $RUNDIR/flk
		start_load "$MNT" $((SEED * 2000 + i))
		acks_at_least $((20 + (SEED * 7919 + i * 104729) % 120))
		# what is acknowledged from here on may be lost
		cp "$ACKS" "$ACKS.low"
		table flk "$DROP"
		cp "$ACKS" "$ACKS.high"
		acks_at_least $(($(wc -l <"$ACKS") + 20))
		stop_load
		umount "$MNT"
		table flk "$GOOD"
		echo "round $i"
		mounted_and_checked $RUNDIR/flk --seed $((SEED * 2000 + i)) \
			--acks "$ACKS.low" --acks-high "$ACKS.high"
		dm_remove flk
	done
}

test_error() {
	local i
	for i in $(seq "$LOOPS"); do
		flakey
		fs_mount $RUNDIR/flk
		start_load "$MNT" $((SEED * 3000 + i))
		acks_at_least $((20 + (SEED * 7919 + i * 104729) % 120))
		table flk "$ERROR"
		end_load
		timeout 120 umount "$MNT"
		table flk "$GOOD"
		echo "round $i"
		# an fsync that succeeded is kept, whenever that was
		mounted_and_checked $RUNDIR/flk --seed $((SEED * 3000 + i)) --acks "$ACKS"
		dm_remove flk
	done
}

# two seconds of every three the device works
test_flaky() {
	flakey
	fs_mount $RUNDIR/flk
	start_load "$MNT" $((SEED * 4000))
	acks_at_least 20
	table flk "0 $(sectors /dev/vda) flakey /dev/vda 0 2 1 1 error_writes"
	end_load
	timeout 120 umount "$MNT"
	table flk "$GOOD"
	mounted_and_checked $RUNDIR/flk --seed $((SEED * 4000)) --acks "$ACKS"
	dm_remove flk
}

# no test that returns: the machine ends
kill_load() {
	fs_mkfs /dev/vda >/dev/null
	fs_mount /dev/vda
	# what the tests before did is counted before the machine is gone
	finish || true
	echo "kill: the load begins"
	load "$MNT" --seed "$SEED" --ack-disk /dev/vde
}

test_after_kill() {
	mounted_and_checked /dev/vda --seed "$SEED" --acks /dev/vde
}

{	# read as a whole before it runs
	new_splats
	fs_load || exit 1
	for name; do
		case $name in
		kill)	kill_load ;;
		*)	run_test "${name//-/_}" ;;
		esac
		# what a test that failed left
		dmsetup remove_all --force || true
	done
	finish
	exit
}
