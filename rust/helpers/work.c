// SPDX-License-Identifier: GPL-2.0

#include "work.h"

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
	return 0;
}

void latchfs_helper_work_kick(struct latchfs_work *w)
{
	queue_work(w->wq, &w->work);
}

void latchfs_helper_work_flush(struct latchfs_work *w)
{
	flush_work(&w->work);
}

/* Waits for a run; nothing runs after it. */
void latchfs_helper_work_disable(struct latchfs_work *w)
{
	disable_work_sync(&w->work);
}

/* After latchfs_helper_work_disable(). */
void latchfs_helper_work_destroy(struct latchfs_work *w)
{
	destroy_workqueue(w->wq);
	lockdep_unregister_key(&w->key);
}
