#!/bin/bash
# The VM half of `make races`: the races module in the debug kernel.
# Usage: vm.sh TABLE [NAME...]; rows are added to TABLE.
set -euo pipefail
. "$(dirname "$0")/../../../scripts/lib.sh"

table=${1:?}
shift
kernel=${KERNEL:-debug}
"$LATCHFS_TOP/scripts/doctor.sh" --install
"$LATCHFS_TOP/qemu/build-kernel.sh" "$kernel" >/dev/null
"$LATCHFS_TOP/scripts/tools.sh" >/dev/null
ko=$(RACES=1 "$LATCHFS_TOP/scripts/module.sh" "$kernel")

work=$LATCHFS_CACHE/vm/races-$kernel
mkdir -p "$work/out"
exec 8>"$work.lock"
flock 8
rm -f "$work/disk.img" "$work/out/table"
truncate -s 256M "$work/disk.img"

rc=0
"$LATCHFS_TOP/qemu/vm.sh" run --kernel "$kernel" --timeout "${TIMEOUT:-900}" --mem 2G \
	--disk "$work/disk.img" --log "$work/kernel.log" --share "$work/out" \
	--env FS=latchfs --env "LATCHFS_KO=$ko" --env "OUT=$work/out" \
	-- "$LATCHFS_TOP/tools/testing/races/guest.sh" "$@" || rc=$?
[ ! -e "$work/out/table" ] || cat "$work/out/table" >>"$table"
exit $rc
