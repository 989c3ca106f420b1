#!/bin/bash
# How long a mount takes that has a full log to replay, in the VM: a part of
# `make bench FULL=1`.  ROUNDS; LOG_MB, the size of the log (64)
set -euo pipefail
. "$(dirname "$0")/lib.sh"

"$LATCHFS_TOP/scripts/doctor.sh" --install
"$LATCHFS_TOP/qemu/build-kernel.sh" base >/dev/null
ko=$("$LATCHFS_TOP/scripts/module.sh" base)
bin=$("$LATCHFS_TOP/scripts/tools.sh" latchfs-bench)
mkdir -p "$LATCHFS_CACHE/vm"
work=$(mktemp -d "$LATCHFS_CACHE/vm/recovery.XXXXXX")
trap 'rm -rf "$work"' EXIT
truncate -s 4G "$work/0.img"
"$bin/mkfs.latchfs" -f --log-size "${LOG_MB:-64}M" "$work/0.img" >/dev/null
"$bin/latchfs-bench" --fill-log "$work/0.img"
disks=(--disk "$work/0.img")
letters=({a..z})
devs=(/dev/vda)
for ((n = 1; n < ${ROUNDS:-3}; n++)); do
	cp --sparse=always "$work/0.img" "$work/$n.img"
	disks+=(--disk "$work/$n.img")
	devs+=("/dev/vd${letters[n]}")
done
"$LATCHFS_TOP/qemu/vm.sh" run --kernel base --timeout "${TIMEOUT:-1800}" --mem 3G "${disks[@]}" \
	--env "LATCHFS_KO=$ko" --env FS=latchfs \
	-- "$LATCHFS_TOP/tools/testing/vm/recovery.sh" "${devs[@]}"
