#!/bin/bash
# `make crash`: power failures of every kind in the VM, and what is left of them.
#
#   scripts/crash.sh short	on the debug kernel, a few minutes: part of make test
#   scripts/crash.sh full	on the base kernel, more of everything
#   FS=ext4 scripts/crash.sh ...	the tests themselves, on another file system
#   KERNEL, SEED, ROUNDS, LOAD_SECONDS, LOOPS, SAMPLES, STATES
#
# The guest records, breaks and kills (tools/testing/vm/crash.sh); what a power
# failure at any moment of the record would have left is checked here, with the
# engine itself (latchfs-crash).
set -euo pipefail
. "$(dirname "$0")/lib.sh"

form=${1:-full}
fs=${FS:-latchfs}
case $form in
short)
	kernel=${KERNEL:-debug}
	rounds=${ROUNDS:-1}
	export LOAD_SECONDS=${LOAD_SECONDS:-15} LOOPS=${LOOPS:-1} SAMPLES=${SAMPLES:-1}
	states=${STATES:-60}
	tests="record samples shutdown drop error"
	timeout=${TIMEOUT:-900}
	;;
full)
	kernel=${KERNEL:-base}
	rounds=${ROUNDS:-3}
	export LOAD_SECONDS=${LOAD_SECONDS:-90} LOOPS=${LOOPS:-12} SAMPLES=${SAMPLES:-8}
	states=${STATES:-0}
	tests="record samples control shutdown drop error flaky"
	timeout=${TIMEOUT:-3600}
	;;
*)	die "short or full" ;;
esac
export WORKERS=${WORKERS:-3}
tests=${TESTS:-$tests}
seed0=${SEED:-$((1 + RANDOM))}

passed=0
failed=0
reasons=
pass() { echo "ok $1"; passed=$((passed + 1)); }
fail() { echo "not ok $1"; failed=$((failed + 1)); reasons+="not ok $1"$'\n'; }

"$LATCHFS_TOP/scripts/doctor.sh" --install
"$LATCHFS_TOP/qemu/build-kernel.sh" "$kernel" >/dev/null
t0=$SECONDS

cargo_build() {
	env CARGO_TARGET_DIR="$LATCHFS_TARGET" cargo build --locked --release \
		--manifest-path "$LATCHFS_TOP/tools/testing/vmtests/Cargo.toml"
}
quietly "$LATCHFS_CACHE/vmtests.log" cargo_build
ko=
if [ "$fs" = latchfs ]; then
	"$LATCHFS_TOP/scripts/tools.sh" latchfs-crash >/dev/null
	ko=$("$LATCHFS_TOP/scripts/module.sh" "$kernel")
fi
bin=$LATCHFS_TARGET/release

work=$LATCHFS_CACHE/vm/crash-$kernel-$fs
mkdir -p "$work"
exec 8>"$work.lock"
if ! flock -n 8; then
	say "another run uses $work: waiting for it"
	flock 8
fi

make_fs() {
	case $fs in
	latchfs)	"$bin/mkfs.latchfs" -f "$1" ;;
	ext4)		PATH=$PATH:/usr/sbin:/sbin mkfs.ext4 -q -F "$1" ;;
	*)		PATH=$PATH:/usr/sbin:/sbin "mkfs.$fs" -q -f "$1" ;;
	esac >/dev/null
}

# One queue for each disk: with more, two flushes at a time may end in the other order,
# and dm-log-writes, which gives what was written before to the flush that began first
# and logs it when that ends, then has it behind a commit that was written after it.
vm() {	# vm NAME OPTIONS... -- CMD...: output in $work/NAME.out
	local name=$1 rc=0
	shift
	"$LATCHFS_TOP/qemu/vm.sh" run --kernel "$kernel" --timeout "$timeout" --mem 3G \
		--qemu-opt "-global virtio-blk-pci.num-queues=1" \
		--log "$work/$name.log" \
		--disk "$work/vda.img" --disk "$work/vdb.img" --disk "$work/vdc.img" \
		--disk "$work/vdd.img" --disk "$work/vde.img" \
		--env "FS=$fs" --env "LATCHFS_KO=$ko" --env "SEED=$seed" --env WORKERS \
		--env LOAD_SECONDS --env LOOPS --env SAMPLES \
		--env "LATCHFS_SPLAT=$LATCHFS_SPLAT" --env "LATCHFS_SPLAT_OK=$LATCHFS_SPLAT_OK" \
		"$@" >"$work/$name.all" 2>&1 || rc=$?
	# acknowledgments are for the machine
	grep -vE '^ack ' "$work/$name.all" | tee "$work/$name.out" || true
	return $rc
}

# add NAME: counts what the guest counted
add() {
	local p=0 f=1
	read -r p f < <(sed -nE 's/^guest: ([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$work/$1.out" |
		tail -n 1 | grep . || echo 0 1) || true
	passed=$((passed + p))
	failed=$((failed + f))
	reasons+=$(grep -E '^(not ok|vm: FAILED)' "$work/$1.out" || true)
	[ -z "$reasons" ] || reasons=${reasons%$'\n'}$'\n'
}

fresh_disks() {
	local d
	rm -f "$work"/vd?.img "$work/base.img"
	truncate -s "${SIZE:-512M}" "$work/base.img"
	make_fs "$work/base.img"
	for d in vda vdc; do
		cp --sparse=always "$work/base.img" "$work/$d.img"
	done
	truncate -s 8G "$work/vdb.img"
	truncate -s 2G "$work/vdd.img"
	truncate -s 1M "$work/vde.img"
}

# everything that a failure at any moment of the records would have left
check_record() {
	local entry
	[ "$fs" = latchfs ] || return 0
	if "$bin/latchfs-crash" "$work/base.img" "$work/vdb.img" --seed "$seed" \
		--workers "$WORKERS" --states "$states"; then
		pass "every moment of the record (seed $seed)"
	else
		fail "every moment of the record (seed $seed; $work)"
	fi
	entry=$(sed -nE 's/^ *recovery of entry ([0-9]+):.*/\1/p' "$work/vm.out" | head -n 1)
	[ -n "$entry" ] || return 0
	if "$bin/latchfs-crash" "$work/base.img" "$work/vdb.img" --seed "$seed" \
		--workers "$WORKERS" --until "$entry" --then "$work/vdd.img"; then
		pass "every moment of the recovery of entry $entry"
	else
		fail "every moment of the recovery of entry $entry (seed $seed; $work)"
	fi
}

# when the machine is killed
kill_args() {
	local n=$((150 + (seed * 7919) % 500))
	[ "$form" = full ] || n=$((n / 10))
	echo "--kill-at ^ack.[0-9]+.[1-9] $n"
}

# what a machine that was killed left, NAME being its output: seen by the host, and
# by another machine
check_killed() {
	local on_disk
	if ! grep -q '^vm: killed, as asked' "$work/$1.out"; then
		fail "a machine is killed under load"
		return
	fi
	on_disk=$(tr -s '\0' '\n' <"$work/vde.img" | tr '\n' ',')
	echo "   killed after $(grep -cE '^ack [0-9]+ [1-9]' "$work/$1.all") acknowledgments; on the disk: ${on_disk%,}"
	cp --sparse=always "$work/vda.img" "$work/killed.img"
	cp "$work/vde.img" "$work/killed.acks"
	if [ "$fs" = latchfs ]; then
		if "$bin/latchfs-crash" "$work/killed.img" --acks "$work/killed.acks" --seed "$seed" \
			--workers "$WORKERS"; then
			pass "what the killed machine left, on the host"
		else
			fail "what the killed machine left, on the host (seed $seed; $work/killed.img)"
		fi
		[ "$form" = full ] || return 0
	fi
	vm after -- "$LATCHFS_TOP/tools/testing/vm/crash.sh" after-kill || true
	add after
}

kill_round() {
	rm -f "$work/vda.img" "$work/vde.img"
	truncate -s "${SIZE:-512M}" "$work/vda.img"
	truncate -s 1M "$work/vde.img"
	# shellcheck disable=SC2046
	vm kill $(kill_args) -- "$LATCHFS_TOP/tools/testing/vm/crash.sh" kill || true
	check_killed kill
}

host_fsck() {
	[ "$fs" = latchfs ] || return 0
	if "$bin/fsck.latchfs" -n "$work/vda.img" >"$work/fsck" 2>&1; then
		pass "fsck.latchfs of the disk on the host"
	else
		tail -n 5 "$work/fsck"
		fail "fsck.latchfs of the disk on the host ($work/vda.img)"
	fi
}

for ((round = 0; round < rounds; round++)); do
	seed=$((seed0 + round))
	say "crash tests on $fs, $kernel kernel, round $((round + 1)) of $rounds, SEED=$seed"
	fresh_disks
	rc=0
	before=$failed
	# the short form has one machine for all, which ends by being killed
	args=()
	run=$tests
	if [ "$form" = short ] && [ "${KILL:-1}" = 1 ]; then
		read -r -a args <<<"$(kill_args)"
		run="$tests kill"
	fi
	# shellcheck disable=SC2086
	vm vm ${args[@]+"${args[@]}"} -- "$LATCHFS_TOP/tools/testing/vm/crash.sh" $run || rc=$?
	add vm
	[ $rc -eq 0 ] || [ "$failed" -gt "$before" ] || fail "the machine ended with status $rc"
	if [ ${#args[@]} -gt 0 ]; then
		check_killed vm
	else
		host_fsck
	fi
	check_record
	[ "$form" = short ] || [ "${KILL:-1}" = 0 ] || kill_round
done

echo "crash tests: $((SECONDS - t0)) s, first seed $seed0"
[ -z "$reasons" ] || printf '%s\n' "${reasons%$'\n'}" | grep . || true
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
