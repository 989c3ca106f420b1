#!/bin/bash
# Write rust-project.json for the module: the kernel's own generator, which
# knows this tree as an external one.  The tools in tools/ are an ordinary cargo
# workspace and need nothing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
. "$LATCHFS_TOP/qemu/kernel-env.sh"

kdir=${KDIR:-$("$LATCHFS_TOP/qemu/build-kernel.sh" base)}
out=$LATCHFS_CACHE/module/rust-analyzer
mkdir -p "$out"
quietly "$LATCHFS_CACHE/rust-analyzer.log" \
	make -C "$kdir" M="$LATCHFS_TOP" MO="$out" rust-analyzer
if [ -e "$out/rust-project.json" ]; then
	cp "$out/rust-project.json" "$LATCHFS_TOP/rust-project.json"
fi
echo "$LATCHFS_TOP/rust-project.json"
