#!/bin/bash
# errors=panic: the machine goes down when a damaged directory is read.  The host
# looks for the panic, and for the line that must not come.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)
. "$HERE/lib.sh"

fs_load
fs_mkfs /dev/vda >/dev/null
fs_mount /dev/vda "$MNT" -o errors=panic
mkdir "$MNT/dir"
(cd "$MNT/dir" && seq -f 'a-name-that-is-somewhat-longer-%g' 2000 | xargs touch)
block=$(python3 "$HERE/admin.py" tree-block /dev/vda "$MNT" "$MNT/dir")
umount "$MNT"
dd if=/dev/urandom of=/dev/vda bs=4096 seek="$block" count=1 conv=fsync status=none
echo 3 >/proc/sys/vm/drop_caches
fs_mount /dev/vda "$MNT" -o errors=panic
echo "mounted, now it is read"
ls "$MNT/dir" || true
echo "survived"
