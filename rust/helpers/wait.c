// SPDX-License-Identifier: GPL-2.0

/*
 * Waiting on an address, in the kernel's hashed wait queues.  @cond runs with
 * the task state set: it must not sleep.
 */
void latchfs_helper_wait_var(void *var, bool (*cond)(void *arg), void *arg)
{
	wait_var_event(var, cond(arg));
}

/* Whether @cond held before @millis were over. */
bool latchfs_helper_wait_var_timeout(void *var, bool (*cond)(void *arg),
				     void *arg, u64 millis)
{
	unsigned long limit = min_t(u64, millis, jiffies_to_msecs(MAX_JIFFY_OFFSET));

	return wait_var_event_timeout(var, cond(arg), msecs_to_jiffies(limit));
}

/*
 * The barrier orders the change of the condition before the look at the wait
 * queue, which is not locked when it is empty.
 */
void latchfs_helper_wake_var(void *var)
{
	smp_mb();
	wake_up_var(var);
}
