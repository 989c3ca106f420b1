// SPDX-License-Identifier: GPL-2.0

//! What comes out of the AIL's spinlock: things to be dropped after it, and news of the tail.

use super::{Entry, ItemRef};
use crate::format::Lsn;
use crate::sys::Vec;

/// A thing that must not be dropped under a spinlock: its last reference frees memory, or takes a
/// buffer out of the cache.
#[allow(dead_code, reason = "kept until it is dropped, not looked at")]
pub(super) enum Dropped {
    /// What was an entry.
    Entry(Entry),
    /// A reference that was not needed.
    Item(ItemRef),
}

/// What left the AIL. It has room for everything before the spinlock is taken, and is dropped after
/// it was released.
#[must_use = "to be dropped with no spinlock held"]
pub struct DropBag {
    things: Vec<Dropped>,
}

impl DropBag {
    /// Room for `n` things. May sleep for memory.
    pub(super) fn with_room(n: usize) -> Self {
        let mut things = Vec::new();
        things.must_reserve(n);
        Self { things }
    }

    /// Puts a thing in.
    pub(super) fn put(&mut self, thing: Dropped) {
        if let Err(thing) = self.things.push_within_capacity(thing) {
            debug_assert!(false, "more was dropped than there was room for");
            // Better kept for ever than dropped here.
            core::mem::forget(thing);
        }
    }

    /// Whether there is nothing to drop.
    pub fn is_empty(&self) -> bool {
        self.things.is_empty()
    }
}

impl Drop for DropBag {
    fn drop(&mut self) {
        if !self.things.is_empty() {
            crate::sys::might_sleep();
        }
        self.things.clear();
    }
}

/// What became of the tail. Whoever gets it tells those who wait for log space.
#[must_use = "somebody may wait for log space"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Whether it has moved.
    pub moved: bool,
    /// Where it is; [`None`] if the list is empty.
    pub tail: Option<Lsn>,
}

impl Tail {
    pub(super) fn new(before: Option<Lsn>, now: Option<Lsn>) -> Self {
        Self {
            moved: before != now,
            tail: now,
        }
    }
}
