#!/bin/bash
# `make races`: every race of the five seeds, forced on the real build and on the
# build without the protection, as one table.  The last line is `N passed, N
# failed`: one for each row.
#
#   scripts/races.sh [host|vm|all|short|vm-short]
#
# host: the engine in userspace (sync points; models under shuttle).
# vm: the races module in the debug kernel; and that a release module has nothing
# of all this.  short: what `make test` has of it; vm-short: the quick part of vm.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

what=${1:-all}
cd "$LATCHFS_TOP"
export CARGO_TARGET_DIR=$LATCHFS_TARGET
out=$LATCHFS_CACHE/races/$what
mkdir -p "$out"
table=$out/table
: >"$table"

# row RACE REPRODUCER WHERE REACHED REAL MUTANT DAMAGE
row() { (IFS=$'\t'; printf '%s\n' "$*" >>"$table"); }

# tests LOG PROFILE CARGO-ARGS...: cargo test; the tests write their rows
tests() {
	local name=$1 log=$out/$1.log profile=$2 rc=0
	shift 2
	say "races: $name"
	LATCHFS_RACES_TABLE=$table nice -n 2 cargo test --locked --profile "$profile" \
		--manifest-path tools/Cargo.toml "$@" >"$log" 2>&1 || rc=$?
	if [ $rc -ne 0 ]; then
		grep -E '^(test .* FAILED|error|the real build:|not reached:)' "$log" ||
			tail -n 20 "$log"
		row "$name" "see $log" host no FAIL MISSED "exit status $rc"
	elif ! grep -qE '^test result: ok\. [1-9]' "$log"; then
		row "$name" "see $log" host no FAIL MISSED "no test ran"
	fi
}

sync_points() {
	tests sync-points sim -p latchfs-engine --lib --features races ::races
	tests data-path sim -p latchfs-pagecache --test races --features races
}

models() {
	tests shuttle sim -p latchfs-engine --lib --features shuttle,races ::mutants::
	tests data-path-shuttle models -p latchfs-pagecache --test models --features shuttle,races mutants::
}

# vm [NAME...]: the reproducers in the virtual machine
vm() {
	local log=$out/vm.log rc=0
	say "races: the module in a virtual machine"
	if scripts/races-symbols.sh debug >"$out/symbols.log" 2>&1; then
		row release-build "nothing of it in the module" module yes pass caught \
			"symbols, names and calls are in the races module only"
	else
		cat "$out/symbols.log"
		row release-build "nothing of it in the module" module yes FAIL MISSED "see above"
	fi
	"$LATCHFS_TOP/tools/testing/races/vm.sh" "$table" "$@" >"$log" 2>&1 || rc=$?
	grep -E '^ok ' "$log" || true
	if [ $rc -ne 0 ]; then
		tail -n 20 "$log"
		row vm "see $log" vm no FAIL MISSED "exit status $rc"
	fi
}

case $what in
short)	sync_points ;;
vm-short) vm T-000-A T-000-C T-002-B T-002-E ;;
host)	sync_points; models ;;
vm)	vm ;;
all)	sync_points; models; vm ;;
*)	die "host, vm, all, short or vm-short" ;;
esac

awk -F '\t' '
	BEGIN { line = "%-19s %-26s %-8s %-8s %-5s %-7s %s\n"
		printf line, "race", "reproducer", "where", "reached", "real", "mutant", "damage" }
	{ printf line, $1, $2, $3, $4, $5, $6, $7 }
	$4 == "yes" && $5 == "pass" && $6 == "caught" { passed++; next }
	{ failed++; bad = bad "not ok " $1 ", " $2 " (" $3 ")\n" }
	END { printf "%s%d passed, %d failed\n", bad, passed, failed; exit failed || !passed }
' <(LC_ALL=C sort "$table")
