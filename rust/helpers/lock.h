/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The C half of the locks of rust/sys/lock.rs.
 */
#ifndef LATCHFS_HELPERS_LOCK_H
#define LATCHFS_HELPERS_LOCK_H

#include <linux/lockdep.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>

/* A lock class: always static, one for each type that is a LockClass. */
struct latchfs_lock_class {
	const char *name;
	struct lock_class_key key;
};

/*
 * A C lock that initialises itself at its first use at an address: @home is
 * the address at which @lock is good.  Such an object may be moved while it is
 * unlocked, which a C lock that has its own address in itself may not.  All
 * zeroes is unlocked and at no address.
 */
struct latchfs_mutex {
	unsigned long home;
	struct mutex lock;
};

struct latchfs_rwsem {
	unsigned long home;
	struct rw_semaphore lock;
};

#endif
