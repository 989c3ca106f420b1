// SPDX-License-Identifier: GPL-2.0

//! Slots that are named by 32-bit numbers.
//!
//! Memory for the nodes of one tree. It grows by chunks that never move: eight slots first, so
//! that a file of one extent costs little, then doubling up to 64 (4 KiB), so that no allocation is
//! large however many extents a file has. Freed slots are reused; chunks are returned when the
//! arena is dropped, [`Arena::clear`]ed or, once what is used is at its beginning,
//! [`Arena::shrink_to`] that.

use crate::sys::{self, SysResult};

/// No slot.
pub(super) const NIL: u32 = u32::MAX;

/// Base-2 logarithm of the slots of the first two chunks.
const FIRST_LOG: u32 = 3;
/// Base-2 logarithm of the slots of the largest chunks.
const LAST_LOG: u32 = 6;
/// Number of the first chunk of the largest size; all before it make as many slots together.
const LAST: usize = (LAST_LOG - FIRST_LOG + 1) as usize;

/// Slots of chunk `chunk`.
const fn chunk_len(chunk: usize) -> usize {
    match chunk {
        0 => 1 << FIRST_LOG,
        1..LAST => 1 << (FIRST_LOG as usize + chunk - 1),
        _ => 1 << LAST_LOG,
    }
}

/// Chunk and place in it of slot `slot`.
const fn place(slot: u32) -> (usize, usize) {
    if slot < 1 << FIRST_LOG {
        (0, slot as usize)
    } else if slot < 1 << LAST_LOG {
        let log = slot.ilog2();
        ((log - FIRST_LOG + 1) as usize, (slot - (1 << log)) as usize)
    } else {
        let rest = slot - (1 << LAST_LOG);
        (
            LAST + (rest >> LAST_LOG) as usize,
            (rest & ((1 << LAST_LOG) - 1)) as usize,
        )
    }
}

/// A slot: occupied, or in the list of free ones.
enum Slot<T> {
    Free { next: u32 },
    Used(T),
}

/// The arena.
pub(super) struct Arena<T> {
    chunks: sys::Vec<sys::Vec<Slot<T>>>,
    /// First slot of the list of freed ones.
    free: u32,
    /// Slots in that list.
    freed: u32,
    /// Slots that were ever used; those from here to the end of the chunks are free too.
    top: u32,
    /// Slots in all chunks.
    total: u32,
}

/// Memory for an arena, allocated before the lock that protects the arena is taken.
pub(super) struct Stock<T> {
    chunk: Option<(usize, sys::Vec<Slot<T>>)>,
}

impl<T> Stock<T> {
    /// Nothing.
    pub(super) const fn none() -> Self {
        Self { chunk: None }
    }

    /// The chunk that an arena of `chunks` chunks takes next. ENOMEM. May sleep.
    pub(super) fn try_new(chunks: usize) -> SysResult<Self> {
        let chunk = sys::Vec::try_with_capacity(chunk_len(chunks))?;
        Ok(Self {
            chunk: Some((chunks, chunk)),
        })
    }

    /// As [`Self::try_new`], without failing. May sleep.
    pub(super) fn must_new(chunks: usize) -> Self {
        let mut chunk = sys::Vec::new();
        chunk.must_reserve(chunk_len(chunks));
        Self {
            chunk: Some((chunks, chunk)),
        }
    }
}

impl<T> Default for Arena<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Arena<T> {
    /// An empty arena; allocates nothing.
    pub(super) const fn new() -> Self {
        Self {
            chunks: sys::Vec::new(),
            free: NIL,
            freed: 0,
            top: 0,
            total: 0,
        }
    }

    /// Slots that can be taken without allocating.
    pub(super) fn spare(&self) -> u32 {
        self.freed + (self.total - self.top)
    }

    /// Number of chunks: what [`Stock::try_new`] wants to know.
    pub(super) fn chunks(&self) -> usize {
        self.chunks.len()
    }

    /// Bytes of memory the arena holds.
    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.total as usize * core::mem::size_of::<Slot<T>>()
            + self.chunks.capacity() * core::mem::size_of::<sys::Vec<Slot<T>>>()
    }

    /// Takes the memory over if it is the chunk that comes next; else gives it back. May allocate
    /// room in the directory of chunks.
    pub(super) fn add(&mut self, mut stock: Stock<T>) -> Stock<T> {
        let Some((number, chunk)) = stock.chunk.take() else {
            return stock;
        };
        let len = chunk_len(number) as u32;
        if number != self.chunks.len() || self.total.checked_add(len).is_none_or(|t| t == NIL) {
            stock.chunk = Some((number, chunk));
            return stock;
        }
        self.chunks.must_push(chunk);
        self.total += len;
        stock
    }

    /// Makes sure that `n` slots can be taken, allocating here and now what is missing. ENOMEM. May
    /// sleep.
    pub(super) fn try_reserve(&mut self, n: u32) -> SysResult<()> {
        while self.spare() < n {
            let stock = Stock::try_new(self.chunks.len())?;
            if self.add(stock).chunk.is_some() {
                return Err(sys::Errno::NOMEM);
            }
        }
        Ok(())
    }

    /// As [`Self::try_reserve`], without failing. May sleep.
    pub(super) fn must_reserve(&mut self, n: u32) {
        while self.spare() < n {
            let stock = Stock::must_new(self.chunks.len());
            if self.add(stock).chunk.is_some() {
                return;
            }
        }
    }

    /// Puts `value` in a free slot; gives it back if there is none. Never sleeps.
    pub(super) fn put(&mut self, value: T) -> Result<u32, T> {
        if self.free != NIL {
            let slot = self.free;
            let (chunk, at) = place(slot);
            let Some(cell) = self.chunks.get_mut(chunk).and_then(|c| c.get_mut(at)) else {
                return Err(value);
            };
            let Slot::Free { next } = *cell else {
                return Err(value);
            };
            *cell = Slot::Used(value);
            self.free = next;
            self.freed -= 1;
            return Ok(slot);
        }
        if self.top == self.total {
            return Err(value);
        }
        let slot = self.top;
        let Some(chunk) = self.chunks.get_mut(place(slot).0) else {
            return Err(value);
        };
        match chunk.push_within_capacity(Slot::Used(value)) {
            Ok(()) => {
                self.top += 1;
                Ok(slot)
            }
            Err(Slot::Used(value)) => Err(value),
            // Not what was passed in; there is no value to return.
            Err(Slot::Free { .. }) => Ok(NIL),
        }
    }

    /// Empties a slot.
    pub(super) fn take(&mut self, slot: u32) -> Option<T> {
        let (chunk, at) = place(slot);
        let free = self.free;
        let cell = self.chunks.get_mut(chunk)?.get_mut(at)?;
        if !matches!(cell, Slot::Used(_)) {
            return None;
        }
        let old = core::mem::replace(cell, Slot::Free { next: free });
        self.free = slot;
        self.freed += 1;
        match old {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// What is in a slot.
    #[inline]
    pub(super) fn get(&self, slot: u32) -> Option<&T> {
        let (chunk, at) = place(slot);
        match self.chunks.get(chunk)?.get(at)? {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// What is in a slot.
    #[inline]
    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut T> {
        let (chunk, at) = place(slot);
        match self.chunks.get_mut(chunk)?.get_mut(at)? {
            Slot::Used(value) => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// Slots that were ever used: all used ones are below.
    pub(super) fn top(&self) -> u32 {
        self.top
    }

    /// Whether a slot is free.
    pub(super) fn is_free(&self, slot: u32) -> bool {
        self.get(slot).is_none()
    }

    /// Moves what is in `from` to the free slot `to`. The list of free slots is not true any more
    /// until [`Self::shrink_to`].
    pub(super) fn relocate(&mut self, from: u32, to: u32) {
        let (chunk, at) = place(from);
        let Some(cell) = self.chunks.get_mut(chunk).and_then(|c| c.get_mut(at)) else {
            return;
        };
        let moved = core::mem::replace(cell, Slot::Free { next: NIL });
        let (chunk, at) = place(to);
        if let Some(cell) = self.chunks.get_mut(chunk).and_then(|c| c.get_mut(at)) {
            *cell = moved;
        }
    }

    /// Returns the memory behind the first `used` slots, which are all that are used.
    pub(super) fn shrink_to(&mut self, used: u32) {
        self.free = NIL;
        self.freed = 0;
        self.top = used;
        while let Some(last) = self.chunks.len().checked_sub(1) {
            let len = chunk_len(last) as u32;
            let start = self.total.saturating_sub(len);
            if start < used {
                if let Some(chunk) = self.chunks.get_mut(last) {
                    chunk.truncate((used - start) as usize);
                }
                break;
            }
            drop(self.chunks.pop());
            self.total = start;
        }
    }

    /// Empties all slots and returns the memory.
    pub(super) fn clear(&mut self) {
        *self = Self::new();
    }
}

/// Bytes of a slot.
#[cfg(test)]
pub(super) const fn slot_size<T>() -> usize {
    core::mem::size_of::<Slot<T>>()
}
