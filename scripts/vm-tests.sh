#!/bin/bash
# The VM lane: build for a debug kernel, run tools/testing/vm/tests.sh in one
# boot, check on the host what the guest left on its disks.
#
#   scripts/vm-tests.sh debug|debug-long|base [NAME...]
#   FS=ext4 scripts/vm-tests.sh base	the tests themselves, on ext4
#   HOSTILE=DIR				hostile images to use (see hostile.py)
#   CLIPPY=0				without clippy for the module
#   TIMEOUT, SEED, LONG
set -euo pipefail
. "$(dirname "$0")/lib.sh"

kind=${1:?which kernel}
shift
fs=${FS:-latchfs}
passed=0
failed=0
reasons=

pass() { echo "ok $1"; passed=$((passed + 1)); }
fail() { echo "not ok $1"; failed=$((failed + 1)); reasons+="not ok $1"$'\n'; }

"$LATCHFS_TOP/scripts/doctor.sh" --install
"$LATCHFS_TOP/qemu/build-kernel.sh" "$kind" >/dev/null
t0=$SECONDS

cargo_build() {
	env CARGO_TARGET_DIR="$LATCHFS_TARGET" cargo build --locked --release \
		--manifest-path "$LATCHFS_TOP/tools/testing/vmtests/Cargo.toml"
}
quietly "$LATCHFS_CACHE/vmtests.log" cargo_build
if [ ! -x "$LATCHFS_BIN/fsx" ]; then
	say "installing fsx $FSX_VERSION with cargo"
	locked tools quietly "$LATCHFS_CACHE/fsx.log" env CARGO_TARGET_DIR="$LATCHFS_CACHE/fsx-build" \
		cargo install --locked fsx --version "$FSX_VERSION" --root "$LATCHFS_CACHE"
	rm -rf "$LATCHFS_CACHE/fsx-build"
fi

ko=
if [ "$fs" = latchfs ]; then
	"$LATCHFS_TOP/scripts/tools.sh" latchfs-fuzz >/dev/null
	ko=$("$LATCHFS_TOP/scripts/module.sh" "$kind")
	# KASAN makes frames larger, and the kernel's stack twice as large for that
	limit=1024
	[ "$kind" = base ] || limit=2048
	if python3 "$LATCHFS_TOP/scripts/stack.py" --limit $limit --top 5 "${ko%.ko}.o"; then
		pass "stack frames of the module, at most $limit bytes"
	else
		fail "stack frames of the module, at most $limit bytes"
	fi
fi
# Hostile images: the program latchfs-hostile of the workspace makes them if there
# is one, called with a directory and how many (hostile.py tells the format); the
# flipped bytes of hostile.py need none.
work=$LATCHFS_CACHE/vm/tests-$kind-$fs
mkdir -p "$work"
exec 8>"$work.lock"
if ! flock -n 8; then
	say "another run uses $work: waiting for it"
	flock 8
fi
hostile=${HOSTILE:-}
make_hostile() {
	rm -rf "$work/hostile" "$work/base.img"
	local mutator=$LATCHFS_TARGET/release/latchfs-hostile
	if [ "$fs" = latchfs ] && [ -x "$mutator" ]; then
		mkdir -p "$work/hostile"
		"$mutator" "$work/hostile" "${HOSTILE_COUNT:-200}"
		return
	fi
	truncate -s "${HOSTILE_SIZE:-16M}" "$work/base.img"
	case $fs in
	latchfs)	"$LATCHFS_TARGET/release/mkfs.latchfs" -f "$work/base.img" >/dev/null ;;
	*)		PATH=$PATH:/usr/sbin:/sbin "mkfs.$fs" -q "$work/base.img" ;;
	esac
	python3 "$LATCHFS_TOP/tools/testing/vm/hostile.py" make "$work/base.img" "$work/hostile" \
		"${HOSTILE_COUNT:-200}"
}
if [ -z "$hostile" ]; then
	make_hostile
	hostile=$work/hostile
fi

disks=()
for d in storm:1G fsx:1G fill:${FILL_SIZE:-128M} posix:1G; do
	rm -f "$work/${d%%:*}.img"
	truncate -s "${d##*:}" "$work/${d%%:*}.img"
	disks+=(--disk "$work/${d%%:*}.img")
done
prepared=$((SECONDS - t0))

# beside the guest, which waits more than it works
clippy=
if [ "$fs" = latchfs ] && [ "${CLIPPY:-1}" = 1 ]; then
	"$LATCHFS_TOP/scripts/clippy-module.sh" "$kind" >"$work/clippy.log" 2>&1 &
	clippy=$!
	trap 'kill "$clippy" 2>/dev/null || true' EXIT
fi

rc=0
: >"$work/output"
guest() {
	say "virtual machine: the $kind kernel takes up to a minute to boot"
	"$LATCHFS_TOP/qemu/vm.sh" run --kernel "$kind" --timeout "${TIMEOUT:-2700}" --mem 3G \
		"${disks[@]}" --log "$work/kernel.log" --append kunit.autorun=1 \
		--env "FS=$fs" --env "LATCHFS_KO=$ko" --env "HOSTILE=$hostile" --env LONG --env SEED \
		--env "LATCHFS_SPLAT=$LATCHFS_SPLAT" --env "LATCHFS_SPLAT_OK=$LATCHFS_SPLAT_OK" \
		-- "$LATCHFS_TOP/tools/testing/vm/tests.sh" "$@" | tee "$work/output"
}
# `panic` alone is a matter of the other machine
[ "$*" = panic ] || guest "$@" || rc=$?

if [ -n "$clippy" ]; then
	if wait "$clippy"; then
		pass "clippy on the module"
	else
		cat "$work/clippy.log"
		fail "clippy on the module"
	fi
fi

# errors=panic needs a machine of its own: when it is named, and in the long form
panics() {
	rm -f "$work/panic.img"
	truncate -s 64M "$work/panic.img"
	"$LATCHFS_TOP/qemu/vm.sh" run --kernel "$kind" --timeout 600 --mem 2G \
		--disk "$work/panic.img" --log "$work/panic.log" --env "LATCHFS_KO=$ko" \
		-- "$LATCHFS_TOP/tools/testing/vm/panic.sh" >"$work/panic.out" 2>&1 || true
	grep -q 'Kernel panic - not syncing: latchfs: errors=panic' "$work/panic.log" &&
		grep -q '^mounted' "$work/panic.out" && ! grep -q '^survived' "$work/panic.out"
}
if [ "$fs" = latchfs ] && [[ "${LONG:+panic} $* " = *"panic "* ]]; then
	if panics; then
		pass "errors=panic"
	else
		tail -n 5 "$work/panic.out"
		fail "errors=panic ($work/panic.log)"
	fi
fi

read -r guest_passed guest_failed < <(sed -nE 's/^guest: ([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$work/output") || true
passed=$((passed + ${guest_passed:-0}))
failed=$((failed + ${guest_failed:-0}))
reasons+=$(grep -E '^(not ok|vm: FAILED)' "$work/output" || true)
# a panic, a timeout or a splat counts although no test may have seen it
[ $rc -eq 0 ] || [ "${guest_failed:-0}" -gt 0 ] || failed=$((failed + 1))

if [ "$fs" = latchfs ]; then
	for d in storm fsx fill posix; do
		# a test that was not asked for left no file system
		[ -z "${*:-}" ] || [ -n "$(head -c 65536 "$work/$d.img" | tr -d '\0' | head -c 1)" ] || continue
		if "$LATCHFS_TARGET/release/fsck.latchfs" -n "$work/$d.img" >"$work/$d.fsck" 2>&1; then
			pass "fsck.latchfs on the host: disk of the $d test"
		else
			tail -n 5 "$work/$d.fsck"
			fail "fsck.latchfs on the host: disk of the $d test ($work/$d.img)"
		fi
	done
fi

echo "VM lane: prepared in $prepared s, all but the kernel in $((SECONDS - t0)) s"
[ -z "$reasons" ] || printf '%s\n' "${reasons%$'\n'}"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
