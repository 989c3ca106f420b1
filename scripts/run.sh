#!/bin/bash
# `make run`: everything from nothing to a file system that was used and checked.
#
#   FS=ext4 scripts/run.sh	the same on ext4, to test the test
set -euo pipefail
. "$(dirname "$0")/lib.sh"

t0=$SECONDS
say "1/6 what is needed on this machine"
"$LATCHFS_TOP/scripts/doctor.sh" --install
say "2/6 kernel"
if [ -n "${KDIR:-}" ]; then
	kernel=kdir
else
	"$LATCHFS_TOP/qemu/build-kernel.sh" base >/dev/null
	kernel=base
fi
ko=
if [ "${FS:-latchfs}" = latchfs ]; then
	say "3/6 module"
	ko=$("$LATCHFS_TOP/scripts/module.sh" $kernel)
	say "4/6 tools"
	"$LATCHFS_TOP/scripts/tools.sh" >/dev/null
fi
say "5/6 the tree"
tree=$("$LATCHFS_TOP/scripts/make-tree.sh")
prepared=$((SECONDS - t0))

say "6/6 virtual machine (starts in a few seconds, takes one to two minutes)"
mkdir -p "$LATCHFS_CACHE/vm"
image=$(mktemp "$LATCHFS_CACHE/vm/run.XXXXXX")
truncate -s 1G "$image"
log=$image.out
trap 'rm -f "$log" "$image"' EXIT
rc=0
"$LATCHFS_TOP/qemu/vm.sh" run --kernel base --timeout "${TIMEOUT:-600}" --mem 2G \
	--disk "$image" --rodisk "$tree/tree.tar" \
	--env "FS=${FS:-latchfs}" --env "LATCHFS_KO=$ko" \
	--env "LATCHFS_SPLAT=$LATCHFS_SPLAT" --env "LATCHFS_SPLAT_OK=$LATCHFS_SPLAT_OK" \
	-- "$LATCHFS_TOP/tools/testing/vm/run.sh" "$tree" /dev/vda /dev/vdb | tee "$log" || rc=$?

read -r passed failed < <(sed -nE 's/^guest: ([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$log" | tail -n 1) || true
passed=${passed:-0} failed=${failed:-0}
reasons=$(grep -E '^(not ok|vm: FAILED)' "$log" | grep -v ': not reached$' || true)

# the image as the host sees it
if [ $rc -eq 0 ] && [ "${FS:-latchfs}" = latchfs ]; then
	if "$LATCHFS_TARGET/release/fsck.latchfs" -n "$image"; then
		echo "ok fsck.latchfs of the image on the host"
		passed=$((passed + 1))
	else
		reasons+=$'\n'"not ok fsck.latchfs of the image on the host"
	fi
fi
[ $rc -eq 0 ] || [ "$failed" -gt 0 ] || failed=1
[ -z "$reasons" ] || [ "$failed" -gt 0 ] || failed=1

echo "prepared in $prepared s, all in $((SECONDS - t0)) s"
[ -z "$reasons" ] || printf '%s\n' "$reasons"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
