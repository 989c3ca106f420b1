#!/bin/bash
# Loads the races module and runs the reproducers.  Usage: guest.sh [NAME...]
set -uo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/../vm/lib.sh"

fs_load || exit 1
python3 "$HERE/guest.py" /dev/vda "$OUT/table" "$@"
rc=$?
fs_unload || { echo "the module cannot be unloaded"; rc=1; }
exit $rc
