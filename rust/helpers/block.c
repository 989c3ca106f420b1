// SPDX-License-Identifier: GPL-2.0

#include <linux/fserror.h>

#include "block.h"

/*
 * One pool and one queue for the module: a completion waits for no I/O and no
 * log space, so file systems that are stacked on each other cannot block here.
 */
static struct bio_set latchfs_io_set;
static struct workqueue_struct *latchfs_io_wq;

/*
 * With a cache for each CPU the next I/O of a CPU has the memory that was given
 * back there last, KASAN's quarantine or not.  That is what the mutant
 * seed002-address has to meet.
 */
#ifdef LATCHFS_RACES
#define LATCHFS_IO_FLAGS (BIOSET_NEED_BVECS | BIOSET_PERCPU_CACHE)
#else
#define LATCHFS_IO_FLAGS BIOSET_NEED_BVECS
#endif

int latchfs_helper_io_start(void)
{
	int error;

	latchfs_io_wq = alloc_workqueue("latchfs-buf",
					WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!latchfs_io_wq)
		return -ENOMEM;
	error = bioset_init(&latchfs_io_set, 64,
			    offsetof(struct latchfs_io, bio),
			    LATCHFS_IO_FLAGS);
	if (error)
		destroy_workqueue(latchfs_io_wq);
	return error;
}

void latchfs_helper_io_stop(void)
{
	destroy_workqueue(latchfs_io_wq);
	bioset_exit(&latchfs_io_set);
}

static void latchfs_io_work(struct work_struct *work)
{
	struct latchfs_io *io = container_of(work, struct latchfs_io, work);

	io->done(io, io->object, io->token,
		 blk_status_to_errno(io->bio.bi_status));
}

/*
 * At the end of the work of @io, and not before: the next bio may have its
 * address, and a workqueue takes a work item of the same address for the same
 * work, and keeps it behind the one that runs (find_worker_executing_work()).
 */
void latchfs_helper_io_put(struct latchfs_io *io)
{
	bio_put(&io->bio);
}

/* In interrupt context. */
static void latchfs_io_end(struct bio *bio)
{
	struct latchfs_io *io = container_of(bio, struct latchfs_io, bio);

	queue_work(latchfs_io_wq, &io->work);
}

/*
 * Reads or writes the 4096 bytes at @data, which are in the direct mapping.
 * Never fails: @done gets the error.  May sleep.
 */
void latchfs_helper_io_submit(struct block_device *bdev, u64 block, void *data,
			      bool write, latchfs_io_done done, void *object,
			      u64 token)
{
	blk_opf_t opf = write ? REQ_OP_WRITE | REQ_META :
				REQ_OP_READ | REQ_META | REQ_PRIO;
	struct bio *bio = bio_alloc_bioset(bdev, 1, opf, GFP_NOFS,
					   &latchfs_io_set);
	struct latchfs_io *io = container_of(bio, struct latchfs_io, bio);

	INIT_WORK(&io->work, latchfs_io_work);
	io->done = done;
	io->object = object;
	io->token = token;
	bio->bi_iter.bi_sector = block << (12 - SECTOR_SHIFT);
	bio->bi_end_io = latchfs_io_end;
	bio_add_virt_nofail(bio, data, 4096);
	submit_bio(bio);
}

/* Reads or writes one block and waits for it. */
int latchfs_helper_io_sync(struct block_device *bdev, u64 block, void *data,
			   bool write)
{
	enum req_op op = write ? REQ_OP_WRITE : REQ_OP_READ;

	return bdev_rw_virt(bdev, block << (12 - SECTOR_SHIFT), data, 4096, op);
}

u64 latchfs_helper_bdev_blocks(struct block_device *bdev)
{
	return bdev_nr_bytes(bdev) >> 12;
}

int latchfs_helper_bdev_discard(struct block_device *bdev, u64 start, u64 len)
{
	if (!bdev_max_discard_sectors(bdev))
		return -EOPNOTSUPP;
	return blkdev_issue_discard(bdev, start << (12 - SECTOR_SHIFT),
				    len << (12 - SECTOR_SHIFT), GFP_NOFS);
}

/*
 * Nobody can watch a file system that is not mounted yet, or not any more.
 * @error: a negative errno
 */
void latchfs_helper_report_metadata(struct super_block *sb, int error)
{
	if (sb->s_flags & SB_ACTIVE)
		fserror_report_metadata(sb, error, GFP_ATOMIC);
}
