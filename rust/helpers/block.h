/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C half of asynchronous block I/O: rust/sys/device.rs.
 */
#ifndef LATCHFS_HELPERS_BLOCK_H
#define LATCHFS_HELPERS_BLOCK_H

#include <linux/bio.h>
#include <linux/workqueue.h>

struct latchfs_io;

/*
 * What happens when the I/O of one block is over, in a task: @object and
 * @token are those of latchfs_helper_io_submit(), @error is 0 or negative.
 * Gives @io back, as the last thing it does: latchfs_helper_io_put().
 */
typedef void (*latchfs_io_done)(struct latchfs_io *io, void *object, u64 token,
				int error);

/* One block on its way.  The bio's vector follows it. */
struct latchfs_io {
	struct work_struct work;
	latchfs_io_done done;
	void *object;
	u64 token;
	struct bio bio;
};

#endif
