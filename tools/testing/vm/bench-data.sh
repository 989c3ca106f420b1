# shellcheck shell=bash
# The rows of `make bench` about file data, by fio.  Sourced by bench.sh.
#
# fio keeps the time from its first I/O to the end of the last fsync; starting fio
# itself is not part of it.  All files are on one file system, and the later rows
# use what the earlier ones wrote.

DATA_MB=${DATA_MB:-192}		# of the sequential rows
RANDOM_MB=${RANDOM_MB:-24}	# of the random ones, in pieces of 4 KiB
AGE_MB=${AGE_MB:-768}		# the file system of the aging row

# fio_us NAME FILE OPTION...: microseconds that the job took
fio_us() {
	local name=$1 file=$2
	shift 2
	fio --name="$name" --filename="$MNT/data/$file" --output-format=json --randseed=7 \
		--allow_file_create=1 --fallocate=none --overwrite=0 --thread --group_reporting \
		--randrepeat=1 --norandommap=0 --invalidate=0 "$@" >"$RUNDIR/fio.json"
	python3 - "$RUNDIR/fio.json" <<-'END'
	import json, sys
	text = open(sys.argv[1]).read()
	job = json.loads(text[text.index("{"):])["jobs"][0]
	assert job["error"] == 0, job["error"]
	print(1000 * max(job[way]["runtime"] for way in ("read", "write")))
	END
}

cold() {
	sync -f "$MNT"
	echo 3 >/proc/sys/vm/drop_caches
}

# direct DEPTH WAY FILE: random 4 KiB direct I/O
direct() {
	local depth=$1 way=$2 file=$3
	# one thread and one call at a time is what depth 1 means
	fio_us direct "$file" --rw="$way" --bs=4k --size="${RANDOM_MB}M" --direct=1 \
		--ioengine=libaio --iodepth="$depth" --end_fsync=1
}

data_rows() {
	local row depth
	mkdir "$MNT/data"
	data_row write-seq	fio_us w big --rw=write --bs=128k --size="${DATA_MB}M" --end_fsync=1
	data_row overwrite-seq	fio_us w big --rw=write --bs=128k --size="${DATA_MB}M" --end_fsync=1
	cold
	data_row read-seq	fio_us r big --rw=read --bs=128k --size="${DATA_MB}M"
	data_row write-random	fio_us w big --rw=randwrite --bs=4k --size="${RANDOM_MB}M" --end_fsync=1
	cold
	data_row read-random	fio_us r big --rw=randread --bs=4k --size="${RANDOM_MB}M"
	data_row write-mmap	fio_us w mapped --rw=write --bs=4k --size="${RANDOM_MB}M" \
		--ioengine=mmap --end_fsync=1
	for depth in 1 16; do
		cold
		data_row "direct-over-$depth"	direct $depth randwrite big
		data_row "direct-read-$depth"	direct $depth randread big
		if wanted "direct-unwritten-$depth"; then
			fallocate -l "${RANDOM_MB}M" "$MNT/data/unwritten-$depth"
		fi
		data_row "direct-unwritten-$depth" direct $depth randwrite "unwritten-$depth"
		truncate -s "${RANDOM_MB}M" "$MNT/data/holes-$depth"
		data_row "direct-holes-$depth"	direct $depth randwrite "holes-$depth"
	done
	for row in 1 8; do
		mkdir "$MNT/store-$row"
		data_row "store-$row" work "store-$row" store $((SYNCS * (row + 1) / 2)) $row
	done
}

# data_row ROW CMD...: later rows need the files of write-seq only
data_row() {
	if wanted "$1" || [ "$1" = write-seq ] && [ -n "$DATA_WANTED" ]; then
		measure "$@"
	fi
}

# a file system of its own, small enough to be filled
age_row() {
	wanted age || return 0
	dmsetup create "${DM[@]}" aged --table "0 $((AGE_MB * 2048)) linear $DEV 0"
	local node
	node=/dev/$(dmsetup info -c --noheadings -o blkdevname aged)
	fs_mkfs "$node" >/dev/null 2>&1
	fs_mount "$node"
	mkdir "$MNT/age"
	measure age vmtests bench "$MNT/age" --what age
	umount "$MNT"
	dmsetup remove "${DM[@]}" aged
}
