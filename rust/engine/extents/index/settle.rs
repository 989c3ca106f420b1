// SPDX-License-Identifier: GPL-2.0

//! Completions: a part of an entry becomes what the disk has there from now on.
//!
//! The commonest change of an index that has many entries, so it touches the tree as little as it
//! can: a part that continues its neighbour moves the boundary between the two, which changes neither
//! the order nor the number of entries; and an entry that is wanted as a whole is changed in its place.

use super::{Cached, ExtentIndex, Mapping, Slot};
use crate::{engine::error::Result, format::units::FileBlock};
use core::ops::Range;

impl ExtentIndex {
    /// Replaces `range`, whatever it is, by what the disk has there. Two nodes at most. What was owned
    /// there is dropped, which may sleep.
    pub(crate) fn settle(&mut self, range: Range<FileBlock>, what: Cached) -> Result {
        let n = range.end.0.saturating_sub(range.start.0);
        if let Some((slot, key, entry)) = self.find(range.start.0) {
            let end = key.saturating_add(entry.len);
            let moved = match (key == range.start.0, end == range.end.0) {
                (true, false) if end > range.end.0 && n > 0 => self.move_start(slot, n, what),
                (false, true) => self.move_end(slot, n, what),
                _ => false,
            };
            if moved {
                return Ok(());
            }
        }
        self.carve(range.clone())?;
        if self.turn(range.start, n, what) {
            self.merge(range);
            return Ok(());
        }
        // Several entries, or not all of it is known.
        self.remove(range.clone(), |_, _| {})?;
        self.fill(range, what)
    }

    /// The first `n` blocks of an entry, not all, go to the one before it, if they continue that. Says
    /// whether.
    fn move_start(&mut self, slot: Slot, n: u64, what: Cached) -> bool {
        let Some(before) = self.map.prev(slot) else {
            return false;
        };
        let (Some((at, left)), Some((key, _))) = (self.map.get(before), self.map.get(slot)) else {
            return false;
        };
        let touches = at.saturating_add(left.len) == key;
        if !touches || !left.mapping.continues(left.len, &Mapping::Cached(what)) {
            return false;
        }
        let Some(entry) = self.map.get_mut(slot) else {
            return false;
        };
        entry
            .mapping
            .count(&mut self.counts, |c| *c = c.saturating_sub(n));
        entry.mapping = entry.mapping.split(n, entry.len);
        entry.len = entry.len.saturating_sub(n);
        self.map.move_key(slot, key.saturating_add(n));
        if let Some(before) = self.map.get_mut(before) {
            before.len = before.len.saturating_add(n);
        }
        true
    }

    /// The last `n` blocks of an entry, not all, go to the one behind it, if that continues them. Says
    /// whether.
    fn move_end(&mut self, slot: Slot, n: u64, what: Cached) -> bool {
        let Some(behind) = self.map.next(slot) else {
            return false;
        };
        let (Some((key, entry)), Some((at, right))) = (self.map.get(slot), self.map.get(behind))
        else {
            return false;
        };
        let what = Mapping::Cached(what);
        let touches = key.saturating_add(entry.len) == at;
        if !touches || !what.continues(n, &right.mapping) {
            return false;
        }
        let Some(entry) = self.map.get_mut(slot) else {
            return false;
        };
        entry
            .mapping
            .count(&mut self.counts, |c| *c = c.saturating_sub(n));
        let front = entry.len.saturating_sub(n);
        drop(entry.mapping.split(front, entry.len));
        entry.len = front;
        if let Some(behind) = self.map.get_mut(behind) {
            behind.mapping = what;
            behind.len = behind.len.saturating_add(n);
        }
        self.map.move_key(behind, at.saturating_sub(n));
        true
    }

    /// Changes an entry that is these `n` blocks exactly. Says whether there is one.
    fn turn(&mut self, start: FileBlock, n: u64, what: Cached) -> bool {
        let slot = match self.find(start.0) {
            Some((slot, key, entry)) if key == start.0 && entry.len == n => slot,
            _ => return false,
        };
        let Some(entry) = self.map.get_mut(slot) else {
            return false;
        };
        entry
            .mapping
            .count(&mut self.counts, |c| *c = c.saturating_sub(n));
        entry.mapping = Mapping::Cached(what);
        true
    }
}
