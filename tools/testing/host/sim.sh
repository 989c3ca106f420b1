#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
# The crash simulator in its short form: a fixed set of seeds, and the short
# sequences with a crash at each event.
set -euo pipefail
. "$(dirname "$0")/../../../scripts/lib.sh"

exec "$LATCHFS_TOP/scripts/sim.sh" --short
