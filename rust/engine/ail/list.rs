// SPDX-License-Identifier: GPL-2.0

//! The containers of the AIL: an arena of entries, and through some of them one doubly linked list
//! with a cursor.
//!
//! Links are numbers of slots. Entries never move: the arena grows by segments, whose memory is
//! allocated outside of the spinlock ([`Room`]) and handed in, so nothing here allocates or frees.
//!
//! There is one cursor, the pusher's. It stands *before* an entry; taking that entry off the list
//! moves the cursor on, so the cursor never points at something that is gone. (XFS marks cursors
//! as invalid by the low bit of a pointer and searches again by LSN.)

use crate::sys::Vec;

/// No slot.
pub(super) const NONE: u32 = u32::MAX;

/// Slots of a segment, a power of two.
const SEGMENT: usize = 64;

struct Slot<T> {
    value: Option<T>,
    /// Neighbours on the list; `next` also links free slots.
    prev: u32,
    next: u32,
    /// On the list.
    linked: bool,
}

/// Memory for more entries.
pub(super) struct Room<T> {
    /// A segment, empty, with its memory.
    segment: Option<Vec<Slot<T>>>,
    /// A longer directory of segments, if the old one may be too short.
    directory: Option<Vec<Vec<Slot<T>>>>,
}

impl<T> Room<T> {
    /// Memory for one segment, and for a directory of `segments` of them. May sleep, cannot fail.
    pub(super) fn must_new(segments: usize) -> Self {
        let mut segment = Vec::new();
        segment.must_reserve(SEGMENT);
        let mut directory = Vec::new();
        directory.must_reserve(segments);
        Self {
            segment: Some(segment),
            directory: Some(directory),
        }
    }
}

/// The arena and the list.
pub(super) struct List<T> {
    segments: Vec<Vec<Slot<T>>>,
    free: u32,
    used: usize,
    first: u32,
    last: u32,
    len: usize,
    cursor: u32,
}

impl<T> List<T> {
    /// Empty, without memory.
    pub(super) const fn new() -> Self {
        Self {
            segments: Vec::new(),
            free: NONE,
            used: 0,
            first: NONE,
            last: NONE,
            len: 0,
            cursor: NONE,
        }
    }

    fn slot(&self, at: u32) -> Option<&Slot<T>> {
        let at = at as usize;
        self.segments.get(at / SEGMENT)?.get(at % SEGMENT)
    }

    fn slot_mut(&mut self, at: u32) -> Option<&mut Slot<T>> {
        let at = at as usize;
        self.segments.get_mut(at / SEGMENT)?.get_mut(at % SEGMENT)
    }

    /// Entries, on the list or not.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Entries on the list.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Entries that still fit in.
    pub(super) fn room(&self) -> usize {
        self.segments
            .len()
            .saturating_mul(SEGMENT)
            .saturating_sub(self.used)
    }

    /// Segments that the next [`Room`] should have a directory for.
    pub(super) fn wants_segments(&self) -> usize {
        self.segments.len().saturating_add(1).next_power_of_two()
    }

    /// Takes the memory in. What comes back is dropped outside of the lock.
    #[must_use = "to be dropped outside of the lock"]
    pub(super) fn grow(&mut self, mut room: Room<T>) -> Room<T> {
        if let Some(mut longer) = room.directory.take() {
            if self.segments.len() < self.segments.capacity()
                || longer.capacity() <= self.segments.len()
            {
                room.directory = Some(longer);
            } else {
                for segment in self.segments.iter_mut() {
                    let segment = core::mem::take(segment);
                    // There is room: looked at above.
                    let _ = longer.push_within_capacity(segment);
                }
                room.directory = Some(core::mem::replace(&mut self.segments, longer));
            }
        }
        let Some(segment) = room.segment.take() else {
            return room;
        };
        let base = self.segments.len().saturating_mul(SEGMENT);
        if let Err(back) = self.segments.push_within_capacity(segment) {
            room.segment = Some(back);
            return room;
        }
        let mut free = self.free;
        if let Some(segment) = self.segments.last_mut() {
            for n in 0..SEGMENT {
                let next = if n + 1 < SEGMENT {
                    (base + n + 1) as u32
                } else {
                    free
                };
                let slot = Slot {
                    value: None,
                    prev: NONE,
                    next,
                    linked: false,
                };
                // The segment has memory for all of them.
                let _ = segment.push_within_capacity(slot);
            }
            free = base as u32;
        }
        self.free = free;
        room
    }

    /// Puts an entry into the arena, not on the list; gives it back if there is no room.
    pub(super) fn insert(&mut self, value: T) -> Result<u32, T> {
        let at = self.free;
        let Some(slot) = self.slot_mut(at) else {
            return Err(value);
        };
        let next = slot.next;
        slot.value = Some(value);
        slot.next = NONE;
        slot.prev = NONE;
        self.free = next;
        self.used += 1;
        Ok(at)
    }

    /// Takes an entry out of the arena, and off the list if it is on it.
    #[must_use = "to be dropped outside of the lock"]
    pub(super) fn remove(&mut self, at: u32) -> Option<T> {
        self.unlink(at);
        let free = self.free;
        let slot = self.slot_mut(at)?;
        let value = slot.value.take()?;
        slot.next = free;
        self.free = at;
        self.used = self.used.saturating_sub(1);
        Some(value)
    }

    /// The entry.
    pub(super) fn get(&self, at: u32) -> Option<&T> {
        self.slot(at)?.value.as_ref()
    }

    /// The entry, to change it.
    pub(super) fn get_mut(&mut self, at: u32) -> Option<&mut T> {
        self.slot_mut(at)?.value.as_mut()
    }

    /// Puts an entry at the end of the list, wherever it was before.
    pub(super) fn push_back(&mut self, at: u32) {
        self.unlink(at);
        let last = self.last;
        let Some(slot) = self.slot_mut(at) else {
            return;
        };
        if slot.value.is_none() {
            return;
        }
        slot.linked = true;
        slot.prev = last;
        slot.next = NONE;
        match self.slot_mut(last) {
            Some(before) => before.next = at,
            None => self.first = at,
        }
        self.last = at;
        self.len += 1;
    }

    /// Takes an entry off the list, if it is on it; it stays in the arena.
    pub(super) fn unlink(&mut self, at: u32) {
        let Some(slot) = self.slot_mut(at) else {
            return;
        };
        if !slot.linked {
            return;
        }
        slot.linked = false;
        let prev = core::mem::replace(&mut slot.prev, NONE);
        let next = core::mem::replace(&mut slot.next, NONE);
        match self.slot_mut(prev) {
            Some(before) => before.next = next,
            None => self.first = next,
        }
        match self.slot_mut(next) {
            Some(after) => after.prev = prev,
            None => self.last = prev,
        }
        if self.cursor == at {
            self.cursor = next;
        }
        self.len = self.len.saturating_sub(1);
    }

    /// The first entry of the list.
    pub(super) fn first(&self) -> Option<u32> {
        (self.first != NONE).then_some(self.first)
    }

    /// The last entry of the list.
    pub(super) fn last(&self) -> Option<u32> {
        (self.last != NONE).then_some(self.last)
    }

    /// The cursor goes before the first entry.
    pub(super) fn rewind(&mut self) {
        self.cursor = self.first;
    }

    /// The entry behind the cursor, which moves over it.
    pub(super) fn advance(&mut self) -> Option<u32> {
        let at = self.cursor;
        self.cursor = self.slot(at)?.next;
        Some(at)
    }

    /// Some entry of the arena, on the list or not: for taking all out.
    pub(super) fn any_from(&self, from: u32) -> Option<u32> {
        let end = self.segments.len().saturating_mul(SEGMENT) as u32;
        (from..end).find(|at| self.get(*at).is_some())
    }
}
