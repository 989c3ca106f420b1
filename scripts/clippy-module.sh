#!/bin/bash
# clippy over the module, as the kernel runs it; warnings are failures.
# Usage: scripts/clippy-module.sh base|debug|kdir
set -euo pipefail
. "$(dirname "$0")/lib.sh"

# clippy looks at what is compiled: build into a directory of its own, the last
# result of which is thrown away
log=$LATCHFS_CACHE/clippy-module.log
if ! MODULE_SUFFIX=-clippy "$LATCHFS_TOP/scripts/module.sh" "$1" CLIPPY=1 >"$log" 2>&1; then
	tail -n 60 "$log"
	exit 1
fi
if grep -E '^(warning|error)' "$log"; then
	exit 1
fi
