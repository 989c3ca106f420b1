#!/bin/bash
# The tests of `make test-vm`, all in one boot.  Usage: tests.sh [NAME...]
#
# Environment: FS, LATCHFS_KO, LATCHFS_SPLAT*, HOSTILE (directory with hostile
# images, see hostile.py), LONG=1 (more of everything, and kmemleak).
# Disks: vda storm, vdb fsx, vdc fill (small), vdd posix; the host checks them
# again afterwards, so each test leaves its file system as it was at umount.
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/lib.sh"
. "$HERE/admin.sh"
. "$HERE/dio.sh"
. "$HERE/xattr.sh"

LONG=${LONG:-}
LOADS=20 STORM_SECONDS=30 FSX_OPS=5000
if [ -n "$LONG" ]; then
	LOADS=100 STORM_SECONDS=300 FSX_OPS=50000
fi

fresh() {	# fresh DEV: a new file system, mounted
	fs_mkfs "$1"
	fs_mount "$1"
}

# done_with DEV: unmounts, and the file system must be what fsck calls clean
done_with() {
	umount "$MNT"
	fs_check "$1" >"$RUNDIR/fsck" 2>&1 || {
		cat "$RUNDIR/fsck"
		echo "fsck after the test: $(tail -n 1 "$RUNDIR/fsck")"
		return 1
	}
}

test_load_unload() {
	local i image=$RUNDIR/load.img
	rm -f "$image"
	truncate -s 256M "$image"
	losetup /dev/loop1 "$image"
	fs_unload 2>/dev/null || true
	fs_load
	fs_mkfs /dev/loop1
	for i in $(seq "$LOADS"); do
		fs_unload
		fs_load
		fs_mount /dev/loop1
		echo "$i" >"$MNT/load-$i"
		[ "$i" -lt 2 ] || equal "file of the last load" "$(cat "$MNT/load-$((i - 1))")" $((i - 1))
		umount "$MNT"
	done
	fs_check /dev/loop1
	losetup -d /dev/loop1
	rm -f "$image"
}

# KUnit suites run when the module is loaded; their results are in the log
test_kunit() {
	local results
	[ "$FS" = latchfs ] || return 0
	results=$(dmesg | grep -aE '^\[[^]]*\] +(not )?ok [0-9]+ ' || true)
	echo "# $(grep -c . <<<"$results" || true) KUnit results"
	# only kernels with KUnit have the directory
	if [ -d /sys/module/kunit ] && [ -z "$results" ]; then
		echo "the module's KUnit suites did not run"
		return 1
	fi
	! grep -aE '\] +not ok' <<<"$results"
}

# a file system in use keeps its module
test_busy() {
	fresh /dev/vdd
	exec 5>"$MNT/open"
	if umount "$MNT" 2>/dev/null; then
		echo "umount of a busy file system succeeded"
		return 1
	fi
	if [ "$FS" = latchfs ] && rmmod latchfs 2>/dev/null; then
		echo "rmmod of a module in use succeeded"
		return 1
	fi
	exec 5>&-
	done_with /dev/vdd
}

test_mount_options() {
	fresh /dev/vdd
	echo data >"$MNT/f"
	mount -o remount,ro "$MNT"
	expect_fail "read-only" touch "$MNT/g"
	expect_fail "read-only" rm "$MNT/f"
	mount -o remount,rw "$MNT"
	touch "$MNT/g"
	umount "$MNT"
	fs_mount /dev/vdd "$MNT" -o ro,noatime
	equal "content on a read-only mount" "$(cat "$MNT/f")" data
	expect_fail "read-only" touch "$MNT/h"
	umount "$MNT"
	expect_fail "" mount -t "$FS" -o this-option-does-not-exist /dev/vdd "$MNT"
	fs_mount /dev/vdd "$MNT" -o nosuid,nodev,noexec,lazytime
	equal "type in df" "$(df --output=fstype "$MNT" | tail -n 1)" "$FS"
	done_with /dev/vdd
}

# what is not a file system of ours must be refused, kindly
test_mount_garbage() {
	local image=$RUNDIR/garbage
	dd if=/dev/zero of="$image" bs=1M count=16 status=none
	losetup /dev/loop2 "$image"
	expect_fail "" mount -t "$FS" /dev/loop2 "$MNT"
	dd if=/dev/urandom of="$image" bs=1M count=4 conv=notrunc status=none
	expect_fail "" mount -t "$FS" /dev/loop2 "$MNT"
	truncate -s 4096 "$image"
	losetup -c /dev/loop2
	expect_fail "" mount -t "$FS" /dev/loop2 "$MNT"
	losetup -d /dev/loop2
	rm -f "$image"
}

test_storm() {
	fresh /dev/vda
	vmtests storm "$MNT" --seconds "$STORM_SECONDS" --processes 2 --seed "${SEED:-1}" --keep
	umount "$MNT"
	fs_check /dev/vda
	fs_mount /dev/vda
	# what the processes left must survive the remount, and go
	find "$MNT/storm" -type f -print0 | xargs -0 cat >/dev/null
	rm -rf "$MNT/storm"
	done_with /dev/vda
}

fsx_run() {	# fsx_run CONFIG
	local seed=${SEED:-$2}
	fresh /dev/vdb
	echo "# fsx: $FSX_OPS operations, seed $seed"
	fsx -q -q -f "$HERE/$1" -N "$FSX_OPS" -S "$seed" -P /tmp "$MNT/file"
	done_with /dev/vdb
}

test_fsx_buffered() { fsx_run fsx-buffered.toml 1; }
test_fsx_mmap() { fsx_run fsx-mmap.toml 2; }
test_fsx_falloc() { fsx_run fsx-falloc.toml 3; }

free_counts() {	# free blocks and inodes
	sync -f "$MNT"
	stat -f -c '%f %d' "$MNT"
}

# fill, empty, and have as much as before; frees may be delayed a little
test_fill() {
	local before after i
	fresh /dev/vdc
	# whatever is allocated once and kept is allocated now
	vmtests fill "$MNT" --seed 7 >/dev/null
	before=$(free_counts)
	vmtests fill "$MNT" --seed "${SEED:-3}"
	for i in $(seq 20); do
		after=$(free_counts)
		[ "$after" != "$before" ] || break
		sleep 0.5
	done
	equal "free blocks and inodes" "$after" "$before"
	done_with /dev/vdc
	fs_mount /dev/vdc
	equal "free blocks and inodes after remount" "$(free_counts)" "$before"
	done_with /dev/vdc
}

# run_checks NAME: each check of NAME.py counts for itself
run_checks() {
	local name=$1 out=$RUNDIR/$1.out
	if ! { fs_mkfs /dev/vdd && fs_mount /dev/vdd; } >"$out" 2>&1; then
		failed=$((failed + 1))
		echo "not ok $name: $(tail -n 1 "$out")"
		return
	fi
	python3 "$HERE/$name.py" "$MNT" 2>&1 | tee "$out" | grep -v ' passed, '
	passed=$((passed + $(grep -c '^ok ' "$out")))
	failed=$((failed + $(grep -c '^not ok ' "$out")))
	if ! grep -q ' passed, ' "$out"; then
		failed=$((failed + 1))
		echo "not ok $name: ended early: $(tail -n 1 "$out")"
	fi
	new_splats
	if [ -n "$SPLAT" ]; then
		failed=$((failed + 1))
		echo "not ok $name: kernel log: $SPLAT"
	fi
	cleanup_mounts
}

# what run_checks left is sound, and goes
checks_fsck() {
	fs_check /dev/vdd
	fs_mount /dev/vdd
	rm -rf "$MNT/$1"-*
	done_with /dev/vdd
}

test_linux_fsck() { checks_fsck linux; }
test_posix_fsck() { checks_fsck posix; }
test_dio_fsck() { checks_fsck dio; }
test_falloc_fsck() { checks_fsck falloc; }
test_xattr_fsck() { checks_fsck xattr; }

test_hostile() {
	local image=$RUNDIR/hostile.img size
	size=$(stat -c %s "$HOSTILE/base.img")
	rm -f "$image"
	truncate -s "$size" "$image"
	losetup /dev/loop3 "$image"
	python3 "$HERE/hostile.py" run "$FS" /dev/loop3 "$image" "$HOSTILE"
	losetup -d /dev/loop3
	rm -f "$image"
}

# nothing may be left of us but what is in use
test_leaks() {
	[ -e /sys/kernel/debug/kmemleak ] || return 0
	fs_unload
	# an object is reported when a second scan does not find it either
	echo scan >/sys/kernel/debug/kmemleak
	sleep 6
	echo scan >/sys/kernel/debug/kmemleak
	cat /sys/kernel/debug/kmemleak >"$RUNDIR/kmemleak"
	fs_load
	if [ -s "$RUNDIR/kmemleak" ]; then
		head -n 60 "$RUNDIR/kmemleak"
		echo "kmemleak: $(grep -c '^unreferenced' "$RUNDIR/kmemleak") unreferenced objects"
		return 1
	fi
}

test_unload() {
	fs_unload
	[ "$FS" != latchfs ] || ! grep -q '^latchfs ' /proc/modules
}

# a machine that loses its device is slow to end: in the long form
[ -n "${LONG:-}" ] || ADMIN_TESTS=${ADMIN_TESTS% device_gone}
ALL="load_unload kunit busy mount_options mount_garbage storm fsx_buffered fsx_mmap fsx_falloc
	fill linux linux_fsck posix posix_fsck dio dio_fsck $DIO_TESTS
	falloc falloc_fsck xattr xattr_fsck $XATTR_TESTS hostile $ADMIN_TESTS leaks unload"

# in braces, so that the whole script is read before it runs: the host may edit it
# meanwhile
{
	new_splats
	fs_load || exit 1
	# shellcheck disable=SC2086
	[ $# -gt 0 ] || set -- $ALL
	for name; do
		case $name in
		panic)
			;;	# the host's
		linux | posix | dio | falloc | xattr)
			run_checks "$name" ;;
		hostile)
			if [ -n "${HOSTILE:-}" ]; then
				run_test hostile
			else
				echo "skipped hostile: no images"
			fi ;;
		*)
			run_test "$name" ;;
		esac
	done
	finish
	exit
}
