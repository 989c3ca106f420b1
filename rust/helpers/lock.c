// SPDX-License-Identifier: GPL-2.0

#include "lock.h"

/*
 * Serialises the first use of a lock at a new address.  Taken once in the life
 * of a lock, held for a few stores, a leaf.
 */
static DEFINE_SPINLOCK(latchfs_settle_lock);

static void latchfs_mutex_settle(struct latchfs_mutex *m,
				 struct latchfs_lock_class *c)
{
	spin_lock(&latchfs_settle_lock);
	if (m->home != (unsigned long)m) {
		__mutex_init(&m->lock, c->name, &c->key);
		smp_store_release(&m->home, (unsigned long)m);
	}
	spin_unlock(&latchfs_settle_lock);
}

static void latchfs_rwsem_settle(struct latchfs_rwsem *s,
				 struct latchfs_lock_class *c)
{
	spin_lock(&latchfs_settle_lock);
	if (s->home != (unsigned long)s) {
		__init_rwsem(&s->lock, c->name, &c->key);
		smp_store_release(&s->home, (unsigned long)s);
	}
	spin_unlock(&latchfs_settle_lock);
}

/* The acquire pairs with the release above. */
#define latchfs_mutex_ready(m, c)					\
do {									\
	if (smp_load_acquire(&(m)->home) != (unsigned long)(m))		\
		latchfs_mutex_settle(m, c);				\
} while (0)

#define latchfs_rwsem_ready(s, c)					\
do {									\
	if (smp_load_acquire(&(s)->home) != (unsigned long)(s))		\
		latchfs_rwsem_settle(s, c);				\
} while (0)

/*
 * A spinlock has no pointer to itself: it is initialised where it is made and
 * moves freely while unlocked.
 */
void latchfs_helper_spin_init(spinlock_t *lock, struct latchfs_lock_class *c)
{
#ifdef CONFIG_DEBUG_SPINLOCK
	__raw_spin_lock_init(spinlock_check(lock), c->name, &c->key,
			     LD_WAIT_CONFIG);
#else
	spin_lock_init(lock);
#endif
}

void latchfs_helper_spin_lock_nested(spinlock_t *lock, unsigned int subclass)
{
	spin_lock_nested(lock, subclass);
}

void latchfs_helper_home_mutex_lock(struct latchfs_mutex *m,
				    struct latchfs_lock_class *c,
				    unsigned int subclass)
{
	latchfs_mutex_ready(m, c);
	mutex_lock_nested(&m->lock, subclass);
}

bool latchfs_helper_home_mutex_trylock(struct latchfs_mutex *m,
				       struct latchfs_lock_class *c)
{
	latchfs_mutex_ready(m, c);
	return mutex_trylock(&m->lock);
}

void latchfs_helper_home_down_read(struct latchfs_rwsem *s,
				   struct latchfs_lock_class *c,
				   unsigned int subclass)
{
	latchfs_rwsem_ready(s, c);
	down_read_nested(&s->lock, subclass);
}

bool latchfs_helper_home_down_read_trylock(struct latchfs_rwsem *s,
					   struct latchfs_lock_class *c)
{
	latchfs_rwsem_ready(s, c);
	return down_read_trylock(&s->lock);
}

void latchfs_helper_home_down_write(struct latchfs_rwsem *s,
				    struct latchfs_lock_class *c,
				    unsigned int subclass)
{
	latchfs_rwsem_ready(s, c);
	down_write_nested(&s->lock, subclass);
}

bool latchfs_helper_home_down_write_trylock(struct latchfs_rwsem *s,
					    struct latchfs_lock_class *c)
{
	latchfs_rwsem_ready(s, c);
	return down_write_trylock(&s->lock);
}

/*
 * The lockdep map of a lock that is not a C lock (rust/sys/content.rs).
 * Without lockdep the map has no size and all this is nothing.
 */
void latchfs_helper_dep_init(struct lockdep_map *map,
			     struct latchfs_lock_class *c)
{
	lockdep_init_map_wait(map, c->name, &c->key, 0, LD_WAIT_SLEEP);
}

void latchfs_helper_dep_acquire(struct lockdep_map *map, unsigned int subclass,
				bool try, bool shared)
{
	lock_acquire(map, subclass, try, shared, 1, NULL, _RET_IP_);
}

void latchfs_helper_dep_release(struct lockdep_map *map)
{
	lock_release(map, _RET_IP_);
}
