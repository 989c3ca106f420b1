# shellcheck shell=bash
# Paths and small helpers that every script of latchfs shares.  Source it, do
# not run it.  Nothing is ever written into the source tree: all products live
# under $LATCHFS_CACHE.

LATCHFS_TOP=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
LATCHFS_CACHE=${LATCHFS_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/latchfs}
LATCHFS_BIN=$LATCHFS_CACHE/bin			# bindgen, fsx: cargo install --root
LATCHFS_VENV=$LATCHFS_CACHE/venv		# virtme-ng
# One for each checkout: cargo tells its packages apart by their place in the
# workspace only, and would take the products of another checkout for its own.
LATCHFS_TARGET=${CARGO_TARGET_DIR:-$LATCHFS_CACHE/target/$(sha256sum <<<"$LATCHFS_TOP" | cut -c 1-10)}
LATCHFS_KERNEL_SERIES=${LATCHFS_KERNEL_SERIES:-7.3}
BINDGEN_VERSION=0.73.2
VIRTME_VERSION=1.42
FSX_VERSION=0.3.2

# What makes a kernel log a failure, in one place for every user.
# shellcheck disable=SC2034
LATCHFS_SPLAT='BUG: |WARNING: |Oops|KASAN|possible deadlock|hung task|blocked for more than|UBSAN|[Kk]ernel panic|general protection fault|suspicious RCU usage|detected stall|invalid opcode|turning off the locking correctness'
# ...and lines that match it and are not one: what the kernel says about its own
# configuration while it boots, and the guest's init about a lean host.
# shellcheck disable=SC2034
LATCHFS_SPLAT_OK='virtme-ng-init: |kasan: KernelAddressSanitizer initialized|Command line:|Kernel command line:'

say() { printf '== %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# as_root CMD...: run CMD with the rights of root, through sudo when needed.
as_root() {
	if [ "$(id -u)" = 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		die "this needs root (or sudo): $*"
	fi
}

# locked NAME CMD...: one process at a time does this to the cache.
locked() {
	local name=$1
	shift
	mkdir -p "$LATCHFS_CACHE/lock"
	(
		flock 9
		"$@"
	) 9>"$LATCHFS_CACHE/lock/$name"
}

# quietly LOG CMD...: run CMD with its output in LOG and a sign of life each
# half minute; show the end of LOG when CMD fails.
quietly() {
	local log=$1 pid rc=0 t0=$SECONDS next=30
	shift
	mkdir -p "$(dirname "$log")"
	"$@" >"$log" 2>&1 </dev/null &
	pid=$!
	while kill -0 "$pid" 2>/dev/null; do
		sleep 1
		if [ $((SECONDS - t0)) -ge $next ]; then
			next=$((next + 30))
			printf '   ... %d s, %s\n' $((SECONDS - t0)) \
				"$(tail -n 1 "$log" | cut -c 1-90)" >&2
		fi
	done
	wait "$pid" || rc=$?
	if [ $rc -ne 0 ]; then
		tail -n 40 "$log" >&2
		printf 'error: failed (exit %d): %s\n       whole log: %s\n' \
			$rc "$*" "$log" >&2
	fi
	return $rc
}
