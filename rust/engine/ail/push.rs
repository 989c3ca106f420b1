// SPDX-License-Identifier: GPL-2.0

//! The pusher: rounds over the list, oldest first.
//!
//! A round goes from the oldest item to the target with the one cursor, in batches of buffers that
//! are locked by try, sorted by block and written under one plug. Nothing in a round waits for a
//! lock of an object; it may wait for the block layer. Who drives the rounds (the background worker,
//! an unmount, whoever waits for log space on a mount without background work) forces the log when
//! a round met pinned items, and waits for progress otherwise. Compare `xfsaild_push`.

use super::{
    plan::{execute, plan, PushBatch, PushPlan, PushResult, PLUG},
    policy::{Moment, Retry, Verdict},
    Ail,
};
use crate::engine::inode::cache::Cache;
use crate::format::Lsn;
use crate::sys::{self, atomic::Ordering, Arc, Errno, Vec};

/// What a round met.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushed {
    /// Buffers given to the device.
    pub written: u64,
    /// Items whose newest state is not durable in the log.
    pub pinned: u64,
    /// Items under writeback, or whose buffer or inode somebody uses.
    pub busy: u64,
    /// Items of freed blocks.
    pub stale: u64,
    /// Items written again after a failure.
    pub again: u64,
}

impl Ail {
    /// One round up to `target`. Does not wait for the I/O. The caller keeps other pushers away
    /// (there is one cursor).
    pub(crate) fn round(self: &Arc<Self>, inodes: &Cache, target: Lsn) -> Pushed {
        let mut pushed = Pushed::default();
        self.lock().inner.list.rewind();
        let mut plans = Vec::new();
        plans.must_reserve(PLUG);
        #[cfg(latchfs_races)]
        let mut touched = super::mutants::Touched::new();

        while self.plan_batch(target, &mut plans) {
            sys::mutant!(Seed000Sibling => touched.remember(self, &plans););
            let mut batch = PushBatch::new();
            while let Some(plan) = plans.pop() {
                pushed.again += u64::from(matches!(plan, PushPlan::Resubmit(_)));
                match execute(plan, &mut batch) {
                    PushResult::Pinned => pushed.pinned += 1,
                    PushResult::Busy => pushed.busy += 1,
                    PushResult::Stale => pushed.stale += 1,
                    PushResult::Queued => {}
                }
            }
            pushed.written += batch.submit(self, inodes);
            sys::sync_point!("ail.push.after_unlock_buf", target.get());
            sys::mutant!(Seed000Sibling => touched.touch(self););
        }
        pushed
    }

    /// Plans the next items up to `target`, as many as fit. False if there was none left.
    fn plan_batch(&self, target: Lsn, plans: &mut Vec<PushPlan>) -> bool {
        let mut guard = self.lock();
        let mut seen = false;
        while plans.len() < plans.capacity() {
            let Some(at) = guard.inner.list.advance() else {
                break;
            };
            let Some(entry) = guard.inner.list.get(at) else {
                break;
            };
            let Some(lsn) = entry.lsn.filter(|lsn| *lsn <= target) else {
                break;
            };
            seen = true;
            let (plan, _snap) = plan(entry, lsn, &guard);
            // There is room: looked at above.
            let _ = plans.push_within_capacity(plan);
        }
        seen
    }

    /// Somebody wants everything up to `target` to leave the list. The caller kicks the worker.
    /// Does not sleep.
    pub fn ask(&self, target: Lsn) {
        self.target.fetch_max(target.get(), Ordering::AcqRel);
    }

    /// The position up to which everything is on the list for at least `age` seconds: what was the
    /// newest at the call of this that long ago. [`None`] if the list is empty. For one caller.
    pub(crate) fn aged(&self, age: u64) -> Option<Lsn> {
        let newest = self.newest()?;
        let now = sys::uptime();
        let since = self.mark_time.load(Ordering::Relaxed);
        let old = Lsn(self.mark.load(Ordering::Relaxed));
        if now.saturating_sub(since) < age {
            return Some(Lsn(0));
        }
        self.mark_time.store(now, Ordering::Relaxed);
        self.mark.store(newest.get(), Ordering::Relaxed);
        Some(old)
    }

    /// Up to where somebody wants the list to be empty.
    pub fn target(&self) -> Lsn {
        Lsn(self.target.load(Ordering::Acquire))
    }

    /// Whether something is on the list up to `goal`. Takes the spinlock.
    pub fn has_until(&self, goal: Lsn) -> bool {
        self.tail().is_some_and(|tail| tail <= goal)
    }

    /// Wakes those who wait for the pusher, to look again.
    pub fn wake(&self) {
        self.progress.wake_all();
    }

    /// Waits until `cond` holds; looks when a write has ended, something left the list, or
    /// [`Self::wake`] is called. `cond` may take spinlocks. May sleep.
    pub fn wait(&self, cond: impl FnMut() -> bool) {
        self.progress.wait(cond);
    }

    /// [`Self::wait`] for at most `millis`. Whether `cond` held.
    pub fn wait_for(&self, cond: impl FnMut() -> bool, millis: u64) -> bool {
        self.progress.wait_until(cond, millis)
    }

    /// Writes that have ended since mount.
    pub fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Writes that have failed since mount.
    pub fn failures(&self) -> u64 {
        self.failures.load(Ordering::Acquire)
    }

    /// Writes under way.
    pub fn inflight(&self) -> u64 {
        self.inflight.load(Ordering::Acquire)
    }

    /// Waits until no write is under way. May sleep.
    pub fn wait_writes(&self) {
        self.progress.wait(|| self.inflight() == 0);
    }

    /// A write begins.
    pub(crate) fn write_begins(&self) {
        self.inflight.fetch_add(1, Ordering::Relaxed);
    }

    /// A write has ended, and nothing of it will be touched any more.
    pub(crate) fn write_ended(&self) {
        self.ended.fetch_add(1, Ordering::Relaxed);
        self.inflight.fetch_sub(1, Ordering::Release);
        self.progress.wake_all();
    }

    /// From now on what cannot be written is given up sooner, see [`super::policy`].
    pub fn begin_unmount(&self) {
        let now = sys::uptime().max(1);
        let _ = self
            .unmounting
            .compare_exchange(0, now, Ordering::AcqRel, Ordering::Relaxed);
    }

    /// A write failed: what the policy says. If it says to give up, the pusher will find out.
    pub(crate) fn judge(&self, errno: Errno, retry: &mut Retry) {
        self.failures.fetch_add(1, Ordering::AcqRel);
        let moment = Moment {
            now: sys::uptime(),
            unmounting: match self.unmounting.load(Ordering::Acquire) {
                0 => None,
                since => Some(since),
            },
        };
        sys::mutant!(Seed000Retry => return);
        if self.policy.judge(errno, retry, moment) == Verdict::GiveUp {
            self.give_up(errno);
        }
    }

    /// Something can never be written: the file system has to be shut down, which the pusher or
    /// whoever waits does ([`Self::hopeless`]). Any context but interrupts.
    pub(crate) fn give_up(&self, errno: Errno) {
        let _ = self.hopeless.compare_exchange(
            0,
            errno.raw() as u32,
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
        self.progress.wake_all();
    }

    /// Why the file system has to be shut down, if it has.
    pub fn hopeless(&self) -> Option<Errno> {
        match self.hopeless.load(Ordering::Acquire) {
            0 => None,
            errno => Some(Errno::from_raw(errno as i32)),
        }
    }
}
