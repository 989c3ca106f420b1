// SPDX-License-Identifier: GPL-2.0

//! What must be true of the AIL when it is quiet (observable O1), and what it looks like now.

use super::{Ail, Owner};
use crate::format::Lsn;
use crate::sys::atomic::Ordering;

/// A look at the AIL.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AilState {
    /// Items on the list.
    pub listed: usize,
    /// Entries that are not on it: items of open transactions, and of checkpoints that are not
    /// durable.
    pub waiting: usize,
    /// Inodes among all of them.
    pub inodes: usize,
    /// Items under writeback.
    pub flushing: usize,
    /// Items whose last write failed.
    pub failed: usize,
    /// Flush tokens.
    pub tokens: u64,
    /// Writes under way.
    pub inflight: u64,
    /// The oldest position on the list.
    pub tail: Option<Lsn>,
}

impl AilState {
    /// O1: nothing is on the list or on its way there, nothing is written or failed, and no token is
    /// left.
    pub fn is_quiet(&self) -> bool {
        *self == Self::default()
    }
}

impl Ail {
    /// Looks. Holds the spinlock for as long as it takes to see all entries: for debugging.
    pub fn state(&self) -> AilState {
        let guard = self.lock();
        let list = &guard.inner.list;
        let mut seen = AilState {
            listed: list.len(),
            waiting: list.used().saturating_sub(list.len()),
            tokens: self.tokens.load(Ordering::Acquire),
            inflight: self.inflight.load(Ordering::Acquire),
            tail: guard.tail(),
            ..AilState::default()
        };
        let mut from = 0;
        while let Some(at) = list.any_from(from) {
            from = at.saturating_add(1);
            let Some(entry) = list.get(at) else { break };
            seen.inodes += usize::from(matches!(entry.owner, Owner::Inode(_)));
            seen.flushing += usize::from(entry.flush.is_flushing());
            seen.failed += usize::from(entry.flush.is_failed());
        }
        debug_assert_eq!(seen.failed, guard.inner.failed);
        seen
    }

    /// Whether the last write of some item has failed. Takes the spinlock.
    pub fn has_failed(&self) -> bool {
        self.lock().inner.failed != 0
    }
}
