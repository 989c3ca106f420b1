#!/bin/bash
# Shows that a release module has nothing of the sync points and mutants, and
# that the races module has all of it: by symbols, by strings, and by the calls in
# the disassembly.  The last line is `N passed, N failed`.
#
#   scripts/races-symbols.sh [base|debug]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

kind=${1:-debug}
release=$("$LATCHFS_TOP/scripts/module.sh" "$kind")
races=$(RACES=1 "$LATCHFS_TOP/scripts/module.sh" "$kind")
work=$(mktemp -d "${TMPDIR:-/tmp}/latchfs-symbols.XXXXXX")
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

# All names of points, mutants and kinds of damage.
sed -nE 's/^ *(sleep|spin)\("([^"]+)"\),$/\2/p; s/^ *[A-Za-z0-9]+ = "([^"]+)";$/\1/p' \
	"$LATCHFS_TOP/rust/sys/sync_point/points.rs" | sort -u >"$work/names"

look() {	# look NAME KO: three lists
	nm "${2%.ko}.o" | grep -E 'sync_point|mutants|autopsy' >"$work/$1.symbols" || true
	strings -a "$2" | grep -F -f "$work/names" >"$work/$1.strings" || true
	objdump -d --no-show-raw-insn "${2%.ko}.o" |
		grep -E '\s(call|jmp)\s+[0-9a-f]+ <[^>+]*(sync_point|mutants)[^>+]*>' >"$work/$1.calls" || true
}

try() {	# try TEXT COMMAND...
	local text=$1
	shift
	if "$@"; then
		echo "ok $text"
		passed=$((passed + 1))
	else
		echo "not ok $text"
		failed=$((failed + 1))
	fi
}

empty() {
	[ ! -s "$1" ] || { head -n 5 "$1"; return 1; }
}

all_names() {	# every name is somewhere in the module's strings
	local name rc=0
	while read -r name; do
		grep -qF -- "$name" "$work/races.strings" || { echo "    not there: $name"; rc=1; }
	done <"$work/names"
	return $rc
}

count() { wc -l <"$work/$1"; }

look release "$release"
look races "$races"
try "$kind, release module: no symbol" empty "$work/release.symbols"
try "$kind, release module: none of the $(count names) names" empty "$work/release.strings"
try "$kind, release module: no reference in the code" empty "$work/release.calls"
try "$kind, races module: symbols ($(count races.symbols))" test -s "$work/races.symbols"
try "$kind, races module: every name" all_names
try "$kind, races module: references in the code ($(count races.calls))" test -s "$work/races.calls"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
