#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# The guest's half of `make fstests`: makes of this machine one that fstests can run
# on, then runs tests one after the other (watch.py).  Usage: guest.sh TEST...
#
# Environment: FS, MUTANT, FSTESTS (a built tree of fstests, which is not written to),
# RESULTS (a directory of the host), TEST_DEV, SCRATCH_DEV, LOGWRITES_DEV,
# LATCHFS_KO, TOOLS (directory with mkfs.latchfs and fsck.latchfs), SOAK_DURATION,
# TEST_TIMEOUT, BATCH_SECONDS, FSTESTS_MKFS_OPTIONS, FSTESTS_MOUNT_OPTIONS.
#
# Nothing of this is seen by the host: /etc, /home and /usr are overlays, /mnt is in
# memory.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
ROOM=/mnt/fstests
export PATH=/usr/local/sbin:$PATH

note() { echo "@fstests $*"; }
give_up() { note "broken $*"; exit 1; }

# Users that tests become.  The group of a user has the user's name.
add_users() {
	local user id=60100
	for user in fsgqa fsgqa2 123456-fsgqa; do
		id=$((id + 1))
		grep -q "^$user:" /etc/passwd || {
			echo "$user:x:$id:$id::/home/$user:/bin/bash" >>/etc/passwd
			echo "$user:x:$id:" >>/etc/group
			echo "$user:!:19000:0:99999:7:::" >>/etc/shadow
			mkdir -p "/home/$user"
			chown "$id:$id" "/home/$user"
		}
	done
}

# A directory that looks like the tree of fstests and can be written to, with our
# helpers behind its own and our tests beside its own.
make_shadow() {
	local part
	mkdir -p "$ROOM/upper" "$ROOM/work" "$ROOM/tree"
	mount -t overlay overlay "$ROOM/tree" \
		-o "lowerdir=$FSTESTS,upperdir=$ROOM/upper,workdir=$ROOM/work"
	[ "$FS" = latchfs ] || return 0
	cp "$HERE/overrides.sh" "$ROOM/tree/common/latchfs-overrides"
	for part in rc attr quota log; do
		cp "$FSTESTS/common/$part" "$ROOM/tree/common/$part.upstream"
		printf '. ./common/%s\n' "$part.upstream" latchfs-overrides >"$ROOM/tree/common/$part"
		# as those of fstests end
		echo /bin/true >>"$ROOM/tree/common/$part"
	done
	if [ -d "$HERE/latchfs" ]; then
		mkdir -p "$ROOM/tree/tests/latchfs"
		cp "$HERE"/latchfs/* "$ROOM/tree/tests/latchfs/"
		chmod +x "$ROOM"/tree/tests/latchfs/[0-9][0-9][0-9]
	fi
}

load() {
	case $FS in
	latchfs)
		# copies: faster than the host's files, and nobody builds new ones meanwhile.
		# `fsck -t latchfs` says 0 when there is no fsck.latchfs.
		# Not where the other mkfs.* are: generic/740 wants a refusal for each of those,
		# and a latchfs is replaced without a question.
		cp "$TOOLS"/{mkfs.latchfs,fsck.latchfs,latchfs} /usr/local/sbin/
		[ "$(type -P fsck.latchfs)" = /usr/local/sbin/fsck.latchfs ]
		insmod "$LATCHFS_KO"
		[ -z "${MUTANT:-}" ] || echo "mutant $MUTANT" >/sys/kernel/debug/latchfs/sync/control
		;;
	*)	modprobe "$FS" 2>/dev/null || grep -qw "$FS" /proc/filesystems ;;
	esac
}

make_test_fs() {
	local quiet=(-q)
	case $FS in
	ext4)	quiet+=(-F) ;;
	*)	quiet+=(-f) ;;
	esac
	# shellcheck disable=SC2086
	"mkfs.$FS" "${quiet[@]}" ${FSTESTS_MKFS_OPTIONS:-} "$TEST_DEV"
}

write_config() {
	cat >"$ROOM/local.config" <<-END
		export FSTYP=$FS
		export TEST_DEV=$TEST_DEV TEST_DIR=/mnt/test
		export SCRATCH_DEV=$SCRATCH_DEV SCRATCH_MNT=/mnt/scratch
		export LOGWRITES_DEV=$LOGWRITES_DEV
		export RESULT_BASE=$RESULTS
		export SOAK_DURATION=${SOAK_DURATION:-30}
		export DIFF_LENGTH=40
	END
	[ -z "${FSTESTS_MKFS_OPTIONS:-}" ] ||
		echo "export MKFS_OPTIONS='$FSTESTS_MKFS_OPTIONS'" >>"$ROOM/local.config"
	[ -z "${FSTESTS_MOUNT_OPTIONS:-}" ] ||
		echo "export MOUNT_OPTIONS='$FSTESTS_MOUNT_OPTIONS'" >>"$ROOM/local.config"
}

prepare() {
	mountpoint -q /mnt || mount -t tmpfs -o mode=0755 tmpfs /mnt
	mkdir -p /mnt/test /mnt/scratch "$ROOM"
	# some tests cut paths at the first dot: there must be none in this one
	mkdir -p /mnt/tmp
	chmod 1777 /mnt/tmp
	[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
	mountpoint -q /sys/kernel/debug || mount -t debugfs debugfs /sys/kernel/debug
	mountpoint -q /sys/kernel/config || mount -t configfs configfs /sys/kernel/config || true
	add_users
	load || give_up "no $FS in this kernel"
	make_shadow || give_up "no overlay over $FSTESTS"
	make_test_fs || give_up "no $FS on $TEST_DEV"
	write_config
}

{	# read as a whole before it runs
	TEST_DEV=$(readlink -f "$TEST_DEV")
	SCRATCH_DEV=$(readlink -f "$SCRATCH_DEV")
	LOGWRITES_DEV=$(readlink -f "$LOGWRITES_DEV")
	prepare
	export HOST_OPTIONS=$ROOM/local.config TMPDIR=/mnt/tmp
	export FSTYP=$FS
	cd "$ROOM/tree"
	rc=0
	python3 "$HERE/watch.py" "$@" || rc=$?
	cd /
	# 0: all was run to its end, and what it left must go
	if [ $rc -eq 0 ]; then
		umount -A "$TEST_DEV" 2>/dev/null || true
		umount -A "$SCRATCH_DEV" 2>/dev/null || true
		if [ "$FS" = latchfs ] && ! rmmod latchfs; then
			note "leak the module is still in use behind the last test: $(grep latchfs /proc/mounts | tr '\n' ' ')"
		fi
	fi
	note "finished"
	exit 0
}
