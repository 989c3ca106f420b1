#!/bin/bash
# `make bench`: the same work on latchfs, ext4, XFS and btrfs, in one VM and on one
# device, as ratios to the best of the three.
#
#   scripts/bench.sh		the short form, at most 45 minutes
#   scripts/bench.sh --full	more files and rounds, mount times of 1 TiB and with a full log
#   PROFILE=ROW			where the time of one row goes, on latchfs
#   ROUNDS, FILES, SYNCS, FLUSH_MS, FILESYSTEMS, ROWS (see tools/testing/vm/bench.sh),
#   DATA_MB, RANDOM_MB, AGE_MB (bench-data.sh)
#   RST=1			the table as it is in Documentation/performance.rst
set -euo pipefail
. "$(dirname "$0")/lib.sh"

full=
[ "${1:-}" != --full ] || full=1
t0=$SECONDS
if [ -n "$full" ]; then
	export ROUNDS=${ROUNDS:-9} FILES=${FILES:-10000} SYNCS=${SYNCS:-1000}
	export DATA_MB=${DATA_MB:-512} RANDOM_MB=${RANDOM_MB:-64} AGE_MB=${AGE_MB:-2048}
	timeout=${TIMEOUT:-28800}
else
	export ROUNDS=${ROUNDS:-5} FILES=${FILES:-1500} SYNCS=${SYNCS:-300}
	timeout=${TIMEOUT:-3000}
fi

"$LATCHFS_TOP/scripts/doctor.sh" --install
"$LATCHFS_TOP/qemu/build-kernel.sh" base >/dev/null
cargo_build() {
	env CARGO_TARGET_DIR="$LATCHFS_TARGET" cargo build --locked --release \
		--manifest-path "$LATCHFS_TOP/tools/testing/vmtests/Cargo.toml"
}
quietly "$LATCHFS_CACHE/vmtests.log" cargo_build
ko=
case " ${FILESYSTEMS:-latchfs} " in
*" latchfs "*)
	ko=$("$LATCHFS_TOP/scripts/module.sh" base)
	"$LATCHFS_TOP/scripts/tools.sh" >/dev/null
	;;
esac
tree=$("$LATCHFS_TOP/scripts/make-tree.sh")

mkdir -p "$LATCHFS_CACHE/vm"
out=$LATCHFS_CACHE/vm/bench.out
rc=0
look=()
if [ -n "${PROFILE:-}" ]; then
	PROFILE_DIR=$(mktemp -d "$LATCHFS_CACHE/vm/profile.XXXX")
	export PROFILE_DIR
	look=(--share "$PROFILE_DIR" --env PROFILE_DIR --qemu-opt
		"-chardev socket,path=$PROFILE_DIR/gdb,server=on,wait=off,id=gdb -gdb chardev:gdb")
	"$LATCHFS_TOP/qemu/profile.py" "$PROFILE_DIR" >"$out.profile" &
	looker=$!
	trap 'kill "$looker" 2>/dev/null || true; rm -rf "$PROFILE_DIR"' EXIT
fi
"$LATCHFS_TOP/qemu/vm.sh" run --kernel base --timeout "$timeout" --mem 3G \
	--disk "${SIZE:-8G}" --rodisk "$tree/tree.tar" \
	--env "LATCHFS_KO=$ko" --env ROUNDS --env FILES --env SYNCS --env FLUSH_MS \
	--env FILESYSTEMS --env ROWS --env PROFILE ${look[@]+"${look[@]}"} \
	--env DATA_MB --env RANDOM_MB --env AGE_MB \
	-- "$LATCHFS_TOP/tools/testing/vm/bench.sh" /dev/vda /dev/vdb >"$out" 2>&1 || rc=$?
if [ $rc -ne 0 ] || [ -n "${PROFILE:-}" ]; then
	grep -v '^raw ' "$out" || true
	[ $rc -eq 0 ] || die "the benchmark failed, results so far: $out"
	# a row that there is not has told it nothing
	echo end >"$PROFILE_DIR/phase"
	wait "$looker" || die "no such row: $PROFILE"
	cat "$out.profile"
	exit 0
fi
echo "$FILES small files, $SYNCS fsyncs by 1 thread and $((SYNCS * 9 / 2)) by 8; flushes of the device take ${FLUSH_MS:-0} ms"
"$LATCHFS_TOP/scripts/bench-table.py" ${RST:+--rst} <"$out"
[ -z "$full" ] || "$LATCHFS_TOP/scripts/bench-mount.sh"
[ -z "$full" ] || "$LATCHFS_TOP/scripts/bench-recovery.sh"
echo "bench: $((SECONDS - t0)) s, every single result in $out"
