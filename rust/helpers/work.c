// SPDX-License-Identifier: GPL-2.0

#include "work.h"

/* In softirq context. */
static void latchfs_work_timer(struct timer_list *timer)
{
	struct latchfs_work *w = timer_container_of(w, timer, timer);

	queue_work(w->wq, &w->work);
}

/*
 * The queue makes progress when memory is short (a thread of its own rescues
 * it), and is unbound, because what runs on it sleeps on locks and I/O.
 */
int latchfs_helper_work_init(struct latchfs_work *w, const char *name,
			     work_func_t func)
{
	w->wq = alloc_workqueue("%s", WQ_MEM_RECLAIM | WQ_UNBOUND, 1, name);
	if (!w->wq)
		return -ENOMEM;
	lockdep_register_key(&w->key);
	__INIT_WORK_KEY(&w->work, func, 0, &w->key);
	timer_setup(&w->timer, latchfs_work_timer, 0);
	return 0;
}

void latchfs_helper_work_kick(struct latchfs_work *w)
{
	queue_work(w->wq, &w->work);
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

/* After latchfs_helper_work_disable(). */
void latchfs_helper_work_destroy(struct latchfs_work *w)
{
	destroy_workqueue(w->wq);
	lockdep_unregister_key(&w->key);
}
