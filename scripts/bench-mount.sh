#!/bin/bash
# Mount times beside ext4, XFS and btrfs, in one VM: a part of `make bench FULL=1`.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

"$LATCHFS_TOP/scripts/doctor.sh" --install
"$LATCHFS_TOP/qemu/build-kernel.sh" base >/dev/null
ko=$("$LATCHFS_TOP/scripts/module.sh" base)
"$LATCHFS_TOP/scripts/tools.sh" >/dev/null
image=$(mktemp "$LATCHFS_CACHE/vm/bench.XXXXXX")
trap 'rm -f "$image"' EXIT
say "a file system with a million files"
env CARGO_TARGET_DIR="$LATCHFS_TARGET" cargo run --quiet --locked --release \
	--manifest-path "$LATCHFS_TOP/tools/Cargo.toml" -p latchfs-bench -- --image "$image"
"$LATCHFS_TOP/qemu/vm.sh" run --kernel base --timeout "${TIMEOUT:-900}" --mem 4G --disk "$image" \
	--env "LATCHFS_KO=$ko" --env ROUNDS \
	-- "$LATCHFS_TOP/tools/testing/vm/mount-bench.sh" /dev/vda
