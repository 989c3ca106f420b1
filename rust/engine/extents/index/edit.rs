// SPDX-License-Identifier: GPL-2.0

//! Changing the index: cutting, merging, filling in.
//!
//! A change of a range first makes entry boundaries at its two ends ([`ExtentIndex::carve`]), then
//! deals with whole entries, then merges with the neighbours what is the same. Only the carving
//! needs new nodes, and the caller has seen to them.

use super::{
    Cached, Counts, Entry, ExtentIndex, InFlight, Mapping, OrderedExtent, Owned, Piece, Prior,
    Promised, Slot,
};
use crate::{
    engine::error::{Error, Result},
    format::units::FileBlock,
    sys::{Arc, Errno},
};
use core::ops::Range;

impl Mapping {
    /// Cuts what is behind the first `at` of `len` blocks off. May sleep.
    pub(super) fn split(&mut self, at: u64, len: u64) -> Mapping {
        match self {
            Mapping::Cached(c) => Mapping::Cached(c.skip(at)),
            Mapping::Owned(Owned::Delayed(d)) => Mapping::Owned(Owned::Delayed(d.split(at, len))),
            Mapping::Owned(Owned::Promised(p)) => Mapping::Owned(Owned::Promised(p.skip(at))),
            Mapping::Owned(Owned::InFlight(f)) => Mapping::Owned(Owned::InFlight(InFlight {
                at: f.at.saturating_add(at),
                prior: f.prior,
                io: Arc::clone(&f.io),
            })),
        }
    }

    /// Whether `next`, right behind `len` blocks of this, continues it.
    pub(super) fn continues(&self, len: u64, next: &Mapping) -> bool {
        match (self, next) {
            (Mapping::Cached(a), Mapping::Cached(b)) => a.skip(len) == *b,
            (Mapping::Owned(a), Mapping::Owned(b)) => match (a, b) {
                // A claim covers the first blocks of an entry, so the second may not have one.
                (Owned::Delayed(_), Owned::Delayed(b)) => b.claim().is_none(),
                (Owned::Promised(a), Owned::Promised(b)) => a.skip(len) == *b,
                (Owned::InFlight(a), Owned::InFlight(b)) => {
                    a.at.saturating_add(len) == b.at
                        && a.prior == b.prior
                        && Arc::ptr_eq(&a.io, &b.io)
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// Takes over what `next`, which continues this, owns.
    fn join(&mut self, next: Mapping) {
        if let (Mapping::Owned(Owned::Delayed(a)), Mapping::Owned(Owned::Delayed(b))) = (self, next)
        {
            a.join(b);
        }
    }

    pub(super) fn count(&self, counts: &mut Counts, change: impl FnOnce(&mut u64)) {
        match self {
            Mapping::Cached(_) => {}
            Mapping::Owned(Owned::Delayed(_)) => change(&mut counts.delayed),
            Mapping::Owned(Owned::Promised(p)) if p.appended => change(&mut counts.appended),
            Mapping::Owned(Owned::Promised(_)) => change(&mut counts.promised),
            Mapping::Owned(Owned::InFlight(f)) => match f.prior {
                Prior::Hole => change(&mut counts.in_flight),
                Prior::Unwritten => change(&mut counts.converting),
            },
        }
    }
}

impl Cached {
    /// The same for a range that begins `n` blocks later.
    fn skip(self, n: u64) -> Self {
        match self {
            Cached::Hole => self,
            Cached::Unwritten(at) => Cached::Unwritten(at.saturating_add(n)),
            Cached::Written(at) => Cached::Written(at.saturating_add(n)),
        }
    }
}

impl Promised {
    /// The same for a range that begins `n` blocks later.
    fn skip(self, n: u64) -> Self {
        Self {
            at: self.at.saturating_add(n),
            ..self
        }
    }
}

impl ExtentIndex {
    /// Cuts the entry at `slot`, if there is one and it goes on behind `block`, in two there. One
    /// node.
    fn cut(&mut self, block: u64) -> Result {
        let Some((slot, key, entry)) = self.find(block) else {
            return Ok(());
        };
        let front = block.saturating_sub(key);
        if front == 0 {
            return Ok(());
        }
        let len = entry.len;
        if self.map.spare() == 0 {
            return Err(Error::new(Errno::NOMEM));
        }
        let Some(entry) = self.map.get_mut(slot) else {
            return Ok(());
        };
        let rest = Entry {
            len: len.saturating_sub(front),
            mapping: entry.mapping.split(front, len),
        };
        entry.len = front;
        // A spare slot was there and the key is inside an entry, so this cannot fail.
        self.map
            .insert(block, rest)
            .map(|_| ())
            .map_err(|_| Error::new(Errno::UCLEAN))
    }

    /// Makes the two ends of `range` boundaries between entries. Two nodes at most.
    pub(crate) fn carve(&mut self, range: Range<FileBlock>) -> Result {
        self.cut(range.start.0)?;
        self.cut(range.end.0)
    }

    /// Puts an entry in a place where none is. One node. What it owns is dropped if there is one.
    fn put(&mut self, range: Range<FileBlock>, mapping: Mapping) -> Result {
        let len = range.end.0.saturating_sub(range.start.0);
        let free = self
            .first_from(range.start)
            .is_none_or(|p| p.file >= range.end);
        if len == 0 || !free {
            return Err(Error::new(Errno::UCLEAN));
        }
        mapping.count(&mut self.counts, |n| *n = n.saturating_add(len));
        match self.map.insert(range.start.0, Entry { len, mapping }) {
            Ok(_) => Ok(()),
            Err(entry) => {
                entry
                    .mapping
                    .count(&mut self.counts, |n| *n = n.saturating_sub(len));
                Err(Error::new(Errno::NOMEM))
            }
        }
    }

    /// Takes a whole entry out.
    fn take(&mut self, slot: Slot) -> Option<Entry> {
        let entry = self.map.remove(slot)?;
        let len = entry.len;
        entry
            .mapping
            .count(&mut self.counts, |n| *n = n.saturating_sub(len));
        Some(entry)
    }

    /// Takes the entry out that begins at `block`.
    pub(crate) fn take_at(&mut self, block: FileBlock) -> Option<Entry> {
        let (slot, key, _) = self.find(block.0)?;
        if key != block.0 {
            return None;
        }
        self.take(slot)
    }

    /// What the entry that begins at `block` is.
    pub(crate) fn mapping_at(&mut self, block: FileBlock) -> Option<&mut Mapping> {
        let (slot, key, _) = self.find(block.0)?;
        if key != block.0 {
            return None;
        }
        self.map.get_mut(slot).map(|e| &mut e.mapping)
    }

    /// Replaces all entries of `range`, which must be one piece of `old`'s kind as the caller saw
    /// it, by one of `new`. Returns what was there. Three nodes at most, none if the range is the
    /// whole piece.
    pub(crate) fn replace(
        &mut self,
        old: &Piece,
        range: Range<FileBlock>,
        new: Mapping,
    ) -> Result<Entry> {
        let now = self.lookup(range.start);
        let as_seen = now.is_some_and(|p| p == *old && p.end() >= range.end);
        if range.start >= range.end || !as_seen {
            return Err(Error::new(Errno::UCLEAN));
        }
        self.carve(range.clone())?;
        let was = self
            .take_at(range.start)
            .ok_or_else(|| Error::new(Errno::UCLEAN))?;
        self.put(range.clone(), new)?;
        self.merge(range);
        Ok(was)
    }

    /// Puts something that is in the index only where nothing is known. One node.
    pub(crate) fn put_owned(&mut self, range: Range<FileBlock>, what: Owned) -> Result {
        self.put(range.clone(), Mapping::Owned(what))?;
        self.merge(range);
        Ok(())
    }

    /// The ordered extent of the entry in flight that covers `block`.
    pub(crate) fn io_of(&self, block: FileBlock) -> Option<Arc<OrderedExtent>> {
        match self.find(block.0)?.2.mapping {
            Mapping::Owned(Owned::InFlight(ref f)) => Some(Arc::clone(&f.io)),
            _ => None,
        }
    }

    /// Fills a range that is not cached with what the disk has there. One node.
    pub(crate) fn fill(&mut self, range: Range<FileBlock>, what: Cached) -> Result {
        self.put(range.clone(), Mapping::Cached(what))?;
        self.merge(range);
        Ok(())
    }

    /// Merges the entries at the two ends of `range` with their neighbours outside.
    pub(crate) fn merge(&mut self, range: Range<FileBlock>) {
        self.merge_at(range.end);
        self.merge_at(range.start);
    }

    /// Merges the entry that begins at `block` into the one that ends there, if it continues it.
    fn merge_at(&mut self, block: FileBlock) {
        let Some((right, key, _)) = self.find(block.0) else {
            return;
        };
        if key != block.0 {
            return;
        }
        let Some(left) = self.map.prev(right) else {
            return;
        };
        let (Some((left_key, a)), Some((_, b))) = (self.map.get(left), self.map.get(right)) else {
            return;
        };
        if left_key.saturating_add(a.len) != key || !a.mapping.continues(a.len, &b.mapping) {
            return;
        }
        let Some(gone) = self.map.remove(right) else {
            return;
        };
        // Slots moved with the removal.
        if let Some(entry) = self
            .map
            .find_le(left_key)
            .and_then(|slot| self.map.get_mut(slot))
        {
            entry.len = entry.len.saturating_add(gone.len);
            entry.mapping.join(gone.mapping);
        }
    }

    /// Removes everything inside `range`, cutting what reaches beyond it, and hands each entry to
    /// `gone` (first block, entry). Two nodes at most.
    pub(crate) fn remove(
        &mut self,
        range: Range<FileBlock>,
        mut gone: impl FnMut(FileBlock, Entry),
    ) -> Result {
        self.carve(range.clone())?;
        while let Some(slot) = self.map.find_ge(range.start.0) {
            let Some((key, _)) = self.map.get(slot) else {
                break;
            };
            if key >= range.end.0 {
                break;
            }
            if let Some(entry) = self.take(slot) {
                gone(FileBlock(key), entry);
            }
        }
        Ok(())
    }
}

#[cfg(latchfs_races)]
impl ExtentIndex {
    /// Whether entries are disjoint, counts are sums of them, and each Delayed one has as much space
    /// as it has blocks (D1).
    pub(crate) fn is_sound(&self) -> bool {
        let mut counts = Counts::default();
        let mut end = 0;
        let mut at = self.map.first();
        while let Some((key, entry)) = at.and_then(|slot| self.map.get(slot)) {
            let len = entry.len;
            entry
                .mapping
                .count(&mut counts, |n| *n = n.saturating_add(len));
            let owns = match &entry.mapping {
                Mapping::Owned(Owned::Delayed(d)) => d.promised().saturating_add(d.claimed()),
                _ => len,
            };
            if key < end || len == 0 || owns != len {
                return false;
            }
            end = key.saturating_add(len);
            at = at.and_then(|slot| self.map.next(slot));
        }
        counts == self.counts
    }
}

#[cfg(test)]
impl ExtentIndex {
    /// Checks that entries are disjoint, merged, that counts and reservations are the sums of what
    /// the entries have (D1).
    pub(super) fn check(&self) {
        self.map.check();
        let mut counts = Counts::default();
        let mut at = self.map.first();
        let mut before: Option<(u64, &Entry)> = None;
        while let Some(slot) = at {
            let Some((key, entry)) = self.map.get(slot) else {
                break;
            };
            assert!(entry.len > 0);
            let len = entry.len;
            entry.mapping.count(&mut counts, |n| *n += len);
            if let Some((k, e)) = before {
                assert!(k + e.len <= key, "overlap at {key}");
                assert!(
                    k + e.len < key || !e.mapping.continues(e.len, &entry.mapping),
                    "not merged at {key}"
                );
            }
            if let Mapping::Owned(Owned::Delayed(d)) = &entry.mapping {
                assert_eq!(d.promised() + d.claimed(), len, "reservation of {key}");
            }
            before = Some((key, entry));
            at = self.map.next(slot);
        }
        assert_eq!(counts, self.counts);
    }
}
