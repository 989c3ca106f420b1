#!/bin/bash
# Run a command in a virtual machine: the front end of vm.py that knows where
# the kernels are.
#
#   qemu/vm.sh run --kernel base|debug|debug-long [--timeout S] [--mem 2G]
#	[--disk SIZE|FILE]... [--rodisk FILE]... [--share DIR]... [--log FILE]
#	-- CMD...
#   qemu/vm.sh shell --kernel base ... -- CMD...
#
# A kernel that is not there is built first.  KDIR=DIR takes that built tree in
# place of the base kernel.  LATCHFS_KVM=0|1 overrides the detection of KVM.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"

action=${1:-}
case $action in
run | shell)	shift ;;
*)		sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; exit 2 ;;
esac

kernel=base
rest=()
while [ $# -gt 0 ]; do
	case $1 in
	--kernel)	kernel=$2; shift 2 ;;
	--)		break ;;
	*)		rest+=("$1"); shift ;;
	esac
done

if [ "$kernel" = base ] && [ -n "${KDIR:-}" ]; then
	kdir=$KDIR
else
	kdir=$("$LATCHFS_TOP/qemu/build-kernel.sh" "$kernel")
fi
[ -x "$LATCHFS_VENV/bin/vng" ] || "$LATCHFS_TOP/scripts/doctor.sh" --install-tools

export LATCHFS_CACHE LATCHFS_VENV LATCHFS_TOP LATCHFS_SPLAT LATCHFS_SPLAT_OK
# vng starts virtme-run by name; the tools under test come first in the guest
export PATH=$LATCHFS_VENV/bin:$PATH
guest_path=$LATCHFS_TARGET/release:$LATCHFS_BIN:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec python3 "$LATCHFS_TOP/qemu/vm.py" "$action" --kernel "$kernel" --kdir "$kdir" \
	--path "$guest_path" ${rest[@]+"${rest[@]}"} "$@"
