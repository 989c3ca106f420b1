#!/bin/bash
# Build latchfs.ko for a kernel and print its path.
#
#   scripts/module.sh base|debug|debug-long|uml [make arguments...]
#   KDIR=DIR scripts/module.sh kdir [make arguments...]
#   RACES=1				with sync points and mutants, in a directory of its own
#
# The products go to $CACHE/module/<kernel>, never into the source tree.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$LATCHFS_TOP/qemu/kernel-env.sh"

kind=${1:?which kernel: base, debug, debug-long, uml or kdir}
shift
case $kind in
kdir)
	kdir=$(cd "${KDIR:?}" && pwd)
	[ -e "$kdir/include/generated/rustc_cfg" ] ||
		die "KDIR=$kdir is not a built kernel with CONFIG_RUST=y"
	out=$LATCHFS_CACHE/module/kdir-$(sha256sum <<<"$kdir" | cut -c 1-10)
	# the compiler the tree was built with
	if grep -q '^CONFIG_CC_IS_CLANG=y' "$kdir/.config"; then
		args=("LLVM=-$LLVM_V")
	else
		args=()
	fi
	;;
*)
	kdir=$("$LATCHFS_TOP/qemu/build-kernel.sh" "$kind")
	out=$LATCHFS_CACHE/module/$(basename "$kdir")
	read -r -a args <<<"$(kernel_make_args "$kind")"
	;;
esac

if [ -n "${RACES:-}" ]; then
	out+=-races
	args+=(LATCHFS_RACES=y)
fi
out+=${MODULE_SUFFIX:-}
# a clippy run compiles nothing when nothing changed: forget the last one
[ -z "${MODULE_SUFFIX:-}" ] || rm -rf "$out"
mkdir -p "$out"
build() {
	make -C "$kdir" M="$LATCHFS_TOP" MO="$out" "${args[@]}" -j"$(nproc)" "$@" modules
}
log=$out.build.log
if ! locked "module-$(basename "$out")" build "$@" >"$log" 2>&1; then
	cat "$log" >&2
	die "the module does not build for $kind"
fi
# warnings must be seen
grep -E '^(warning|.*: warning)' "$log" >&2 || true
echo "$out/latchfs.ko"
