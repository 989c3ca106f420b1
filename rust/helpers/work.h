/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C half of background work: rust/sys/work.rs.
 */
#ifndef LATCHFS_HELPERS_WORK_H
#define LATCHFS_HELPERS_WORK_H

#include <linux/timer.h>
#include <linux/workqueue.h>

/*
 * A workqueue, and the lockdep key of all work on it: none waits for another on
 * the same queue, and one that waits for work on another is no recursion.
 */
struct latchfs_queue {
	struct workqueue_struct *wq;
	struct lock_class_key key;
};

/* One work item. */
struct latchfs_work {
	struct work_struct work;
	struct latchfs_queue *queue;
	struct timer_list timer;
};

#endif
