/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C half of asynchronous block I/O: rust/sys/device.rs.
 */
#ifndef LATCHFS_HELPERS_BLOCK_H
#define LATCHFS_HELPERS_BLOCK_H

#include <linux/bio.h>
#include <linux/workqueue.h>

/*
 * What happens when the I/O of one block is over, in a task: @object and
 * @token are those of latchfs_helper_io_submit(), @error is 0 or negative.
 */
typedef void (*latchfs_io_done)(void *object, u64 token, int error);

/* One block on its way.  The bio's vector follows it. */
struct latchfs_io {
	struct work_struct work;
	latchfs_io_done done;
	void *object;
	u64 token;
	struct bio bio;
};

#endif
