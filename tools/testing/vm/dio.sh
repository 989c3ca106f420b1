# shellcheck shell=bash
# Direct I/O with many requests in flight, by fio, which checks what it wrote.
# Sourced by tests.sh.

# shellcheck disable=SC2034 # tests.sh uses it
DIO_TESTS="dio_uring dio_aio"

# fio_verify OPTION...: writes a file and verifies it, also after a remount
fio_verify() {
	local run=(fio --output="$RUNDIR/fio.out" --filename="$MNT/fio" --direct=1 --fallocate=none
		--randrepeat=1 --randseed="${SEED:-7}" --verify=crc32c --verify_fatal=1
		--group_reporting "$@")
	fresh /dev/vdb
	"${run[@]}" --do_verify=1 || {
		tail -n 15 "$RUNDIR/fio.out"
		echo "fio: $(grep -m 1 -iE 'verify|error' "$RUNDIR/fio.out")"
		return 1
	}
	umount "$MNT"
	fs_mount /dev/vdb
	"${run[@]}" --verify_only || {
		tail -n 15 "$RUNDIR/fio.out"
		echo "fio after the remount: $(grep -m 1 -iE 'verify|error' "$RUNDIR/fio.out")"
		return 1
	}
	done_with /dev/vdb
}

# io_uring tries each request without waiting first; holes, then what is there
test_dio_uring() {
	fio_verify --name=uring --ioengine=io_uring --iodepth=16 --rw=randwrite --bs=8k \
		--size=16M --loops=2 --fdatasync=64
}

# parts of blocks, and a file that grows
test_dio_aio() {
	fio_verify --name=sectors --ioengine=libaio --iodepth=8 --rw=randwrite --bs=1536 \
		--size=3M --fsync=128
	fio_verify --name=growing --ioengine=libaio --iodepth=8 --rw=write --bs=24k \
		--size=12M --file_append=0 --create_on_open=1 --sync=dsync
}
