#!/bin/bash
# What this machine lacks for latchfs, and how to get it.
#
#   scripts/doctor.sh			one screen; exit status 1 if something is missing
#   scripts/doctor.sh --install	install it (apt, cargo, pip), saying what
#   scripts/doctor.sh --install-tools	only what goes into the cache (bindgen, virtme-ng)
set -euo pipefail
. "$(dirname "$0")/lib.sh"

distro=other
major=0
if [ -r /etc/os-release ]; then
	distro=$(. /etc/os-release && echo "$ID")
	major=$(. /etc/os-release && echo "${VERSION_ID:-99}" | cut -d. -f1)	# testing has none
fi

common_packages="make gcc libc6-dev git perl python3 python3-venv ca-certificates tar
	xz-utils zstd bzip2 rsync cpio kmod bc bison flex libelf-dev libssl-dev dwarves
	qemu-system-x86 udev e2fsprogs xfsprogs btrfs-progs fio attr acl dmsetup
	util-linux procps iproute2 shellcheck"
# Debian 12: rustc-web is a current rustc with library sources, which the old
# rustc package and a rustup toolchain without rust-src cannot replace.
bookworm_packages="rustc-web rust-web-src rustfmt-web cargo-web rust-web-clippy
	libclang-19-dev clang-19 lld-19 llvm-19"
trixie_packages="rustc rust-src rustfmt cargo rust-clippy bindgen libclang-dev clang lld llvm"

wanted_packages() {
	case $distro:$major in
	debian:12)	echo $common_packages $bookworm_packages ;;
	debian:*)	echo $common_packages $trixie_packages ;;
	esac
}

missing_packages() {
	local p
	for p in $(wanted_packages); do
		dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || echo "$p"
	done
}

# The bindgen in PATH (with the cache's own in front) if it is new enough.
have_bindgen() {
	local v
	v=$(PATH=$LATCHFS_BIN:$PATH bindgen --version 2>/dev/null | awk '{ print $2 }') || return 1
	[ -n "$v" ] && [ "$(printf '%s\n' 0.71.1 "$v" | sort -V | head -n 1)" = 0.71.1 ]
}

have_vng() { [ -x "$LATCHFS_VENV/bin/vng" ] && "$LATCHFS_VENV/bin/vng" --version >/dev/null 2>&1; }

install_packages() {
	local missing
	missing=$(missing_packages | tr '\n' ' ')
	[ -n "${missing// /}" ] || return 0
	say "installing packages: $missing"
	quietly "$LATCHFS_CACHE/apt-update.log" as_root apt-get update -q
	# shellcheck disable=SC2086
	quietly "$LATCHFS_CACHE/apt-install.log" as_root env DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -q --no-install-recommends $missing
}

install_tools() {
	if ! have_bindgen; then
		say "installing bindgen $BINDGEN_VERSION with cargo, about a minute"
		quietly "$LATCHFS_CACHE/bindgen.log" env CARGO_TARGET_DIR="$LATCHFS_CACHE/bindgen-build" \
			cargo install --locked "bindgen-cli@$BINDGEN_VERSION" --root "$LATCHFS_CACHE"
		rm -rf "$LATCHFS_CACHE/bindgen-build"
	fi
	if ! have_vng; then
		say "installing virtme-ng $VIRTME_VERSION with pip into $LATCHFS_VENV"
		rm -rf "$LATCHFS_VENV"
		python3 -m venv "$LATCHFS_VENV"
		quietly "$LATCHFS_CACHE/pip.log" "$LATCHFS_VENV/bin/pip" install "virtme-ng==$VIRTME_VERSION"
	fi
}

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

has_lib_src() { ( . "$LATCHFS_TOP/qemu/kernel-env.sh"; [ -n "${RUST_LIB_SRC:-}" ] ); }
has_llvm() { ( . "$LATCHFS_TOP/qemu/kernel-env.sh"; ls "$LIBCLANG_PATH"/libclang*.so* ); }
has_all() { local c; for c; do command -v "$c" || return 1; done; }
# sbin need not be in the PATH of an ordinary user
has_fs_tools() { PATH=$PATH:/usr/sbin:/sbin has_all mkfs.ext4 mkfs.xfs mkfs.btrfs losetup dmsetup; }

has_root() { [ "$(id -u)" = 0 ] || command -v sudo; }

# the nearest directory above the cache that exists
cache_disk() {
	local dir=$LATCHFS_CACHE
	until [ -d "$dir" ]; do
		dir=$(dirname "$dir")
	done
	echo "$dir"
}

report() {
	local kvm kernel free packages
	echo "latchfs needs:"
	need "rustc with library sources" "rustc + rust-src (1.85 or newer)" has_lib_src
	need "cargo, clippy, rustfmt" "cargo, clippy, rustfmt" has_all cargo cargo-clippy cargo-fmt
	need "bindgen 0.71.1 or newer" "make doctor FIX=1 builds it with cargo" have_bindgen
	need "clang, lld, llvm, libclang (>= 15)" "clang lld llvm libclang" has_llvm
	need "a kernel build's tools" "gcc make flex bison bc cpio kmod" \
		has_all gcc make flex bison bc cpio xz zstd rsync perl
	need "libelf and openssl headers" "libelf-dev libssl-dev" \
		test -e /usr/include/gelf.h -a -e /usr/include/openssl/opensslv.h
	need "QEMU for x86" "qemu-system-x86" has_all qemu-system-x86_64
	need "udev (the guest's devices)" "udev: without it the guest has no output" \
		test -x /lib/systemd/systemd-udevd -o -x /usr/lib/systemd/systemd-udevd -o -x /sbin/udevd
	need "virtme-ng" "make doctor FIX=1 installs it with pip" have_vng
	need "file-system tools" "e2fsprogs xfsprogs btrfs-progs dmsetup" has_fs_tools
	need "root or sudo" "sudo" has_root
	if kernel=$(ls "$LATCHFS_CACHE/src/current/Makefile" 2>/dev/null); then
		row ok "kernel source" "$(readlink -f "$(dirname "$kernel")")"
	else
		row later "kernel source" "fetched by the first build, or KSRC=DIR"
	fi
	kvm="no: emulation (TCG), ten times slower, works"
	grep -qwE 'vmx|svm' /proc/cpuinfo && [ -w /dev/kvm ] && kvm=yes
	free=$(df -P -BG "$(cache_disk)" 2>/dev/null | awk 'END { print $4 }') || free='?'
	row info "KVM" "$kvm"
	row info "cores, memory, free disk" "$(nproc), $(free -g | awk '/^Mem/ { print $2 " GB" }'), ${free}B (12 GB needed)"
	row info "cache" "$LATCHFS_CACHE"
	if [ "$missing" -gt 0 ]; then
		case $distro in
		debian)
			packages=$(missing_packages | tr '\n' ' ')
			echo "To get it: make doctor FIX=1${packages:+, which begins with}"
			[ -z "$packages" ] || echo "  apt-get install $packages" | fold -s -w 90 ;;
		*)
			echo "This is not Debian: install the above with your package manager, then"
			echo "make doctor FIX=1 for bindgen and virtme-ng, and give the kernel source with"
			echo "KSRC=DIR (7.3) or a built Rust-enabled tree with KDIR=DIR." ;;
		esac
		return 1
	fi
}

case ${1:-} in
--install)
	if [ "$distro" = debian ]; then
		locked packages install_packages
	fi
	locked tools install_tools
	;;
--install-tools)
	locked tools install_tools
	;;
*)
	report
	;;
esac
