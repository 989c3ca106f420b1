#!/bin/bash
# Make the tree that `make run` unpacks in the guest, once, and print the
# directory with
#
#   tree.tar	some 5,900 files of the kernel source, and what that source lacks:
#		a file of 101 MiB, a sparse one, hard links, names of 255 bytes,
#		odd modes and owners, times with nanoseconds
#   sha256	sha256sum -c of every regular file
#   meta	type, mode, owner, links, size, time, target of everything
#   paths	every file, for the test that deletes half of them
set -euo pipefail
. "$(dirname "$0")/lib.sh"

src=$("$LATCHFS_TOP/qemu/get-source.sh")
key=$(basename "$src")-$(sha256sum "$0" | cut -c 1-10)
out=$LATCHFS_CACHE/tree/$key

# Not compressible and the same each time: the position is the seed.
big_file() {
	python3 - "$1" "$2" <<-'END'
		import random, sys
		with open(sys.argv[1], "wb") as f:
		    for mib in range(int(sys.argv[2])):
		        f.write(random.Random(mib).randbytes(1 << 20))
	END
}

sparse_file() {
	python3 - "$1" <<-'END'
		import sys
		with open(sys.argv[1], "wb") as f:
		    for mib in (1, 3, 4, 17, 40):
		        f.seek((mib << 20) + 777)
		        f.write(b"island %d " % mib * 1000)
		    f.truncate(64 << 20)
	END
}

long_name() {	# long_name PREFIX: exactly 255 bytes
	printf '%s%s' "$1" "$(printf '%0255d' 0 | tr 0 x)" | head -c 255
}

populate() {
	local d=$1 i f
	mkdir -p "$d/src" "$d/links" "$d/names" "$d/odd"
	cp -a "$src/tools/testing/selftests" "$src/rust" "$d/src/"
	rm -rf "$d/src/rust/target"
	mkdir -p "$d/empty/nested/directory"
	big_file "$d/big" 101
	sparse_file "$d/sparse"
	# hard links in the same and in another directory
	i=0
	while read -r f; do
		ln "$f" "$d/links/hard-$i"
		ln "$f" "$d/names/same-inode-$i"
		i=$((i + 1))
	done < <(find "$d/src/rust" -type f -name '*.rs' | LC_ALL=C sort | head -n 100)
	for i in 1 10 60 500 1023 2048; do
		ln -s "$(printf 'to/%0*d' "$i" 7)" "$d/links/soft-$i"
	done
	ln -s ../big "$d/links/to-big"
	for i in $(seq 40); do
		echo "long $i" >"$d/names/$(long_name "$i-")"
	done
	echo utf8 >"$d/names/ünïcödé — 名前"
	echo raw >"$d/names/$(printf 'bytes-\377\376')"
	: >"$d/odd/empty-file"
	for i in 0400 0444 0644 1777 2755 4711; do
		echo "mode $i" >"$d/odd/mode-$i"
		chmod "$i" "$d/odd/mode-$i"
	done
	touch -d '1969-12-31 23:59:58.123456789Z' "$d/odd/before-1970"
	touch -d '2106-02-07 06:28:17.000000001Z' "$d/odd/after-2106"
}

make_tree() {
	[ ! -e "$out/tree.tar" ] || return 0
	local stage=$LATCHFS_CACHE/tree/stage
	say "preparing the tree for the guest, once"
	rm -rf "$stage" "$out"
	mkdir -p "$stage" "$out"
	populate "$stage"
	cd "$stage"
	find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum >"$out/sha256"
	find . -type f -print0 | LC_ALL=C sort -z >"$out/paths"
	# the guest unpacks as root with these owners
	"$LATCHFS_TOP/tools/testing/vm/meta.sh" . | sed -E 's/ owner=[0-9]+:[0-9]+ / owner=1234:100 /' >"$out/meta"
	tar --sparse --format=pax --pax-option=delete=ctime,delete=atime --sort=name \
		--numeric-owner --owner=1234 --group=100 -cf "$out/tree.tar.new" .
	mv "$out/tree.tar.new" "$out/tree.tar"
	cd /
	chmod -R u+rwX "$stage"
	rm -rf "$stage"
}

locked tree make_tree >&2
echo "$out"
