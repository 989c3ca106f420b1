// SPDX-License-Identifier: GPL-2.0

//! One shard of the buffer cache: hash chains over one array of slots.
//!
//! Chains are links by slot number, so that a buffer costs one slot (24 bytes) and no allocation of
//! its own. Growth needs memory and therefore happens outside of the shard's spinlock, as an
//! exchange of the array ([`Storage`]).

use super::Buf;
use crate::sys::{self, Arc};

/// No slot.
const NONE: u32 = u32::MAX;
/// Slots of a shard's first array.
const FIRST: usize = 16;

struct Slot {
    block: u64,
    buf: Option<Arc<Buf>>,
    /// Next in the chain, or in the list of free slots.
    next: u32,
}

/// Bytes of a slot.
#[cfg(test)]
pub(super) const SLOT_BYTES: usize = core::mem::size_of::<Slot>();

/// Memory for the slots and chains of a shard.
pub(super) struct Storage {
    heads: sys::Vec<u32>,
    slots: sys::Vec<Slot>,
}

impl Storage {
    /// Memory for `n` buffers, `n` a power of two. May sleep.
    pub(super) fn new(n: usize) -> sys::SysResult<Self> {
        let mut heads = sys::Vec::new();
        heads.try_resize(n, NONE)?;
        Ok(Self {
            heads,
            slots: sys::Vec::try_with_capacity(n)?,
        })
    }

    /// [`Self::new`], for those who cannot fail.
    pub(super) fn must_new(n: usize) -> Self {
        let mut heads = sys::Vec::new();
        let mut slots = sys::Vec::new();
        heads.must_reserve(n);
        slots.must_reserve(n);
        while heads.len() < n {
            heads.must_push(NONE);
        }
        Self { heads, slots }
    }

    const fn empty() -> Self {
        Self {
            heads: sys::Vec::new(),
            slots: sys::Vec::new(),
        }
    }

    fn capacity(&self) -> usize {
        self.heads.len().min(self.slots.capacity())
    }
}

/// Chains of a shard. All of it is under the shard's spinlock.
pub(super) struct Shard {
    storage: Storage,
    free: u32,
    used: usize,
    /// Where the shrinker goes on.
    hand: usize,
}

/// What [`Shard::insert`] did.
pub(super) enum Inserted {
    /// The buffer is in; the dead one that was in its place has to be dropped outside of the lock.
    Done(Option<Arc<Buf>>),
    /// There is a living buffer of the block, now with one more reference.
    Exists(Arc<Buf>),
    /// No room: [`Shard::grow`] to this many and come again.
    Full(usize),
}

fn spread(block: u64) -> u64 {
    // Fibonacci hashing; the shard is taken from the upper half.
    block.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// Which of `shards` (a power of two) holds `block`.
pub(super) fn shard_of(block: u64, shards: usize) -> usize {
    (spread(block) >> 40) as usize & shards.wrapping_sub(1)
}

impl Shard {
    /// An empty shard; allocates nothing.
    pub(super) const fn new() -> Self {
        Self {
            storage: Storage::empty(),
            free: NONE,
            used: 0,
            hand: 0,
        }
    }

    fn slot(&self, at: u32) -> Option<&Slot> {
        self.storage.slots.get(at as usize)
    }

    fn slot_mut(&mut self, at: u32) -> Option<&mut Slot> {
        self.storage.slots.get_mut(at as usize)
    }

    fn bucket(&self, block: u64) -> usize {
        (spread(block) >> 8) as usize & self.storage.heads.len().wrapping_sub(1)
    }

    fn position(&self, block: u64) -> u32 {
        let mut at = *self.storage.heads.get(self.bucket(block)).unwrap_or(&NONE);
        while let Some(slot) = self.slot(at) {
            if slot.block == block {
                return at;
            }
            at = slot.next;
        }
        NONE
    }

    /// The buffer of `block`, dead or alive.
    pub(super) fn lookup(&self, block: u64) -> Option<&Arc<Buf>> {
        self.slot(self.position(block))?.buf.as_ref()
    }

    /// Puts `buf` in, unless a living buffer of the block is there.
    pub(super) fn insert(&mut self, buf: &Arc<Buf>) -> Inserted {
        let block = buf.block.get();

        let at = self.position(block);
        if let Some(slot) = self.slot_mut(at) {
            if let Some(old) = &slot.buf {
                if !sys::mutant!(Seed002Insert) && old.state.get() {
                    return Inserted::Exists(old.clone());
                }
                #[cfg(latchfs_races)]
                if !old.state.load().is_dead() {
                    sys::damage!(TwoBuffers, block);
                }
            }
            // A dead one: whoever killed it will not find it any more and has nothing to do.
            let old = slot.buf.replace(buf.clone());
            return Inserted::Done(old);
        }

        let room = self.storage.capacity();
        if self.used >= room {
            return Inserted::Full(room.saturating_mul(2).max(FIRST));
        }

        let bucket = self.bucket(block);
        let Some(head) = self.storage.heads.get(bucket).copied() else {
            return Inserted::Full(FIRST);
        };
        let new = Slot {
            block,
            buf: Some(buf.clone()),
            next: head,
        };
        let at = self.free;
        let at = match self.slot_mut(at) {
            Some(slot) => {
                let free = slot.next;
                *slot = new;
                self.free = free;
                at
            }
            None => {
                let at = self.storage.slots.len();
                if self.storage.slots.push_within_capacity(new).is_err() {
                    return Inserted::Full(room.saturating_mul(2).max(FIRST));
                }
                at as u32
            }
        };
        if let Some(head) = self.storage.heads.get_mut(bucket) {
            *head = at;
        }
        self.used += 1;
        Inserted::Done(None)
    }

    /// Takes `buf` out, if it is (still) in. The caller drops the returned reference outside of
    /// the lock.
    pub(super) fn remove(&mut self, buf: &Arc<Buf>) -> Option<Arc<Buf>> {
        let at = self.position(buf.block.get());
        let here = self.slot(at)?.buf.as_ref()?;
        if !Arc::ptr_eq(here, buf) {
            return None;
        }
        self.remove_at(at)
    }

    fn remove_at(&mut self, at: u32) -> Option<Arc<Buf>> {
        let slot = self.slot(at)?;
        let (block, next) = (slot.block, slot.next);
        let bucket = self.bucket(block);
        let mut before = *self.storage.heads.get(bucket)?;
        if before == at {
            *self.storage.heads.get_mut(bucket)? = next;
        } else {
            while self.slot(before)?.next != at {
                before = self.slot(before)?.next;
            }
            self.slot_mut(before)?.next = next;
        }

        let free = self.free;
        let slot = self.slot_mut(at)?;
        slot.next = free;
        let buf = slot.buf.take();
        self.free = at;
        self.used = self.used.saturating_sub(1);
        buf
    }

    /// Moves everything into `new` if that has more room, and returns the storage that is not
    /// needed any more, to be dropped outside of the lock. Slot numbers stay.
    pub(super) fn grow(&mut self, new: Storage) -> Storage {
        if new.capacity() <= self.storage.capacity() {
            return new;
        }
        let old = core::mem::replace(&mut self.storage, new);
        let Storage { heads, slots } = old;

        // The slots move one by one: an array of `Arc`s cannot be copied.
        let mut slots = slots;
        for slot in slots.iter_mut() {
            let moved = core::mem::replace(
                slot,
                Slot {
                    block: 0,
                    buf: None,
                    next: NONE,
                },
            );
            // Never fails: there is more room than before.
            let _ = self.storage.slots.push_within_capacity(moved);
        }
        self.rehash();
        Storage { heads, slots }
    }

    fn rehash(&mut self) {
        self.free = NONE;
        for at in 0..self.storage.slots.len() as u32 {
            let Some(slot) = self.slot(at) else { return };
            let next = if slot.buf.is_some() {
                let bucket = self.bucket(slot.block);
                match self.storage.heads.get_mut(bucket) {
                    Some(head) => core::mem::replace(head, at),
                    None => NONE,
                }
            } else {
                core::mem::replace(&mut self.free, at)
            };
            if let Some(slot) = self.slot_mut(at) {
                slot.next = next;
            }
        }
    }

    /// Shows the shrinker up to `steps` buffers, from where it was last time, until `judge` (which
    /// says whether the buffer just died) has had enough and returns [`None`]. The dead are taken
    /// out and given to `bury`. Returns how many were looked at.
    pub(super) fn sweep(
        &mut self,
        steps: usize,
        mut judge: impl FnMut(&Arc<Buf>) -> Option<bool>,
        mut bury: impl FnMut(Arc<Buf>),
    ) -> usize {
        let len = self.storage.slots.len();
        let steps = steps.min(len);

        for step in 0..steps {
            if self.hand >= len {
                self.hand = 0;
            }
            let at = self.hand;
            let verdict = match self.storage.slots.get(at).and_then(|s| s.buf.as_ref()) {
                Some(buf) => judge(buf),
                None => Some(false),
            };
            match verdict {
                None => return step,
                Some(false) => {}
                Some(true) => {
                    if let Some(buf) = self.remove_at(at as u32) {
                        bury(buf);
                    }
                }
            }
            self.hand = at + 1;
        }
        steps
    }

    /// Length of the array that [`Self::sweep`] goes round in.
    pub(super) fn slots(&self) -> usize {
        self.storage.slots.len()
    }
}
