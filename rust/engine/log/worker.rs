// SPDX-License-Identifier: GPL-2.0

//! Checkpoints in the background: when a context is large, when it is old, when somebody waits for
//! log space.

use super::*;
use crate::engine::{
    mount::Mount,
    Result, //
};
use crate::sys::{Arc, Work, WorkItem};

/// A context of this part of the body is closed.
const BODY_PART: u64 = 8;
/// And one of this many bytes.
const LARGE: u64 = 32 << 20;

/// Milliseconds after which windows are looked at again.
const WINDOWS: u64 = 5_000;

/// The target of the background work.
struct Worker(Arc<Mount>);

impl Work for Worker {
    fn run(&self) {
        // What fails is logged where it does, and has shut the file system down.
        let _ = self.0.log_work();
    }
}

impl Log {
    /// Whether a context of `bytes` bytes is to be closed.
    pub(crate) fn is_large(&self, bytes: u64) -> bool {
        bytes > (self.space.body() / BODY_PART).min(LARGE)
    }
}

impl Mount {
    /// Starts the background work. ENOMEM.
    pub(crate) fn log_worker_new(self: &Arc<Self>) -> Result<Arc<WorkItem>> {
        let target = sys::try_arc(Worker(self.clone()))?;
        Ok(sys::try_arc(WorkItem::new("latchfs-log", target)?)?)
    }

    /// One run of the worker.
    fn log_work(&self) -> Result {
        if self.read_only() {
            return Ok(());
        }
        self.checkpoint()?;
        if self.log().space.has_waiters() {
            self.publish_tail()?;
        }
        // Blocks kept for files that do not grow any more go back in the course of time.
        let windows = self.alloc().age_windows().then_some(WINDOWS);
        let next = [self.push_old(), windows].into_iter().flatten().min();
        if let (Some(millis), Some(item)) = (next, self.log_worker()) {
            item.kick_after(millis);
        }
        Ok(())
    }

    /// Asks the worker for a run. Returns whether there is one. Does not sleep.
    pub(crate) fn log_worker_kick(&self) -> bool {
        match self.log_worker() {
            Some(item) => {
                item.kick();
                true
            }
            None => false,
        }
    }

    /// After a commit: `bytes` are in the context now, which had none before if `first`. Does not
    /// sleep.
    pub(crate) fn log_committed(&self, bytes: u64, first: bool) {
        let large = self.log().is_large(bytes);
        if !large && !first {
            return;
        }
        let Some(item) = self.log_worker() else {
            return;
        };
        if large {
            item.kick();
        } else {
            item.kick_after(self.log().interval.load(Ordering::Relaxed));
        }
    }
}
