#!/bin/bash
# `make shell`: a shell in a VM with the module loaded and a latchfs mounted.
# `make gdb`: the same with the debug kernel, waiting for gdb.
#
#   scripts/shell.sh [--kernel base|debug] [--gdb]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

kernel=base
gdb=
while [ $# -gt 0 ]; do
	case $1 in
	--kernel)	kernel=$2; shift 2 ;;
	--gdb)		gdb=1 kernel=debug; shift ;;
	*)		die "unknown option $1" ;;
	esac
done

"$LATCHFS_TOP/scripts/doctor.sh" --install
ko=
if [ "${FS:-latchfs}" = latchfs ]; then
	kind=$kernel
	[ -z "${KDIR:-}" ] || [ "$kernel" != base ] || kind=kdir
	ko=$("$LATCHFS_TOP/scripts/module.sh" "$kind")
	"$LATCHFS_TOP/scripts/tools.sh" >/dev/null
fi

opts=()
if [ -n "$gdb" ]; then
	kdir=$("$LATCHFS_TOP/qemu/build-kernel.sh" debug)
	port=${GDB_PORT:-1234}
	opts+=(--qemu-opt="-gdb tcp:localhost:$port" --qemu-opt=-S --append nokaslr)
	cat >&2 <<-END
		The VM waits for gdb.  In another terminal:

		    gdb -ex 'target remote localhost:$port' -ex continue $kdir/vmlinux

		For the symbols of the module, once the guest has loaded it:

		    (gdb) source $kdir/vmlinux-gdb.py
		    (gdb) lx-symbols $(dirname "${ko:-.}")
	END
fi
exec "$LATCHFS_TOP/qemu/vm.sh" shell --kernel "$kernel" --mem 2G --disk 1G \
	--env "FS=${FS:-latchfs}" --env "LATCHFS_KO=$ko" --env "LATCHFS_SPLAT=$LATCHFS_SPLAT" \
	--env "LATCHFS_SPLAT_OK=$LATCHFS_SPLAT_OK" ${opts[@]+"${opts[@]}"} \
	-- "$LATCHFS_TOP/tools/testing/vm/shell-init.sh"
