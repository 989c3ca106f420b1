// SPDX-License-Identifier: GPL-2.0
/* What rust/kapi/ioctl.rs needs of C. */
#include <linux/blkdev.h>
#include <linux/freezer.h>
#include <linux/fs.h>
#include <linux/sched/signal.h>

const u32 LATCHFS_CONST_FS_IOC_SHUTDOWN = FS_IOC_SHUTDOWN;
const u32 LATCHFS_CONST_FITRIM = FITRIM;

/* @return bytes, 0 if the device cannot discard */
u32 latchfs_helper_discard_granularity(struct block_device *bdev)
{
	if (!bdev_max_discard_sectors(bdev))
		return 0;
	return bdev_discard_granularity(bdev) ?: 1;
}

bool latchfs_helper_task_interrupted(void)
{
	return fatal_signal_pending(current) || freezing(current);
}
