#!/bin/bash
# The oracle of the crash tests must accept what a crash may leave, and nothing
# else.  It is in a workspace of its own, which cargo test of the tools leaves out.
set -euo pipefail
. "$(dirname "$0")/../../../scripts/lib.sh"

CARGO_TARGET_DIR=$LATCHFS_TARGET nice -n 2 cargo test --locked \
	--manifest-path "$LATCHFS_TOP/tools/testing/vmtests/Cargo.toml"
