#!/bin/bash
# The guest's half of `make run`: a real tree through a whole life of a file
# system.  Usage: run.sh TREE DEV TARDEV, where TREE is what scripts/make-tree.sh
# made, TARDEV its tar as a disk and DEV the disk under the loop device.
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/lib.sh"

TREE=$1
DEV=$2
TARDEV=$3
LOOP=/dev/loop0
SUMMARY=$RUNDIR/summary
: >"$SUMMARY"

note() { printf '  %-34s %s\n' "$1" "$2" >>"$SUMMARY"; }

usage_line() {	# free and used of the mounted file system
	mountpoint -q "$MNT" || return 0
	df -B1 --output=size,used,avail "$MNT" | awk 'NR == 2 {
		printf "%.1f MiB used, %.1f MiB free of %.1f MiB\n", $2 / 2^20, $3 / 2^20, $1 / 2^20 }'
}

# step NAME CMD...: time it, show it, count it; after a failure nothing more is
# tried, as all that follows depends on it
dead=
step() {
	local name=$1 t0 t out=$RUNDIR/step.out rc
	shift
	if [ -n "$dead" ]; then
		failed=$((failed + 1))
		printf 'not ok %s: not reached\n' "$name"
		return
	fi
	printf '   %s ...\n' "$name"
	t0=$(ms)
	(
		set -euo pipefail
		"$@"
	) >"$out" 2>&1
	rc=$?
	t=$(($(ms) - t0))
	new_splats
	[ -z "$SPLAT" ] || { rc=1; echo "kernel log: $SPLAT" >>"$out"; }
	t=$(printf '%d.%02d s' $((t / 1000)) $((t % 1000 / 10)))
	if [ $rc -eq 0 ]; then
		passed=$((passed + 1))
		printf 'ok %s (%s)\n' "$name" "$t"
		note "$name" "$t"
	else
		failed=$((failed + 1))
		dead=$name
		tail -n 20 "$out" | sed 's/^/    /'
		printf 'not ok %s: %s\n' "$name" "$(tail -n 1 "$out" | cut -c 1-200)"
		note "$name" "FAILED"
	fi
}

make_fs() {
	losetup "$LOOP" "$DEV"
	fs_mkfs "$LOOP"
}

unpack() {
	tar --numeric-owner -xpf "$TARDEV" -C "$MNT"
	sync -f "$MNT"
}

verify() {	# the content and everything else of all files
	(cd "$MNT" && sha256sum --quiet --strict -c "$TREE/sha256")
	"$HERE/meta.sh" "$MNT" >"$RUNDIR/meta"
	diff "$TREE/meta" "$RUNDIR/meta" >"$RUNDIR/diff" || {
		head -n 20 "$RUNDIR/diff"
		echo "$(grep -c '^[<>]' "$RUNDIR/diff") lines of metadata differ"
		return 1
	}
}

# the sparse file has 64 MiB and five islands
sparse_ok() {
	local blocks
	blocks=$(stat -c %b "$MNT/sparse")
	[ "$blocks" -lt 2048 ] || { echo "the sparse file has $blocks sectors"; return 1; }
}

check() {
	fs_check "$LOOP" >"$RUNDIR/fsck" 2>&1 || {
		cat "$RUNDIR/fsck"
		echo "fsck found something wrong (exit status $?)"
		return 1
	}
}

delete_half() {
	local doomed=$RUNDIR/doomed
	awk 'BEGIN { RS = ORS = "\0" } NR % 2' "$TREE/paths" >"$doomed"
	(cd "$MNT" && xargs -0 rm -f -- <"$doomed")
	sync -f "$MNT"
	# and none of those that were to stay went with them
	(
		cd "$MNT"
		awk 'BEGIN { RS = ORS = "\0" } NR % 2' "$TREE/paths" | tr '\0' '\n' | LC_ALL=C sort >"$RUNDIR/gone"
		find . -type f | LC_ALL=C sort >"$RUNDIR/left"
		LC_ALL=C comm -12 "$RUNDIR/gone" "$RUNDIR/left" >"$RUNDIR/both"
	)
	[ ! -s "$RUNDIR/both" ] || { head -n 3 "$RUNDIR/both"; echo "deleted files are still there"; return 1; }
}

verify_rest() {
	(
		cd "$MNT"
		awk 'BEGIN { RS = ORS = "\0" } NR % 2 == 0' "$TREE/paths" | tr '\0' '\n' >"$RUNDIR/stay"
		# a name of the manifest starts behind the sum and two blanks
		awk 'NR == FNR { stay[$0]; next } substr($0, 67) in stay' \
			"$RUNDIR/stay" "$TREE/sha256" >"$RUNDIR/sha256.rest"
		[ "$(wc -l <"$RUNDIR/sha256.rest")" -eq "$(wc -l <"$RUNDIR/stay")" ]
		sha256sum --quiet --strict -c "$RUNDIR/sha256.rest"
	)
}

{	# read as a whole before it runs
	step "load the module" fs_load
	step "mkfs" make_fs
	step "mount" fs_mount "$LOOP"
	free_empty=$(usage_line)
	step "unpack the tree" unpack
	free_full=$(usage_line)
	files=$(find "$MNT" -type f | wc -l)
	links=$(find "$MNT" -type l | wc -l)
	dirs=$(find "$MNT" -type d | wc -l)
	bytes=$(du -s --apparent-size -B1 "$MNT" 2>/dev/null | cut -f 1)
	step "verify (sha256, metadata)" verify
	step "sparse file is sparse" sparse_ok
	step "unmount" umount "$MNT"
	step "fsck" check
	step "mount again" fs_mount "$LOOP"
	step "verify after remount" verify
	step "delete half" delete_half
	step "verify the other half" verify_rest
	free_half=$(usage_line)
	step "unmount again" umount "$MNT"
	step "fsck of the half" check
	[ ! -s "$RUNDIR/fsck" ] || note "fsck says" "$(tail -n 1 "$RUNDIR/fsck")"
	step "detach the loop device" losetup -d "$LOOP"
	step "unload the module" fs_unload

	echo
	echo "$FS on $(uname -r), $(nproc) CPUs:"
	cat "$SUMMARY"
	note() { printf '  %-34s %s\n' "$1" "$2"; }
	if [ -z "$dead" ]; then
		note "files, directories, symlinks" "$files, $dirs, $links"
		note "bytes" "$bytes ($((bytes >> 20)) MiB)"
		note "space when empty" "$free_empty"
		note "space when full" "$free_full"
		note "space with half deleted" "$free_half"
	fi
	echo
	finish
	exit
}
