# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0
#
# What the helpers of fstests must know of latchfs.  They have a case for each file
# system they know, and skip the test or guess for any other.  guest.sh has this
# sourced behind common/rc, common/attr, common/quota and common/log, so each
# function here stands in for the one of that name there.

# SIZE [BLOCKSIZE [options of mkfs]]
_try_scratch_mkfs_sized() {
	local size=$1 blocksize=${2:-4096}
	shift
	[ $# -eq 0 ] || shift
	_check_minimal_fs_size "$size"
	[ "$size" -le "$(blockdev --getsize64 "$SCRATCH_DEV")" ] ||
		_notrun "Filesystem $FSTYP on $SCRATCH_DEV cannot have $size bytes"
	_scratch_mkfs -s "$size" -b "$blocksize" "$@"
}

_scratch_mkfs_blocksized() {
	_scratch_mkfs -b "$1"
}

_label_get_max() {
	echo 64
}

# the largest value of an extended attribute: (65536 - 4) / 8
_acl_get_max() {
	echo 8191
}

# names are bytes, only / and NUL are not
_require_names_are_bytes() {
	:
}

# SEEK_HOLE and SEEK_DATA are exact: their tests may be strict
_fstyp_has_non_default_seek_data_hole() {
	return 0
}

# seconds have 64 bits
_filesystem_timestamp_range() {
	echo "$((1 << 63)) $(((1 << 63) - 1))"
}

_require_logstate() {
	_require_command "$(type -P latchfs)" latchfs
}

_print_logstate() {
	if latchfs --json log "$SCRATCH_DEV" | grep -Eq '"clean": *true'; then
		echo "clean log"
	else
		echo "dirty log"
	fi
}
