// SPDX-License-Identifier: GPL-2.0

//! One shard of the inode cache: an open-addressed hash from number to entry.
//!
//! It never allocates by itself: it lives under a spinlock. Whoever inserts makes room before, with
//! [`Table::wants_room`], [`Store::with_slots`] outside of the lock and [`Table::grow_into`].

use super::Inode;
use crate::{
    format::units::Ino,
    sys::{Arc, SysResult, Vec},
};

/// What the cache knows about a number.
pub(crate) enum Entry {
    /// Somebody is reading the slot; wait.
    Loading(Ino),
    /// The object.
    Object(Arc<Inode>),
}

impl Entry {
    fn ino(&self) -> Ino {
        match self {
            Entry::Loading(ino) => *ino,
            Entry::Object(inode) => inode.ino,
        }
    }
}

/// The memory of a table: a power of two of slots.
pub(crate) struct Store(Vec<Option<Entry>>);

impl Store {
    /// Memory for `slots` slots. May sleep; ENOMEM.
    pub(crate) fn with_slots(slots: usize) -> SysResult<Self> {
        Ok(Self::filled(Vec::try_with_capacity(slots)?, slots))
    }

    /// [`Self::with_slots`] that cannot fail.
    pub(crate) fn must_with_slots(slots: usize) -> Self {
        let mut v = Vec::new();
        v.must_reserve(slots);
        Self::filled(v, slots)
    }

    fn filled(mut v: Vec<Option<Entry>>, slots: usize) -> Self {
        for _ in 0..slots {
            // Within the capacity: cannot fail.
            let _ = v.push_within_capacity(None);
        }
        Self(v)
    }
}

/// The table.
pub(crate) struct Table {
    slots: Vec<Option<Entry>>,
    used: usize,
}

/// Smallest number of slots.
const LEAST: usize = 16;

impl Table {
    /// An empty table without memory.
    pub(crate) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            used: 0,
        }
    }

    /// Entries.
    pub(crate) fn len(&self) -> usize {
        self.used
    }

    /// Entry number `at` of the slots, in no order; for scans that remember where they were.
    pub(crate) fn slot(&self, at: usize) -> Option<&Entry> {
        self.slots.get(at)?.as_ref()
    }

    /// Number of slots.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Number of slots the table should have before the next insertion, if that is not what it has.
    pub(crate) fn wants_room(&self) -> Option<usize> {
        let room = self.slots.len();
        // Three quarters full at most: probes stay short.
        if self.used.saturating_add(1) <= room / 4 * 3 {
            None
        } else {
            Some(room.saturating_mul(2).max(LEAST))
        }
    }

    /// Moves all entries into `store`, which must have more slots (else it is given back as it is);
    /// returns the old memory, to be freed outside of the lock.
    pub(crate) fn grow_into(&mut self, store: Store) -> Store {
        if store.0.len() <= self.slots.len() {
            return store;
        }
        let old = core::mem::replace(&mut self.slots, store.0);
        let mut old = old;
        self.used = 0;
        for slot in old.iter_mut() {
            if let Some(entry) = slot.take() {
                self.put(entry);
            }
        }
        Store(old)
    }

    /// Where the search for `ino` begins.
    fn home(&self, ino: Ino) -> usize {
        // Fibonacci hashing: the numbers of a chunk are consecutive.
        let hash = ino.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        (hash as usize) & self.slots.len().wrapping_sub(1)
    }

    fn step(&self, at: usize) -> usize {
        at.wrapping_add(1) & self.slots.len().wrapping_sub(1)
    }

    fn position(&self, ino: Ino) -> Option<usize> {
        if self.slots.is_empty() {
            return None;
        }
        let mut at = self.home(ino);
        // At least a quarter of the slots is empty, so this ends.
        while let Some(entry) = self.slots.get(at)?.as_ref() {
            if entry.ino() == ino {
                return Some(at);
            }
            at = self.step(at);
        }
        None
    }

    /// The entry of `ino`.
    pub(crate) fn find(&self, ino: Ino) -> Option<&Entry> {
        self.slots.get(self.position(ino)?)?.as_ref()
    }

    /// Puts an entry in, or in the place of the one with the same number, which is returned. Gives
    /// `entry` back if there is no room.
    pub(crate) fn insert(&mut self, entry: Entry) -> Result<Option<Entry>, Entry> {
        if let Some(at) = self.position(entry.ino()) {
            return Ok(self.slots.get_mut(at).and_then(|s| s.replace(entry)));
        }
        if self.wants_room().is_some() {
            return Err(entry);
        }
        self.put(entry);
        Ok(None)
    }

    /// Puts in an entry that is not there; there is room.
    fn put(&mut self, entry: Entry) {
        let mut at = self.home(entry.ino());
        while self.slots.get(at).is_some_and(|s| s.is_some()) {
            at = self.step(at);
        }
        if let Some(slot) = self.slots.get_mut(at) {
            *slot = Some(entry);
            self.used = self.used.saturating_add(1);
        }
    }

    /// Takes the entry of `ino` out.
    pub(crate) fn remove(&mut self, ino: Ino) -> Option<Entry> {
        let at = self.position(ino)?;
        let gone = self.slots.get_mut(at)?.take();
        self.used = self.used.saturating_sub(1);
        self.close_gap(at);
        gone
    }

    /// Moves entries behind the empty slot `gap` back, so that no search stops at it too early.
    fn close_gap(&mut self, mut gap: usize) {
        let mask = self.slots.len().wrapping_sub(1);
        let mut at = self.step(gap);
        while let Some(entry) = self.slots.get(at).and_then(|s| s.as_ref()) {
            let home = self.home(entry.ino());
            // The entry may move to the gap if the gap is not before its home.
            let from_home = at.wrapping_sub(home) & mask;
            let from_gap = at.wrapping_sub(gap) & mask;
            if from_home >= from_gap {
                let moved = self.slots.get_mut(at).and_then(|s| s.take());
                if let Some(slot) = self.slots.get_mut(gap) {
                    *slot = moved;
                }
                gap = at;
            }
            at = self.step(at);
        }
    }
}
