# shellcheck shell=bash
# Helpers of the scripts that run inside the guest.  Source it.
#
# FS=ext4 runs the same scripts on ext4: what fails there is a mistake of the
# test, not of the file system.

FS=${FS:-latchfs}
MNT=${MNT:-/tmp/mnt}
RUNDIR=/tmp/latchfs-test
mkdir -p "$MNT" "$RUNDIR"

fs_load() {
	case $FS in
	latchfs)
		[ -e "${LATCHFS_KO:?}" ] || { echo "no module: $LATCHFS_KO"; return 1; }
		# shellcheck disable=SC2086
		grep -q '^latchfs ' /proc/modules || insmod "$LATCHFS_KO" ${MODULE_ARGS:-}
		;;
	*)	modprobe "$FS" 2>/dev/null || grep -qw "$FS" /proc/filesystems ;;
	esac
}

fs_unload() {
	case $FS in
	latchfs)	rmmod latchfs ;;
	esac
}

fs_mkfs() {	# DEV [options of mkfs]
	local dev=$1
	shift
	case $FS in
	latchfs)	mkfs.latchfs -f "$@" "$dev" ;;
	ext4)		mkfs.ext4 -q -F "$@" "$dev" ;;
	xfs | btrfs)	"mkfs.$FS" -q -f "$@" "$dev" ;;
	esac
}

fs_mount() {	# DEV [DIR [options of mount]]
	local dev=$1 dir=${2:-$MNT}
	shift
	[ $# -eq 0 ] || shift
	mount -t "$FS" "$@" "$dev" "$dir"
}

# fs_check DEV: read-only, not mounted, says what it found
fs_check() {
	case $FS in
	latchfs)
		# `fsck -t` without the program says 0: call it by name
		fsck.latchfs -n "$1" ;;
	ext4)	e2fsck -fn "$1" ;;
	xfs)	xfs_repair -n "$1" ;;
	btrfs)	btrfs check --readonly "$1" ;;
	esac
}

# new_splats: sets SPLAT to the first line the kernel log must not have and did
# not have at the last call, or to nothing
splats_seen=0
new_splats() {
	local all n
	SPLAT=
	all=$(dmesg | grep -aE "$LATCHFS_SPLAT" | grep -avE "$LATCHFS_SPLAT_OK" || true)
	n=$(grep -c . <<<"$all" || true)
	if [ "$n" -gt "$splats_seen" ]; then
		SPLAT=$(sed -n "$((splats_seen + 1))p" <<<"$all")
	fi
	splats_seen=$n
}

# ms: milliseconds since boot
ms() {
	local up
	read -r up _ </proc/uptime
	echo $((10#${up/./} * 10))
}

passed=0
failed=0

# run_test NAME: the function test_NAME in a subshell with set -e; its last line
# of output is the reason of a failure.
run_test() {
	local name=$1 out=$RUNDIR/$1.out rc t0 t
	t0=$(ms)
	set +e
	(
		set -euo pipefail
		"test_$name"
	) >"$out" 2>&1
	rc=$?
	cleanup_mounts
	t=$((($(ms) - t0) / 1000))
	new_splats
	if [ -n "$SPLAT" ]; then
		rc=1
		echo "kernel log: $SPLAT" >>"$out"
	fi
	if [ $rc -eq 0 ]; then
		passed=$((passed + 1))
		# a remark worth reading
		sed -n 's/^# /   /p' "$out"
		printf 'ok %s (%d s)\n' "$name" $t
	else
		failed=$((failed + 1))
		tail -n "${FAIL_LINES:-15}" "$out" | sed 's/^/    /'
		printf 'not ok %s: %s (%d s)\n' "$name" "$(tail -n 1 "$out" | cut -c 1-200)" $t
	fi
}

# nothing a test left behind may disturb the next one
cleanup_mounts() {
	local dir dev
	cd /
	while read -r dir; do
		umount "$dir" 2>/dev/null || umount -l "$dir"
	done < <(awk -v m="$MNT" '$2 ~ "^" m { print $2 }' /proc/mounts | tac)
	while read -r dev; do
		losetup -d "$dev" || true
	done < <(losetup -n -O NAME,BACK-FILE 2>/dev/null | awk '{ print $1 }')
}

finish() {
	echo "guest: $passed passed, $failed failed"
	[ "$failed" -eq 0 ]
}

# expect_errno NAME CMD...: CMD must fail with that message
expect_fail() {
	local text=$1 out
	shift
	if out=$("$@" 2>&1); then
		echo "succeeded, wanted '$text': $*"
		return 1
	fi
	grep -qi -- "$text" <<<"$out" || { echo "wanted '$text', got '$out': $*"; return 1; }
}

equal() {	# equal WHAT GOT WANTED
	[ "$2" = "$3" ] || { echo "$1: got '$2', wanted '$3'"; return 1; }
}
