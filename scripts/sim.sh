#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The crash simulator (tools/testing/sim).
#
#   --short        what `make test` runs: seeds for two minutes, sequences for one
#   SEEDS=n        n seeds (default 200)
#   FIRST_SEED=k   from seed k on
#   ACE=full       all sequences of up to three operations instead of seeds
#   ACE=quick      up to two
#   STATES=n       crash states of each seed
#   JOBS=n         threads
#   MUTANTS=1      seeds on each mutant of the engine, until one finds it
#   TELL=1         print all that happened in the first seed
#   SECONDS_MAX=n  stop after n seconds
set -euo pipefail
. "$(dirname "$0")/lib.sh"

cd "$LATCHFS_TOP/tools"
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$LATCHFS_TARGET}
features=()
[ -z "${MUTANTS:-}" ] || features=(--features races)
quietly "$LATCHFS_CACHE/log/sim-build.log" nice -n 2 \
	cargo build --locked --profile sim -p latchfs-sim "${features[@]}"
sim=$CARGO_TARGET_DIR/sim/latchfs-sim

if [ "${1:-}" = --short ]; then
	rc=0
	echo "seeds:"
	"$sim" --seeds 300 --first-seed 1 --states 150 --seconds 120 || rc=1
	echo "sequences of up to two operations, and some of three:"
	"$sim" --ace 3 --ace-sample 20 --seconds 60 || rc=1
	exit $rc
fi
[ -z "${MUTANTS:-}" ] || exec "$sim" --mutants
args=(--first-seed "${FIRST_SEED:-0}" --jobs "${JOBS:-0}" --seconds "${SECONDS_MAX:-0}")
[ -z "${STATES:-}" ] || args+=(--states "$STATES")
[ -z "${TELL:-}" ] || args+=(--tell)
case ${ACE:-} in
full) args+=(--ace 3 --seeds "${SEEDS:-0}") ;;
quick) args+=(--ace 2 --seeds "${SEEDS:-0}") ;;
'') args+=(--seeds "${SEEDS:-200}") ;;
*) die "ACE is full or quick" ;;
esac
exec "$sim" "${args[@]}"
