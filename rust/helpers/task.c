// SPDX-License-Identifier: GPL-2.0
#include <linux/panic.h>

/* A hint: the task may be moved at any time. */
unsigned int latchfs_helper_this_cpu(void)
{
	return raw_smp_processor_id();
}

/* All that there can be. */
unsigned int latchfs_helper_cpus(void)
{
	return nr_cpu_ids;
}

/* The open transaction of the task lives in current->journal_info. */
void *latchfs_helper_journal_info(void)
{
	return current->journal_info;
}

void latchfs_helper_set_journal_info(void *info)
{
	current->journal_info = info;
}

void latchfs_helper_might_sleep(void)
{
	might_sleep();
}

/*
 * For loops that retry.  Whether the task may be preempted can only be known
 * when preemption is counted.
 */
void latchfs_helper_relax(void)
{
#ifdef CONFIG_PREEMPT_COUNT
	if (preemptible())
		cond_resched();
#endif
	cpu_relax();
}

void latchfs_helper_bug(void)
{
	BUG();
}

void latchfs_helper_halt(void)
{
	panic("latchfs: errors=panic\n");
}
