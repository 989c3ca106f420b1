#!/bin/bash
# `make lint`: the rules of lint.py, formatting, clippy, shellcheck.  The last
# line is `N passed, N failed`.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$LATCHFS_TOP"
passed=0
failed=0
out=$(mktemp "${TMPDIR:-/tmp}/latchfs-lint.XXXXXX")
trap 'rm -f "$out"' EXIT

# try NAME CMD...: its output is shown only when it fails
try() {
	local name=$1
	shift
	if "$@" >"$out" 2>&1 </dev/null; then
		echo "ok $name"
		passed=$((passed + 1))
	else
		tail -n "${LINT_LINES:-40}" "$out" | sed 's/^/    /'
		echo "not ok $name"
		failed=$((failed + 1))
	fi
}

scripts/lint.py | tee "$out" | grep -v ' passed, ' || true
read -r passed failed < <(sed -nE 's/^([0-9]+) passed, ([0-9]+) failed$/\1 \2/p' "$out")

try "the lint finds what it is for" scripts/lint-selftest.py
try "the runner of fstests" tools/testing/fstests/selftest.py
try "rustfmt" scripts/fmt.sh --check

export CARGO_TARGET_DIR=$LATCHFS_TARGET
try "clippy of the tools" nice -n 2 cargo clippy --locked --workspace --all-targets \
	--manifest-path tools/Cargo.toml -- -D warnings
try "clippy of the VM programs" cargo clippy --locked --all-targets \
	--manifest-path tools/testing/vmtests/Cargo.toml -- -D warnings

mapfile -t shell < <(git ls-files '*.sh' .ci/run)
bash_syntax() {
	local f rc=0
	for f; do bash -n "$f" || rc=1; done
	return $rc
}
try "bash syntax" bash_syntax "${shell[@]}"
if command -v shellcheck >/dev/null; then
	# SC1091: sourced files are found at run time; SC2034, SC2154: variables of lib.sh
	try "shellcheck" shellcheck -S warning -e SC1091,SC2034,SC2154 "${shell[@]}"
fi
mapfile -t python < <(git ls-files '*.py')
try "python syntax" python3 -c 'import ast, sys
for f in sys.argv[1:]:
    ast.parse(open(f, encoding="utf-8").read(), f)' "${python[@]}"

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
