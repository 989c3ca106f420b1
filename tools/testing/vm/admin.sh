# shellcheck shell=bash
# Tests of what an administrator does: shutdown, freeze, trim, options, write
# errors, devices.  Sourced by tests.sh.  Disk vdd, loop devices, device mapper.

# shellcheck disable=SC2034
ADMIN_TESTS="shutdown_ioctl freeze_writers norecovery readonly_device fitrim discard_option
	remount_errors damage sysfs_policy write_errors_end write_errors_retried unmount_ends
	log_error watch mkfs_device device_gone"

admin() { python3 -S -E "$HERE/admin.py" "$@"; }

ours() {	# for tests of what only latchfs has
	[ "$FS" = latchfs ] && return 0
	echo "# not for $FS"
	return 1
}

# put DIR NAME: a file with its name's sum as content, durable
put() { admin put "$1/$2"; }
# held DIR NAME: the file is there and as put left it
held() { admin held "$1/$2"; }

test_shutdown_ioctl() {
	local how
	fresh /dev/vdd
	expect_fail "Invalid argument" admin shutdown "$MNT" 7
	expect_fail "not permitted" setpriv --reuid 1000 --clear-groups --bounding-set -all \
		python3 "$HERE/admin.py" shutdown "$MNT" 2
	touch "$MNT/still-alive"
	for how in default logflush nologflush; do
		put "$MNT" "synced-$how"
		admin shutdown "$MNT" "$how" --with-unsynced "$MNT/late-$how"
		expect_fail "Input/output error" touch "$MNT/after"
		expect_fail "Input/output error" cat "$MNT/synced-$how"
		expect_fail "Input/output error" ls "$MNT/"
		expect_fail "Input/output error" sync -f "$MNT"
		df "$MNT" >/dev/null || true
		umount "$MNT"
		fs_mount /dev/vdd
		held "$MNT" "synced-$how"
		case $how in
		default)	held "$MNT" "late-$how" ;;	# data and metadata
		logflush)	[ -e "$MNT/late-$how" ] ;;	# metadata
		esac
	done
	held "$MNT" synced-default
	held "$MNT" synced-logflush
	done_with /dev/vdd
}

# while it is frozen nothing is written; what is on the device then is whole, and
# needs nothing; the writers go on
test_freeze_writers() {
	local copy=$RUNDIR/frozen.img i pid
	fresh /dev/vdc
	vmtests storm "$MNT" --seconds 10 --processes 2 --seed 5 >"$RUNDIR/freeze.storm" 2>&1 &
	pid=$!
	for i in 1 2; do
		put "$MNT" "before-$i"
		fsfreeze -f "$MNT"
		blockdev --flushbufs /dev/vdc
		cp --sparse=always /dev/vdc "$copy"
		touch "$MNT/waits-$i" &
		blockdev --flushbufs /dev/vdc
		cmp /dev/vdc "$copy"
		fsfreeze -u "$MNT"
		wait $!
		[ -e "$MNT/waits-$i" ]
		fs_check "$copy"
		losetup -r /dev/loop5 "$copy"
		mkdir -p "$MNT-copy"
		# a read-only device: there must be nothing to replay
		fs_mount /dev/loop5 "$MNT-copy" -o ro
		held "$MNT-copy" "before-$i"
		umount "$MNT-copy"
		losetup -d /dev/loop5
	done
	wait $pid
	rm -f "$copy"
	fsfreeze -f "$MNT"
	expect_fail "busy" fsfreeze -f "$MNT"
	fsfreeze -u "$MNT"
	done_with /dev/vdc
}

unclean() {	# unclean DEV: a file system that needs its log
	fresh "$1"
	put "$MNT" synced
	admin shutdown "$MNT" nologflush
	umount "$MNT"
}

# reads the whole device, so it is the small one
test_norecovery() {
	local before
	ours || return 0
	unclean /dev/vdc
	before=$(sha256sum </dev/vdc)
	expect_fail "" fs_mount /dev/vdc "$MNT" -o norecovery
	fs_mount /dev/vdc "$MNT" -o ro,norecovery
	grep -q " $MNT .*norecovery" /proc/mounts
	ls -lR "$MNT" >/dev/null || true
	expect_fail "" mount -o remount,rw "$MNT"
	expect_fail "" touch "$MNT/x"
	umount "$MNT"
	blockdev --flushbufs /dev/vdc
	equal "the device after norecovery" "$(sha256sum </dev/vdc)" "$before"
	fs_mount /dev/vdc
	held "$MNT" synced
	done_with /dev/vdc
}

test_readonly_device() {
	unclean /dev/vdd
	blockdev --setro /dev/vdd
	expect_fail "" fs_mount /dev/vdd
	expect_fail "read-only" fs_mount /dev/vdd "$MNT" -o ro
	fs_mount /dev/vdd "$MNT" -o ro,norecovery
	umount "$MNT"
	blockdev --setrw /dev/vdd
	# a read-only mount of a writable device replays
	fs_mount /dev/vdd "$MNT" -o ro
	held "$MNT" synced
	umount "$MNT"
	# and then there is nothing to replay
	blockdev --setro /dev/vdd
	fs_mount /dev/vdd "$MNT" -o ro
	held "$MNT" synced
	expect_fail "" mount -o remount,rw "$MNT"
	umount "$MNT"
	blockdev --setrw /dev/vdd
	fs_check /dev/vdd
}

allocated() { echo $(($(stat -c %b "$1") / 2048)); }	# MiB

trim_setup() {	# a loop device whose file shows what is discarded
	image=$RUNDIR/trim.img
	rm -f "$image"
	truncate -s 256M "$image"
	losetup /dev/loop4 "$image"
	fs_mkfs /dev/loop4
	fs_mount /dev/loop4 "$MNT" -o "${1:-nodiscard}"
	put "$MNT" keep
	head -c 24M /dev/urandom >"$MNT/big"
	sync -f "$MNT"
	[ "$(allocated "$image")" -ge 24 ]
	rm "$MNT/big"
	sync -f "$MNT"
}

trim_done() {
	held "$MNT" keep
	umount "$MNT"
	fs_check /dev/loop4
	losetup -d /dev/loop4
	rm -f "$image"
}

test_fitrim() {
	local image trimmed
	trim_setup
	[ "$(allocated "$image")" -ge 24 ] || { echo "discarded without being asked"; return 1; }
	expect_fail "Invalid argument" fstrim -o 1T "$MNT"
	expect_fail "Invalid argument" fstrim -l 100 "$MNT"
	# free runs are no larger than that
	trimmed=$(fstrim -v -m 250M "$MNT" | sed -nE 's/.*\(([0-9]+) bytes\).*/\1/p')
	[ "$FS" != latchfs ] || equal "bytes trimmed of large runs" "$trimmed" 0
	trimmed=$(fstrim -v "$MNT" | sed -nE 's/.*\(([0-9]+) bytes\).*/\1/p')
	echo "# fstrim: $trimmed bytes, the image has $(allocated "$image") MiB now"
	[ "$trimmed" -ge $((24 << 20)) ] && [ "$trimmed" -le $((256 << 20)) ]
	[ "$(allocated "$image")" -lt 12 ]
	trim_done
}

test_discard_option() {
	local image i
	trim_setup discard
	# it happens behind the sync
	for i in $(seq 100); do
		[ "$(allocated "$image")" -ge 12 ] || break
		sleep 0.2
	done
	echo "# the image has $(allocated "$image") MiB now"
	[ "$(allocated "$image")" -lt 12 ]
	grep -q " $MNT .*discard" /proc/mounts
	mount -o remount,nodiscard "$MNT"
	! grep -q " $MNT .*[ ,]discard" /proc/mounts
	trim_done
}

test_remount_errors() {
	local value
	ours || return 0
	fresh /dev/vdd
	! grep -q " $MNT .*errors=" /proc/mounts	# the default
	for value in continue shutdown panic; do
		mount -o "remount,errors=$value" "$MNT"
		grep -q " $MNT .*errors=$value" /proc/mounts
	done
	expect_fail "" mount -o remount,errors=perhaps "$MNT"
	expect_fail "" mount -o remount,commit=100000 "$MNT"
	mount -o remount,commit=17,errors=remount-ro "$MNT"
	grep -q " $MNT .*commit=17" /proc/mounts
	! grep -q " $MNT .*errors=" /proc/mounts
	done_with /dev/vdd
}

# with each errors= a damaged directory is met
test_damage() {
	local block value
	ours || return 0
	for value in continue remount-ro shutdown; do
		fs_mkfs /dev/vdd
		fs_mount /dev/vdd "$MNT" -o "errors=$value"
		mkdir "$MNT/dir" "$MNT/good"
		(cd "$MNT/dir" && seq -f 'a-name-that-is-somewhat-longer-%g' 700 | xargs touch)
		block=$(admin tree-block /dev/vdd "$MNT" "$MNT/dir")
		umount "$MNT"
		dd if=/dev/urandom of=/dev/vdd bs=4096 seek="$block" count=1 conv=fsync status=none
		fs_mount /dev/vdd "$MNT" -o "errors=$value"
		touch "$MNT/good/before"
		expect_fail "" ls "$MNT/dir"
		case $value in
		continue)	touch "$MNT/good/after" ;;
		remount-ro)	expect_fail "Read-only" touch "$MNT/good/after"
				[ -e "$MNT/good/before" ]
				expect_fail "" mount -o remount,rw "$MNT" ;;
		shutdown)	expect_fail "Input/output error" touch "$MNT/good/after"
				expect_fail "Input/output error" ls "$MNT/good" ;;
		esac
		umount "$MNT"
		# the superblock remembers, and fsck sees it
		expect_fail "" fs_check /dev/vdd
		[ "$(latchfs super --json /dev/vdd | sed -nE 's/.*"error_count": ([0-9]+).*/\1/p')" -gt 0 ]
	done
}

test_sysfs_policy() {
	local dir=/sys/fs/latchfs/vdd class
	ours || return 0
	[ ! -e $dir ]
	fresh /dev/vdd
	equal "path from the ioctl" "$(admin sysfs-path "$MNT")" "latchfs/vdd"
	equal "uuid from the ioctl" "$(admin uuid "$MNT")" \
		"$(latchfs super --json /dev/vdd | sed -nE 's/.*"uuid": "(.*)".*/\1/p')"
	for class in default EIO ENOSPC; do
		equal "$class retries" "$(cat $dir/error/metadata/$class/max_retries)" -1
		equal "$class timeout" "$(cat $dir/error/metadata/$class/retry_timeout_seconds)" -1
	done
	equal "ENODEV retries" "$(cat $dir/error/metadata/ENODEV/max_retries)" 0
	equal "fail_at_unmount" "$(cat $dir/error/fail_at_unmount)" 1
	echo 5 >$dir/error/metadata/EIO/max_retries
	equal "retries" "$(cat $dir/error/metadata/EIO/max_retries)" 5
	equal "others" "$(cat $dir/error/metadata/ENOSPC/max_retries)" -1
	echo 86400 >$dir/error/metadata/EIO/retry_timeout_seconds
	equal "timeout" "$(cat $dir/error/metadata/EIO/retry_timeout_seconds)" 86400
	for bad in "-2 max_retries" "86401 retry_timeout_seconds" "-2 retry_timeout_seconds" "x max_retries"; do
		expect_fail "Invalid argument" bash -c "echo ${bad% *} >$dir/error/metadata/EIO/${bad#* }"
	done
	expect_fail "Invalid argument" bash -c "echo 2 >$dir/error/fail_at_unmount"
	echo 0 >$dir/error/fail_at_unmount
	equal "fail_at_unmount" "$(cat $dir/error/fail_at_unmount)" 0
	# somebody in a file does not keep it, and removal does not wait for an open file
	exec 5<$dir/error/fail_at_unmount
	done_with /dev/vdd
	[ ! -e $dir ]
	! cat <&5
	exec 5<&-
}

# ---- write errors: the device is made of pieces, so that the log can work while
# everything else fails

SECTORS=0 LOG_START=0 LOG_LEN=0
# pieces WHAT REST: a table; WHAT is the target of the log, REST of everything else
pieces() {
	local log_end=$((LOG_START + LOG_LEN))
	piece 0 "$LOG_START" "$2"
	piece "$LOG_START" "$LOG_LEN" "$1"
	piece "$log_end" $((SECTORS - log_end)) "$2"
}

piece() {	# piece START LENGTH good|bad
	case $3 in
	good)	echo "$1 $2 linear /dev/vdd $1" ;;
	# reads fail, too, but all that the tests need is cached; flakey would fail the
	# flush of the whole device, and with it the log
	bad)	echo "$1 $2 error" ;;
	esac
}

dm_load() {	# dm_load WHAT REST
	pieces "$@" >"$RUNDIR/table"
	dmsetup suspend --nolockfs --noflush --noudevsync broken
	dmsetup load broken "$RUNDIR/table"
	dmsetup resume --noudevsync --noudevrules broken
}

dm_setup() {	# a new file system on it, mounted
	trap dm_cleanup EXIT
	fs_mkfs /dev/vdd
	SECTORS=$(blockdev --getsz /dev/vdd)
	LOG_START=$(($(super_field log_start) * 8))
	LOG_LEN=$(($(super_field log_blocks) * 8))
	pieces good good >"$RUNDIR/table"
	dmsetup create --noudevsync --noudevrules broken "$RUNDIR/table"
	broken=/dev/$(dmsetup info -c --noheadings -o blkdevname broken)
	sysfs=/sys/fs/latchfs/${broken#/dev/}/error
	fs_mount "$broken"
}

dm_cleanup() {	# nothing is left, whatever happened
	umount "$MNT" 2>/dev/null || true
	dmsetup remove --noudevsync --noudevrules --force broken >/dev/null 2>&1 || true
}

super_field() { latchfs super --json /dev/vdd | sed -nE "s/.*\"$1\": ([0-9]+).*/\1/p"; }

dm_done() {	# the file system is unmounted: what is on the device is sound
	dmsetup remove --noudevsync --noudevrules --retry broken
	fs_mount /dev/vdd
	[ -d "$MNT/durable" ]
	done_with /dev/vdd
}

in_log() {	# in_log TEXT: the kernel log has a new line
	dmesg | tail -n +"$LOG_FROM" | grep -q -- "$1"
}
mark_log() { LOG_FROM=$(($(dmesg | wc -l) + 1)); }

# until the file system is down, for at most a minute
until_down() {
	local i
	for i in $(seq 120); do
		! stat "$MNT/." >/dev/null 2>&1 && return 0
		sleep 0.5
	done
	echo "not shut down"
	return 1
}

# limits reached: shut down, and everything that was durable is there
test_write_errors_end() {
	local broken sysfs
	ours || return 0
	dm_setup
	mark_log
	put_name
	dm_load good bad
	echo 2 >"$sysfs/metadata/EIO/max_retries"
	# a freeze wants everything in its place
	expect_fail "Input/output error" fsfreeze -f "$MNT"
	until_down
	in_log "shut down"
	expect_fail "Input/output error" touch "$MNT/x"
	umount "$MNT"
	dm_done
}

# metadata in the log is durable although it cannot go to its place; data could not
# be written, so a name it is
put_name() {
	mkdir "$MNT/durable"
	admin fsync "$MNT/durable"
}

# a device that comes back: nothing is lost, nothing is shut down
test_write_errors_retried() {
	local broken sysfs
	ours || return 0
	dm_setup
	mark_log
	put_name
	dm_load good bad
	expect_fail "Input/output error" fsfreeze -f "$MNT"
	in_log "could not be written"
	chmod 700 "$MNT/durable"
	dm_load good good
	fsfreeze -f "$MNT"
	fsfreeze -u "$MNT"
	umount "$MNT"
	! in_log "shut down"
	fs_check "$broken"
	dm_done
}

# the device never comes back, and the unmount ends (fail_at_unmount)
test_unmount_ends() {
	local broken sysfs
	ours || return 0
	dm_setup
	mark_log
	put_name
	mkdir "$MNT/more"
	admin fsync "$MNT/more"
	dm_load good bad
	timeout 100 umount "$MNT"
	in_log "shut down"
	dm_done
}

# the log cannot be written: down at once, with one message; whoever waits is told
test_log_error() {
	local broken sysfs
	ours || return 0
	dm_setup
	mark_log
	put_name
	dm_load bad good
	mkdir "$MNT/lost"
	expect_fail "Input/output error" admin fsync "$MNT/lost"
	until_down
	equal "messages" "$(dmesg | tail -n +"$LOG_FROM" | grep -c 'latchfs.*shut down')" 1
	umount "$MNT"
	dm_done
}

# fanotify tells of a shutdown and of damage
test_watch() {
	local block
	ours || return 0
	fresh /dev/vdd
	admin watch "$MNT" 108 -- python3 "$HERE/admin.py" shutdown "$MNT" nologflush
	umount "$MNT"
	fresh /dev/vdd
	mkdir "$MNT/dir"
	(cd "$MNT/dir" && seq -f 'a-name-that-is-somewhat-longer-%g' 700 | xargs touch)
	block=$(admin tree-block /dev/vdd "$MNT" "$MNT/dir")
	umount "$MNT"
	dd if=/dev/urandom of=/dev/vdd bs=4096 seek="$block" count=1 conv=fsync status=none
	echo 3 >/proc/sys/vm/drop_caches
	fs_mount /dev/vdd
	admin watch "$MNT" 117,74 -- ls "$MNT/dir"
	umount "$MNT"
	fs_mkfs /dev/vdd
}

test_mkfs_device() {
	local image=$RUNDIR/mkfs.img
	ours || return 0
	fresh /dev/vdd
	expect_fail "in use" mkfs.latchfs -f /dev/vdd
	expect_fail "in use" fsck.latchfs -y /dev/vdd
	touch "$MNT/unharmed"
	done_with /dev/vdd

	rm -f "$image"
	head -c 32M /dev/urandom >"$image"
	losetup /dev/loop4 "$image"
	mkfs.latchfs -f -q -K /dev/loop4
	[ "$(allocated "$image")" -ge 30 ] || { echo "-K discarded"; return 1; }
	mkfs.latchfs -f -q /dev/loop4
	[ "$(allocated "$image")" -lt 16 ] || { echo "$(allocated "$image") MiB left"; return 1; }
	fs_check /dev/loop4
	fs_mount /dev/loop4
	expect_fail "in use" mkfs.latchfs -f "$image"
	umount "$MNT"
	losetup -d /dev/loop4
	rm -f "$image"
}

# the disk is pulled out
test_device_gone() {
	local pci i
	ours || return 0
	fresh /dev/vdd
	put "$MNT" durable
	pci=$(dirname "$(readlink -f /sys/block/vdd/device)")
	mark_log
	echo 1 >"$pci/remove"
	expect_fail "Input/output error" cat "$MNT/durable"
	expect_fail "Input/output error" touch "$MNT/x"
	in_log "the device is gone"
	timeout 100 umount "$MNT"
	echo 1 >/sys/bus/pci/rescan
	for i in $(seq 100); do
		[ ! -b /dev/vdd ] || break
		sleep 0.1
	done
	fs_mount /dev/vdd
	held "$MNT" durable
	done_with /dev/vdd
}
