/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The headers that the bindings are made from, and constants that bindgen
 * cannot evaluate.  Sorted alphabetically.
 */
#ifndef LATCHFS_BINDINGS_HELPER_H
#define LATCHFS_BINDINGS_HELPER_H

/*
 * bindgen gives an enum that is only declared at its first use the wrong
 * integer type (rust-bindgen issue 3179): the kernel's bindings_helper.h has
 * the same line.
 */
#include <linux/hrtimer_types.h>

#include <linux/bio.h>
#include <linux/blkdev.h>
#include <linux/build_bug.h>
#include <linux/crc32c.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/random.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include <linux/wait.h>
#include <linux/wait_bit.h>
#include <linux/workqueue.h>

#endif
