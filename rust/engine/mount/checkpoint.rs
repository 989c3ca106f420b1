// SPDX-License-Identifier: GPL-2.0

//! The log of a mount: its background work, its options. What it does is in [`crate::engine::log`].

use super::*;

impl Mount {
    /// The log.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Starts checkpoints in the background.
    pub(super) fn start_background(self: &Arc<Self>) -> Result {
        let item = self.log_worker_new()?;
        *self.background.lock() = Some(item);
        Ok(())
    }

    /// The background work, if there is any. Does not sleep.
    pub(crate) fn log_worker(&self) -> Option<Arc<WorkItem>> {
        self.background.lock().clone()
    }

    /// Changes the mount option `commit=`: seconds until a change is durable if nothing asks for it.
    /// 0 means the default. Does not sleep.
    pub fn set_commit_interval(&self, secs: u32) {
        self.log.set_interval(secs);
    }

    /// Changes the mount option `discard`. Does not sleep.
    pub fn set_discard(&self, on: bool) {
        self.log.set_discard(on);
    }
}
