#!/bin/bash
# Build a kernel once and print its build directory.
#
#   qemu/build-kernel.sh [--config-only|--path] base|debug|debug-long|uml
#
#   --config-only	configure and prepare for module builds, without vmlinux
#   --path		only say where it is or would be
#
# KSRC=DIR builds that source.  The directory is named after the kernel version
# and a hash of configuration and toolchain: a change of either builds anew
# beside the old one.
set -euo pipefail
. "$(dirname "$0")/../scripts/lib.sh"
. "$LATCHFS_TOP/qemu/kernel-env.sh"

mode=build
while [ $# -gt 1 ]; do
	case $1 in
	--config-only)	mode=config ;;
	--path)		mode=path ;;
	*)		die "unknown option $1" ;;
	esac
	shift
done
kind=${1:?which kernel: base, debug, debug-long or uml}
src=$("$LATCHFS_TOP/qemu/get-source.sh")
dir=$(kernel_dir "$kind" "$src")
read -r -a args <<<"$(kernel_make_args "$kind")"

kmake() {
	nice -n "${KERNEL_NICE:-5}" make -C "$src" O="$dir" "${args[@]}" "$@"
}

# Kconfig drops what a dependency forbids without a word.
check_config() {
	local line name lost=0
	while read -r line; do
		name=${line%%=*}
		case $line in
		*=n)	grep -q "^$name=" "$dir/.config" || continue
			line="$name is not set" ;;
		*)	! grep -qxF -- "$line" "$dir/.config" || continue ;;
		esac
		printf 'error: %s kernel: %s did not survive (got: %s)\n' "$kind" "$line" \
			"$(grep -E "^(# )?${name}[= ]" "$dir/.config" || echo 'no such symbol')"
		lost=1
	done < <(merged_config "$kind")
	return $lost
}

configure() {
	mkdir -p "$dir"
	merged_config "$kind" >"$dir/requested.config"
	kmake rustavailable || return 1
	kmake KCONFIG_ALLCONFIG="$dir/requested.config" allnoconfig || return 1
	kmake olddefconfig || return 1
	check_config || { rm -f "$dir/.config"; return 1; }
}

prepare() {
	if [ ! -e "$dir/.configured" ]; then
		say "$kind kernel: configuring in $dir"
		quietly "$dir.configure.log" configure
		quietly "$dir.prepare.log" kmake -j"$(nproc)" modules_prepare
		touch "$dir/.configured"
	fi
}

build() {
	[ ! -e "$dir/.built" ] || return 0
	prepare
	local t0=$SECONDS
	say "$kind kernel: building, about ten minutes on two cores, once"
	local targets=(bzImage modules)
	[ "$kind" != uml ] || targets=(linux modules)
	! grep -q '^CONFIG_GDB_SCRIPTS=y' "$dir/.config" || targets+=(scripts_gdb)
	quietly "$dir.build.log" kmake -j"$(nproc)" "${targets[@]}"
	touch "$dir/.built"
	say "$kind kernel: built in $((SECONDS - t0)) s"
}

case $mode in
config)	locked "kernel-$(basename "$dir")" prepare >&2 ;;
build)	[ -e "$dir/.built" ] || locked kernel-build build >&2 ;;
esac
echo "$dir"
