# shellcheck shell=bash
# Attributes beyond one mount: remounts, crashes, idmapped mounts.  Sourced by tests.sh.

# shellcheck disable=SC2034 # tests.sh uses it
XATTR_TESTS="xattr_remount xattr_crash"

# attributes of every kind below DIR, in one order
xattr_dump() {	# DIR
	(cd "$1" && find . -print0 | sort -z | xargs -0 python3 -c '
import hashlib, os, sys
for path in sys.argv[1:]:
    for name in sorted(os.listxattr(path, follow_symlinks=False)):
        value = os.getxattr(path, name, follow_symlinks=False)
        print(path, name, len(value), hashlib.md5(value).hexdigest())
')
}

xattr_fill() {	# DIR
	python3 - "$1" <<-'END'
	import os, struct, sys
	os.chdir(sys.argv[1])
	acl = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *e) for e in (
	    (1, 7, 2**32 - 1), (2, 5, 1000), (4, 5, 2**32 - 1), (16, 7, 2**32 - 1), (32, 0, 2**32 - 1)))
	os.mkdir("d")
	os.setxattr("d", "system.posix_acl_default", acl)
	for n in range(200):
	    path = f"d/f{n}"
	    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o666))
	    os.setxattr(path, "user.small", b"s" * (n % 50))
	    if n % 10 == 0:
	        os.setxattr(path, "user.large", bytes([n]) * (n * 300 + 5000))
	    if n % 25 == 0:
	        for k in range(60):
	            os.setxattr(path, f"trusted.{k}", b"%d" % (n * k))
	END
}

test_xattr_remount() {
	local before
	fresh /dev/vdd
	xattr_fill "$MNT"
	before=$(xattr_dump "$MNT")
	equal "names of attributes" "$(wc -l <<<"$before")" 901
	umount "$MNT"
	fs_check /dev/vdd
	fs_mount /dev/vdd
	equal "attributes after a remount" "$(xattr_dump "$MNT")" "$before"
	rm -rf "$MNT/d"
	done_with /dev/vdd
}

# what was synced survives a shutdown without another write, and nothing of it is half there
test_xattr_crash() {
	local before
	fresh /dev/vdd
	xattr_fill "$MNT"
	sync -f "$MNT"
	before=$(xattr_dump "$MNT")
	# replaced, and not synced: either value may be there, whole
	python3 - "$MNT" <<-'END'
	import os, sys
	os.chdir(sys.argv[1])
	for n in range(0, 200, 10):
	    os.setxattr(f"d/f{n}", "user.large", b"new" * 15000)
	END
	python3 "$HERE/shutdown.py" "$MNT" "${SHUTDOWN:-logflush}"
	umount "$MNT"
	fs_mount /dev/vdd
	equal "attributes that were not changed" "$(xattr_dump "$MNT" | grep -v user.large)" \
		"$(grep -v user.large <<<"$before")"
	python3 - "$MNT" <<-'END'
	import os, sys
	os.chdir(sys.argv[1])
	for n in range(0, 200, 10):
	    value = os.getxattr(f"d/f{n}", "user.large")
	    assert value in (b"new" * 15000, bytes([n]) * (n * 300 + 5000)), n
	END
	done_with /dev/vdd
}
