#!/bin/bash
# Build mkfs.latchfs, fsck.latchfs and latchfs, and the programs of the packages
# named (of the workspace in tools/), and print where they are.
#
#   scripts/tools.sh [PACKAGE...]
set -euo pipefail
. "$(dirname "$0")/lib.sh"

packages=()
for package in latchfs-mkfs latchfs-fsck latchfs-inspect "$@"; do
	packages+=(-p "$package")
done
export CARGO_TARGET_DIR=$LATCHFS_TARGET
quietly "$LATCHFS_CACHE/tools.log" cargo build --locked --release --bins \
	--manifest-path "$LATCHFS_TOP/tools/Cargo.toml" "${packages[@]}"
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
