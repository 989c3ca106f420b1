// SPDX-License-Identifier: GPL-2.0

#include "work.h"

/* In softirq context. */
static void latchfs_work_timer(struct timer_list *timer)
{
	struct latchfs_work *w = timer_container_of(w, timer, timer);

	queue_work(w->queue->wq, &w->work);
}

/*
 * The queue makes progress when memory is short (a thread of its own rescues
 * it), and is unbound, because what runs on it sleeps on locks and I/O.
 */
int latchfs_helper_queue_init(struct latchfs_queue *q, const char *name)
{
	q->wq = alloc_workqueue("%s", WQ_MEM_RECLAIM | WQ_UNBOUND, 0, name);
	if (!q->wq)
		return -ENOMEM;
	lockdep_register_key(&q->key);
	return 0;
}

/* When no work item is left.  Nothing for a queue whose init failed. */
void latchfs_helper_queue_destroy(struct latchfs_queue *q)
{
	if (!q->wq)
		return;
	destroy_workqueue(q->wq);
	lockdep_unregister_key(&q->key);
}

void latchfs_helper_work_init(struct latchfs_work *w, struct latchfs_queue *q,
			      work_func_t func)
{
	w->queue = q;
	__INIT_WORK_KEY(&w->work, func, 0, &q->key);
	timer_setup(&w->timer, latchfs_work_timer, 0);
}

void latchfs_helper_work_kick(struct latchfs_work *w)
{
	queue_work(w->queue->wq, &w->work);
}

/* A kick in @millis, unless there is an earlier one.  Nothing after a disable. */
void latchfs_helper_work_kick_after(struct latchfs_work *w, u64 millis)
{
	timer_reduce(&w->timer,
		     jiffies + msecs_to_jiffies(min_t(u64, millis, UINT_MAX)));
}

void latchfs_helper_work_flush(struct latchfs_work *w)
{
	flush_work(&w->work);
}

/* Waits for a run; nothing runs after it. */
void latchfs_helper_work_disable(struct latchfs_work *w)
{
	timer_shutdown_sync(&w->timer);
	disable_work_sync(&w->work);
}
