#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Run a command in user-mode Linux, a kernel that is a process of the host: several
# times faster than an emulated machine.
#
#   qemu/uml.sh --log FILE --timeout S [--mem 6G] [--share DIR] [--env NAME=VALUE]...
#	[--disk NAME:SIZE]... -- CMD...
#
# The root is the host's, read-only, with writable layers in memory over /etc, /home,
# /tmp, /usr and /var.  A disk is a file in the guest's memory, /dev/disk/NAME is a
# link to its loop device.  Output of the command and kernel log come on standard
# output and into FILE.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"

log=
timeout=600
mem=6G
cpus=${UML_CPUS:-1}
shares=()
env=()
disks=()
while [ $# -gt 0 ]; do
	case $1 in
	--log)		log=$2; shift 2 ;;
	--timeout)	timeout=$2; shift 2 ;;
	--mem)		mem=$2; shift 2 ;;
	--share)	shares+=("$2"); shift 2 ;;
	--env)		env+=("$2"); shift 2 ;;
	--disk)		disks+=("$2"); shift 2 ;;
	--)		shift; break ;;
	*)		die "unknown option $1" ;;
	esac
done

kdir=$("$LATCHFS_TOP/qemu/build-kernel.sh" uml)
work=$(mktemp -d "$LATCHFS_CACHE/vm/uml.XXXXXX")
trap 'rm -rf "$work"' EXIT
# a process that outlives its parent would hold the memory of a machine
trap 'kill -TERM $(jobs -p) 2>/dev/null || true; exit 143' TERM INT

{
	echo '#!/bin/bash'
	printf 'export PATH=%q HOME=/tmp LC_ALL=C.UTF-8 TERM=dumb LATCHFS_IN_VM=1\n' \
		"$LATCHFS_TARGET/release:$LATCHFS_BIN:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
	for e in ${env[@]+"${env[@]}"}; do
		printf 'export %s=%q\n' "${e%%=*}" "${e#*=}"
	done
	echo "MODULES=$kdir/staged/lib/modules/$(cat "$kdir/include/config/kernel.release")"
	printf 'SHARES=(%s)\nDISKS=(%s)\n' "${shares[*]@Q}" "${disks[*]@Q}"
	printf '. %q\n' "$LATCHFS_TOP/qemu/uml-init.sh"
	printf '( %s ) 2>&1 </dev/null\n' "${*@Q}"
	echo power_off
} >"$work/init"
chmod +x "$work/init"

# kernel modules that are not ours (XFS)
[ -e "$kdir/.staged" ] || {
	make -s -C "$kdir" ARCH=um INSTALL_MOD_PATH="$kdir/staged" modules_install >/dev/null
	touch "$kdir/.staged"
}

: >"$log"
timeout -k 10 "$timeout" "$kdir/linux" mem="$mem" ncpus="$cpus" seccomp=on \
	root=/dev/root rootfstype=hostfs rootflags=/ ro init="$work/init" \
	con=null con0=null,fd:1 loglevel=5 panic=-1 </dev/null 2>&1 |
	tee "$log" &
output=$!
machine=$(jobs -p)	# the first of the pipeline
# A machine that was told to power off may wait for ever for a process that it has lost.
while kill -0 "$machine" 2>/dev/null; do
	if grep -q 'reboot: Power down' "$log"; then
		sleep 5
		kill -TERM "$machine" 2>/dev/null || true
		break
	fi
	sleep 1
done
wait "$output" || true
