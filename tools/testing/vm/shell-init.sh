#!/bin/bash
# What `make shell` does before it gives the terminal away.
set -uo pipefail
. "$(cd "$(dirname "$0")" && pwd)/lib.sh"

fs_load && fs_mkfs /dev/vda && fs_mount /dev/vda
cat <<END

$FS is mounted on $MNT (/dev/vda, 1 GB, gone when the VM ends).
The file system of the host is here, read-only, with writable overlays over
/tmp, /etc, /usr and others.  Kernel log: dmesg.  To end: exit.
END
df -h "$MNT"
