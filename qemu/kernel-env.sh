# shellcheck shell=bash
# The environment and the make arguments of a kernel or module build.  Source
# after scripts/lib.sh.

# /usr/bin comes first here and only here: the Rust toolchain of a build must
# have the library sources (the packages do, a rustup toolchain need not).
PATH=$LATCHFS_BIN:/usr/bin:$PATH
export PATH

if [ -z "${RUST_LIB_SRC:-}" ]; then
	for d in "/usr/src/rustc-$(rustc --version | cut -d' ' -f2)/library" \
		 "$(rustc --print sysroot)/lib/rustlib/src/rust/library"; do
		if [ -e "$d/core/src/lib.rs" ]; then
			export RUST_LIB_SRC=$d
			break
		fi
	done
fi

# The newest LLVM from 15 on that has clang, lld and libclang.
llvm_version() {
	local v
	for v in 22 21 20 19 18 17 16 15; do
		if command -v "clang-$v" >/dev/null && command -v "ld.lld-$v" >/dev/null &&
		   command -v "llvm-nm-$v" >/dev/null; then
			echo "$v"
			return
		fi
	done
	die "no clang with lld and llvm: run make doctor"
}

LLVM_V=$(llvm_version)
# bindgen finds libclang and clang by these
export LIBCLANG_PATH=${LIBCLANG_PATH:-/usr/lib/llvm-$LLVM_V/lib}
export CLANG_PATH=${CLANG_PATH:-/usr/bin/clang-$LLVM_V}

# kernel_make_args KIND: what picks the C compiler
kernel_make_args() {
	case $1 in
	base)	;;
	uml)	echo "ARCH=um" ;;
	*)	echo "LLVM=-$LLVM_V" ;;
	esac
}

# toolchain_id: versions that make a build directory worthless when they change
toolchain_id() {
	rustc --version
	bindgen --version
	case $1 in
	base | uml)	gcc -dumpfullversion ;;
	*)	"clang-$LLVM_V" -dumpversion ;;
	esac
}

# config_fragments KIND
config_fragments() {
	local dir=$LATCHFS_TOP/qemu/configs
	case $1 in
	base | debug)	echo "$dir/common.config $dir/$1.config" ;;
	uml)		echo "$dir/uml.config" ;;
	debug-long)	echo "$dir/common.config $dir/debug.config $dir/debug-long.config" ;;
	*)		die "no such kernel: $1 (base, debug, debug-long, uml)" ;;
	esac
}

# merged_config KIND: the lines that say something; a later fragment wins
merged_config() {
	# shellcheck disable=SC2046
	cat $(config_fragments "$1") | grep '^CONFIG_' |
		awk -F= '{ v[$1] = $0; if (!($1 in n)) { n[$1] = ++k; o[k] = $1 } }
			 END { for (i = 1; i <= k; i++) print v[o[i]] }'
}

# kernel_dir KIND SRC: the build directory, named after what goes into it
kernel_dir() {
	local kind=$1 src=$2 version hash
	version=$(make -s --no-print-directory -C "$src" kernelversion)
	hash=$({ merged_config "$kind"; toolchain_id "$kind"; } | sha256sum | cut -c 1-10)
	echo "$LATCHFS_CACHE/kernel/$version-$kind-$hash"
}
