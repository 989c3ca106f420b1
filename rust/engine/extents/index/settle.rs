// SPDX-License-Identifier: GPL-2.0

//! Completions: a part of an entry becomes what the disk has there from now on.
//!
//! The commonest change of an index that has many entries, so it touches the tree as little as it
//! can: a part that continues its neighbour moves the boundary between the two, which changes neither
//! the order nor the number of entries; and an entry that is wanted as a whole is changed in its place.

use super::{Cached, ExtentIndex, Mapping};
use crate::{engine::error::Result, format::units::FileBlock};
use core::ops::Range;

impl ExtentIndex {
    /// Replaces `range`, whatever it is, by what the disk has there. Two nodes at most. What was owned
    /// there is dropped, which may sleep.
    pub(crate) fn settle(&mut self, range: Range<FileBlock>, what: Cached) -> Result {
        if self.move_start(&range, what) || self.move_end(&range, what) {
            return Ok(());
        }
        self.carve(range.clone())?;
        if self.turn(&range, what) {
            self.merge(range);
            return Ok(());
        }
        // Several entries, or not all of it is known.
        self.remove(range.clone(), |_, _| {})?;
        self.fill(range, what)
    }

    /// The first part of an entry goes to the one before it, if it continues that. Says whether.
    fn move_start(&mut self, range: &Range<FileBlock>, what: Cached) -> bool {
        let Some((slot, key, entry)) = self.find(range.start.0) else {
            return false;
        };
        let n = range.end.0.saturating_sub(range.start.0);
        if key != range.start.0 || n == 0 || n >= entry.len {
            return false;
        }
        let Some(before) = self.map.prev(slot) else {
            return false;
        };
        match self.map.get(before) {
            Some((at, e)) if at.saturating_add(e.len) == key => {
                if !e.mapping.continues(e.len, &Mapping::Cached(what)) {
                    return false;
                }
            }
            _ => return false,
        }
        let (Some(entry), counts) = (self.map.get_mut(slot), &mut self.counts) else {
            return false;
        };
        entry.mapping.count(counts, |c| *c = c.saturating_sub(n));
        entry.mapping = entry.mapping.split(n, entry.len);
        entry.len = entry.len.saturating_sub(n);
        self.map.move_key(slot, range.end.0);
        if let Some(before) = self.map.get_mut(before) {
            before.len = before.len.saturating_add(n);
        }
        true
    }

    /// The last part of an entry goes to the one behind it, if that continues it. Says whether.
    fn move_end(&mut self, range: &Range<FileBlock>, what: Cached) -> bool {
        let Some((slot, key, entry)) = self.find(range.start.0) else {
            return false;
        };
        let n = range.end.0.saturating_sub(range.start.0);
        let end = key.saturating_add(entry.len);
        if key == range.start.0 || n == 0 || end != range.end.0 {
            return false;
        }
        let what = Mapping::Cached(what);
        let Some(behind) = self.map.next(slot) else {
            return false;
        };
        match self.map.get(behind) {
            Some((at, e)) if at == end && what.continues(n, &e.mapping) => {}
            _ => return false,
        }
        let (Some(entry), counts) = (self.map.get_mut(slot), &mut self.counts) else {
            return false;
        };
        entry.mapping.count(counts, |c| *c = c.saturating_sub(n));
        let front = entry.len.saturating_sub(n);
        drop(entry.mapping.split(front, entry.len));
        entry.len = front;
        if let Some(behind) = self.map.get_mut(behind) {
            behind.mapping = what;
            behind.len = behind.len.saturating_add(n);
        }
        self.map.move_key(behind, range.start.0);
        true
    }

    /// Changes an entry that is `range` exactly. Says whether there is one.
    fn turn(&mut self, range: &Range<FileBlock>, what: Cached) -> bool {
        let len = range.end.0.saturating_sub(range.start.0);
        let slot = match self.find(range.start.0) {
            Some((slot, key, entry)) if key == range.start.0 && entry.len == len => slot,
            _ => return false,
        };
        let (Some(entry), counts) = (self.map.get_mut(slot), &mut self.counts) else {
            return false;
        };
        entry.mapping.count(counts, |c| *c = c.saturating_sub(len));
        entry.mapping = Mapping::Cached(what);
        true
    }
}
