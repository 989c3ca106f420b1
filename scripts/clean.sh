#!/bin/bash
# Remove what was built; --all: the whole cache, with kernels and their source.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

if [ "${1:-}" = --all ]; then
	rm -rf "$LATCHFS_CACHE"
else
	rm -rf "$LATCHFS_CACHE"/{module,target,vm,tree,log} "$LATCHFS_CACHE"/*.log
	rm -f "$LATCHFS_TOP"/rust-project.json
fi
