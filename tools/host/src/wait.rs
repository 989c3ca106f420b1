// SPDX-License-Identifier: GPL-2.0

//! Waiting for a condition.

use crate::prim::{self, Condvar};

/// A queue of tasks that wait for a condition somebody else makes true: `wait_queue_head_t`.
///
/// Whoever changes the condition calls [`WaitQueue::wake_all`] after the change.
pub struct WaitQueue {
    wakeups: prim::Mutex<u64>,
    changed: Condvar,
}

impl Default for WaitQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl WaitQueue {
    /// An empty queue.
    pub fn new() -> Self {
        Self {
            wakeups: prim::Mutex::new(0),
            changed: Condvar::new(),
        }
    }

    /// Sleeps until `cond` holds. `cond` may take spinlocks, and must not sleep: `wait_event`.
    pub fn wait(&self, mut cond: impl FnMut() -> bool) {
        crate::might_sleep();
        loop {
            let seen = *prim::lock(&self.wakeups);
            if cond() {
                return;
            }
            let mut w = prim::lock(&self.wakeups);
            while *w == seen {
                w = self.changed.wait(w).unwrap_or_else(|e| e.into_inner());
            }
        }
    }

    /// Like [`Self::wait`], for at most `millis`: `wait_event_timeout`. Returns whether `cond` held.
    /// Under shuttle the deadline is a scheduling choice.
    pub fn wait_until(&self, mut cond: impl FnMut() -> bool, millis: u64) -> bool {
        crate::might_sleep();
        #[cfg(feature = "shuttle")]
        {
            use shuttle::rand::Rng;
            let _ = millis;
            loop {
                if cond() {
                    return true;
                }
                if shuttle::rand::thread_rng().gen_range(0..8) == 0 {
                    return false;
                }
                prim::thread::yield_now();
            }
        }
        #[cfg(not(feature = "shuttle"))]
        {
            let end = prim::monotonic() + std::time::Duration::from_millis(millis);
            loop {
                let seen = *prim::lock(&self.wakeups);
                if cond() {
                    return true;
                }
                let mut w = prim::lock(&self.wakeups);
                while *w == seen {
                    let now = prim::monotonic();
                    if now >= end {
                        return cond();
                    }
                    w = prim::wait_timeout(&self.changed, w, end - now);
                }
            }
        }
    }

    /// Wakes all waiters to look at their condition again. Never sleeps.
    pub fn wake_all(&self) {
        *prim::lock(&self.wakeups) += 1;
        self.changed.notify_all();
    }
}
