#!/bin/bash
# Build the programs of the workspace in tools/ and print where they are.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

export CARGO_TARGET_DIR=$LATCHFS_TARGET
quietly "$LATCHFS_CACHE/tools.log" cargo build --locked --release --bins \
	--manifest-path "$LATCHFS_TOP/tools/Cargo.toml" "$@"
# Cargo allows no dot in the name of a program.
for tool in mkfs fsck; do
	if [ -e "$LATCHFS_TARGET/release/$tool-latchfs" ] &&
	   ! cmp -s "$LATCHFS_TARGET/release/$tool-latchfs" "$LATCHFS_TARGET/release/$tool.latchfs"; then
		# in one step: another process may be about to run it, or a guest in it
		cp "$LATCHFS_TARGET/release/$tool-latchfs" "$LATCHFS_TARGET/release/.$tool.$$"
		mv -f "$LATCHFS_TARGET/release/.$tool.$$" "$LATCHFS_TARGET/release/$tool.latchfs"
	fi
done
echo "$LATCHFS_TARGET/release"
