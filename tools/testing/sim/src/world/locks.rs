// SPDX-License-Identifier: GPL-2.0

//! The locks the VFS holds around an operation, taken all at once.

use latchfs_host::WaitQueue;
use std::{
    collections::BTreeSet,
    sync::{Mutex, MutexGuard},
};

/// s_vfs_rename_mutex.
pub const RENAME: usize = usize::MAX;

/// i_rwsem of all objects, exclusive, and [`RENAME`].
pub struct Locks {
    held: Mutex<BTreeSet<usize>>,
    freed: WaitQueue,
}

/// Some of them, held.
pub struct Held<'a> {
    locks: &'a Locks,
    ids: Vec<usize>,
}

impl Locks {
    /// All free.
    pub fn new() -> Self {
        Self {
            held: Mutex::new(BTreeSet::new()),
            freed: WaitQueue::new(),
        }
    }

    fn set(&self) -> MutexGuard<'_, BTreeSet<usize>> {
        self.held.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Waits until all of `ids` are free, and takes them.
    pub fn take(&self, ids: &[usize]) -> Held<'_> {
        let mut ids = ids.to_vec();
        ids.sort_unstable();
        ids.dedup();
        self.freed.wait(|| {
            let mut held = self.set();
            let free = ids.iter().all(|id| !held.contains(id));
            if free {
                held.extend(ids.iter().copied());
            }
            free
        });
        Held { locks: self, ids }
    }
}

impl Default for Locks {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        {
            let mut held = self.locks.set();
            for id in &self.ids {
                held.remove(id);
            }
        }
        self.locks.freed.wake_all();
    }
}
