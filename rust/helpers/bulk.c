// SPDX-License-Identifier: GPL-2.0

#include <linux/bio.h>

/* Bits of @flags. */
#define LATCHFS_BULK_WRITE	(1U << 0)
#define LATCHFS_BULK_PREFLUSH	(1U << 1)
#define LATCHFS_BULK_FUA	(1U << 2)

/* The memory of block @index of the caller's list: 4096 bytes of the direct mapping. */
typedef void *(*latchfs_bulk_memory)(void *list, unsigned int index);

/*
 * Reads or writes the @n blocks from @block on, and waits: one bio for each
 * 1 MiB.  With LATCHFS_BULK_PREFLUSH the device's cache is flushed before the
 * first of them is written, with LATCHFS_BULK_FUA all are on the media when this
 * returns.  May sleep, and needs no memory that reclaim would have to free.
 */
int latchfs_helper_io_bulk(struct block_device *bdev, u64 block, unsigned int n,
			   latchfs_bulk_memory memory, void *list,
			   unsigned int flags)
{
	blk_opf_t opf = flags & LATCHFS_BULK_WRITE ?
				REQ_OP_WRITE | REQ_META | REQ_SYNC | REQ_IDLE :
				REQ_OP_READ | REQ_META;
	struct bio *bio = NULL;
	struct blk_plug plug;
	unsigned int i = 0;
	int error;

	if (!n)
		return 0;
	if (flags & LATCHFS_BULK_PREFLUSH)
		opf |= REQ_PREFLUSH;
	if (flags & LATCHFS_BULK_FUA)
		opf |= REQ_FUA;

	blk_start_plug(&plug);
	while (i < n) {
		unsigned int left = min_t(unsigned int, n - i, BIO_MAX_VECS);
		struct bio *next = bio_alloc(bdev, left, opf, GFP_NOFS);

		next->bi_iter.bi_sector = (block + i) << (12 - SECTOR_SHIFT);
		for (; left; left--, i++)
			bio_add_virt_nofail(next, memory(list, i), 4096);
		if (bio) {
			bio_chain(bio, next);
			submit_bio(bio);
		}
		bio = next;
		opf &= ~REQ_PREFLUSH;
	}
	error = submit_bio_wait(bio);
	blk_finish_plug(&plug);
	bio_put(bio);
	return error;
}
