#!/bin/bash
# `make fstests`: fstests (xfstests), unmodified, in the VM.
#
#   FSTESTS=DIR scripts/fstests.sh	DIR is a built tree of fstests, outside of this one
#   TESTS="generic/001 ..."		these tests, or
#   TIER=smoke|core|quick|auto		those of a tier (default: smoke)
#   KERNEL=base|debug, FS=latchfs|ext4|xfs
#   LANE=uml				in user-mode Linux, several times faster
#   FORCE=1				run again what has a result of this build
#   RETRY=1				run again what has one and did not pass
#   RECORD=1				write the results to tools/testing/fstests/results.tsv
#					(results-ext4.tsv, results-xfs.tsv)
#   BATCH=n, BATCH_SECONDS=s		how many tests, how long, one machine runs
#   TEST_TIMEOUT=s			how long one test may take
#   FSTESTS_MKFS_OPTIONS, FSTESTS_MOUNT_OPTIONS, SOAK_DURATION
#   MACHINE_PREFIX="cmd args"		put in front of each machine, e.g. a flock
#
#   scripts/fstests.sh doctor		what this machine and $FSTESTS lack
set -euo pipefail
. "$(dirname "$0")/lib.sh"

here=$LATCHFS_TOP/tools/testing/fstests
export LANE=${LANE:-qemu}
lane=$LANE
kernel=${KERNEL:-base}
export FS=${FS:-latchfs} MUTANT=${MUTANT:-}
if [ -n "$MUTANT" ]; then
	[ "$FS" = latchfs ] || die "MUTANT is one of latchfs, not of $FS"
	[ -z "${RECORD:-}" ] || die "the results of a mutant are not recorded"
fi

# what the guest is told
guest_env=(FS MUTANT FSTESTS RESULTS LATCHFS_KO TOOLS TEST_DEV SCRATCH_DEV LOGWRITES_DEV SOAK_DURATION
	TEST_TIMEOUT BATCH_SECONDS FSTESTS_MKFS_OPTIONS FSTESTS_MOUNT_OPTIONS
	LATCHFS_SPLAT LATCHFS_SPLAT_OK)
declare -A size=([test]=${TEST_SIZE:-8G} [scratch]=${SCRATCH_SIZE:-16G} [logwrites]=8G)

# one machine, for run.py: LOG RESULTS TEST...
machine() {
	local log=$1 options=() name
	export RESULTS=$2
	shift 2
	if [ "$lane" = uml ]; then
		export TEST_DEV=/dev/disk/test SCRATCH_DEV=/dev/disk/scratch LOGWRITES_DEV=/dev/disk/logwrites
		for name in "${guest_env[@]}"; do
			options+=(--env "$name=${!name:-}")
		done
		for name in test scratch logwrites; do
			options+=(--disk "$name:${size[$name]}")
		done
		exec "$LATCHFS_TOP/qemu/uml.sh" --log "$log" --timeout "$MACHINE_TIMEOUT" \
			--mem "${MEM:-8G}" --share "$RESULTS" "${options[@]}" -- "$here/guest.sh" "$@"
	fi
	export TEST_DEV=/dev/vda SCRATCH_DEV=/dev/vdb LOGWRITES_DEV=/dev/vdc
	for name in "${guest_env[@]}"; do
		options+=(--env "$name")
	done
	for name in test scratch logwrites; do
		rm -f "$WORK/$name.img"
		truncate -s "${size[$name]}" "$WORK/$name.img"
		options+=(--disk "$WORK/$name.img")
	done
	exec "$LATCHFS_TOP/qemu/vm.sh" run --kernel "$kernel" --timeout "$MACHINE_TIMEOUT" \
		--mem "${MEM:-4G}" --log "$log" --share "$RESULTS" \
		"${options[@]}" -- "$here/guest.sh" "$@"
}

# What a test of the tiers needs; more is fine.
packages="acl attr bc dbench e2fsprogs fio gawk perl psmisc quota util-linux xfsprogs xfsdump"
build_packages="autoconf automake libtool-bin make gcc pkg-config uuid-dev xfslibs-dev libacl1-dev
	libaio-dev libattr1-dev libcap-dev libgdbm-dev libgdbm-compat-dev liburing-dev"
how_to_get="fstests (xfstests-dev, v2026.01.05 or newer) is not a part of latchfs and is not
fetched by it.  Get it, build it outside of this tree as its README says, and say
where it is: make fstests FSTESTS=DIR"

missing=0
row() { printf '  %-9s %-34s %s\n' "$1" "$2" "${3:-}"; }
need() {	# need LABEL HINT COMMAND...
	local label=$1 hint=$2
	shift 2
	if "$@" >/dev/null 2>&1; then
		row ok "$label"
	else
		row MISSING "$label" "$hint"
		missing=$((missing + 1))
	fi
}
has_all() { local c; for c; do PATH=$PATH:/usr/sbin:/sbin command -v "$c" || return 1; done; }
has_built() { local f; for f; do [ -x "$FSTESTS/$f" ] || return 1; done; }

doctor() {
	echo "make fstests needs:"
	need "fstests" "FSTESTS=DIR, see below" test -e "${FSTESTS:-/nonexistent}/check"
	if [ $missing -eq 0 ]; then
		need "fstests is built" "see the README of fstests" \
			has_built ltp/fsstress ltp/fsx src/godown src/t_mmap_write_ro src/vfs/vfstest
		need "with AIO" "libaio-dev, and build it again" \
			has_built src/aio-dio-regress/aio-dio-fcntl-race
		need "its lists of groups" "its build makes them" test -s "$FSTESTS/tests/generic/group.list"
		row info "version" "$(git -C "$FSTESTS" describe --tags 2>/dev/null || echo unknown)"
	fi
	need "programs of the tests" "$packages" \
		has_all setfacl setfattr bc dbench fio gawk perl fuser quota xfs_io xfsdump mkfs.ext4
	need "awk is gawk" "gawk" sh -c 'awk --version | grep -q GNU'
	[ $missing -gt 0 ] || return 0
	echo
	echo "$how_to_get"
	echo
	# shellcheck disable=SC2086
	echo "Packages of Debian it is built with:" $build_packages
	# shellcheck disable=SC2086
	echo "and that the tests use:" $packages
	return 1
}

case ${1:-} in
doctor)
	doctor
	exit ;;
machine)
	shift
	machine "$@" ;;
esac

case $lane in
qemu)	;;
uml)	kernel=uml ;;
*)	die "no such lane: $lane (qemu, uml)" ;;
esac
if ! lacks=$(doctor); then
	printf '%s\n' "$lacks" >&2
	exit 1
fi
FSTESTS=$(cd "$FSTESTS" && pwd -P)
export FSTESTS

"$LATCHFS_TOP/scripts/doctor.sh" --install
kdir=$("$LATCHFS_TOP/qemu/build-kernel.sh" "$kernel")
LATCHFS_KO=
TOOLS=
build=$(basename "$kdir")
WORK=$LATCHFS_CACHE/fstests/$FS-$kernel${MUTANT:+-$MUTANT}
mkdir -p "$WORK"
exec 8>"$WORK.lock"
if ! flock -n 8; then
	say "another run uses $WORK: waiting for it"
	flock 8
fi
if [ "$FS" = latchfs ]; then
	"$LATCHFS_TOP/scripts/tools.sh" >/dev/null
	ko=$(RACES=${MUTANT:+1} "$LATCHFS_TOP/scripts/module.sh" "$kernel")
	# as they are now: the next build of somebody must not meet half of a run
	rm -rf "$WORK/build"
	mkdir -p "$WORK/build"
	cp "$ko" "$LATCHFS_TARGET"/release/{mkfs.latchfs,fsck.latchfs,latchfs} "$WORK/build/"
	LATCHFS_KO=$WORK/build/latchfs.ko
	TOOLS=$WORK/build
	build+=-$(cat "$WORK"/build/* | sha256sum | cut -c 1-12)
fi

# Under emulation the debug kernel is several times slower than the base kernel.
slow=1
[ "$kernel" != debug ] || slow=3
# lib.sh makes these for scripts, the guest must have them
export LATCHFS_SPLAT LATCHFS_SPLAT_OK
export TEST_TIMEOUT=${TEST_TIMEOUT:-$((900 * slow))}
export BATCH_SECONDS=${BATCH_SECONDS:-$((900 * slow))}
# the last test of a batch may begin late, and then there is the end
export MACHINE_TIMEOUT=$((BATCH_SECONDS + TEST_TIMEOUT + 600))
export WORK LATCHFS_KO TOOLS KERNEL=$kernel

program=$WORK/machine.sh
printf '#!/bin/bash\nexec %q machine "$@"\n' "$LATCHFS_TOP/scripts/fstests.sh" >"$program"
chmod +x "$program"

exec python3 "$here/run.py" --fstests "$FSTESTS" --fs "$FS" --kernel "$kernel" --build "$build" \
	--work "$WORK" --machine "$program" --prefix "${MACHINE_PREFIX:-}" \
	--tests "${TESTS:-}" --tier "${TIER:-smoke}" --batch "${BATCH:-25}" \
	--patience $((TEST_TIMEOUT + 300)) --splat "$LATCHFS_SPLAT" --splat-ok "$LATCHFS_SPLAT_OK" \
	${FORCE:+--force} ${RETRY:+--retry} ${RECORD:+--record}
