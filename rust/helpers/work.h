/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C half of background work: rust/sys/work.rs.
 */
#ifndef LATCHFS_HELPERS_WORK_H
#define LATCHFS_HELPERS_WORK_H

#include <linux/timer.h>
#include <linux/workqueue.h>

/*
 * One work item and its queue.  Each has its own lockdep key: a work that
 * waits for another is no recursion.
 */
struct latchfs_work {
	struct work_struct work;
	struct workqueue_struct *wq;
	struct timer_list timer;
	struct lock_class_key key;
};

#endif
