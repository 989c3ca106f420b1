// SPDX-License-Identifier: GPL-2.0

//! The life of an inode object in one atomic word.
//!
//! ```text
//! bits 0..31   users: counted references; the cache and the AIL own none
//! bit  32 DEAD        out of the cache for good; its setter removes it there
//! bit  33 FREE        the number is free on disk; only an allocation of it may use the object
//! bit  34 DIRTY       has changes that are not in its slot; keeps the object alive
//! bit  35 INACTIVE    inodegc is its only user and frees it: nobody gets a reference any more
//! bit  36 REFERENCED  used since the shrinker last looked
//! bit  37 QUEUED      on the list of inodegc
//! ```
//!
//! The same idea as the metadata buffer's word (seed 002): users and the decision to go away are
//! one word, so the decision and a new reference can never both succeed.

use crate::sys::{
    self,
    atomic::{AtomicU64, Ordering}, //
};

const USERS: u64 = (1 << 32) - 1;
const DEAD: u64 = 1 << 32;
const FREE: u64 = 1 << 33;
const DIRTY: u64 = 1 << 34;
const INACTIVE: u64 = 1 << 35;
const REFERENCED: u64 = 1 << 36;
const QUEUED: u64 = 1 << 37;

/// Why [`StateWord::get`] gave no reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gone {
    /// The object left the cache: look again.
    Dead,
    /// The number is free, or is being freed.
    Unlinked,
}

/// The word. See the module's text for the bits.
#[derive(Debug)]
pub(crate) struct StateWord(AtomicU64);

impl StateWord {
    /// A new object with one user.
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(1 | REFERENCED))
    }

    /// Changes the word to what `step` makes of it; `None` leaves it and ends. Returns the word as
    /// it was, and whether it was changed.
    fn update(&self, mut step: impl FnMut(u64) -> Option<u64>) -> (u64, bool) {
        let mut old = self.0.load(Ordering::Acquire);
        loop {
            let Some(new) = step(old) else {
                return (old, false);
            };
            match self
                .0
                .compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Acquire)
            {
                Ok(_) => return (old, true),
                Err(now) => old = now,
            }
            sys::relax();
        }
    }

    /// Takes a reference for a lookup.
    pub(crate) fn get(&self) -> Result<(), Gone> {
        let (old, done) = self.update(|w| {
            if w & (DEAD | FREE | INACTIVE) != 0 {
                None
            } else {
                Some(w.wrapping_add(1) | REFERENCED)
            }
        });
        if done {
            Ok(())
        } else if old & DEAD != 0 {
            Err(Gone::Dead)
        } else {
            Err(Gone::Unlinked)
        }
    }

    /// Takes one more reference; the caller has one.
    pub(crate) fn get_more(&self) {
        self.update(|w| Some(w.wrapping_add(1)));
    }

    /// Gives a reference back. The object stays in the cache.
    pub(crate) fn put(&self) {
        self.update(|w| {
            if w & USERS == 0 {
                // A put without a get: leave the count alone rather than wrap it.
                None
            } else {
                Some(w.wrapping_sub(1))
            }
        });
    }

    /// The object has changes that are not in its slot. Returns whether that is new. The caller holds
    /// the ILOCK exclusively.
    pub(crate) fn set_dirty(&self) -> bool {
        self.update(|w| Some(w | DIRTY)).0 & DIRTY == 0
    }

    /// The slot has the object's changes, and no transaction or checkpoint has newer ones: decided
    /// under the AIL's lock.
    pub(crate) fn clear_dirty(&self) {
        self.update(|w| Some(w & !DIRTY));
    }

    /// Whether there are changes that are not in the slot.
    // Only the models under shuttle ask.
    #[cfg(test)]
    #[allow(dead_code)]
    pub(crate) fn is_dirty(&self) -> bool {
        self.0.load(Ordering::Acquire) & DIRTY != 0
    }

    /// The inode goes on the list of inodegc. Returns whether it was not there.
    pub(crate) fn set_queued(&self) -> bool {
        self.update(|w| Some(w | QUEUED)).0 & QUEUED == 0
    }

    /// The inode was taken off the list of inodegc.
    pub(crate) fn clear_queued(&self) {
        self.update(|w| Some(w & !QUEUED));
    }

    /// If the caller is the only user it stays that: lookups fail from now on. Whether this is so
    /// and the mark are one step, so that nobody can give the inode a name in between.
    pub(crate) fn retire(&self) -> bool {
        self.update(|w| (w & (USERS | DEAD) == 1).then_some(w | INACTIVE))
            .1
    }

    /// Takes [`Self::retire`] back.
    pub(crate) fn clear_inactive(&self) {
        self.update(|w| Some(w & !INACTIVE));
    }

    /// The number is free on disk.
    pub(crate) fn set_free(&self) {
        self.update(|w| Some((w & !INACTIVE) | FREE));
    }

    /// Takes the one reference of an unused object of a free number, for an allocation of it.
    /// Under the AG inode lock, exclusive.
    pub(crate) fn claim_free(&self) -> bool {
        self.update(|w| {
            if w & FREE == 0 || w & (USERS | DEAD) != 0 {
                None
            } else {
                Some(w.wrapping_add(1) | REFERENCED)
            }
        })
        .1
    }

    /// The number is allocated again: lookups find the object. By the owner of the one reference.
    pub(crate) fn clear_free(&self) {
        self.update(|w| Some(w & !FREE));
    }

    /// Kills an object nobody uses. With `second_chance` one that was used since the last call
    /// only loses that mark. The caller whose call returns `true` removes it from the cache.
    pub(crate) fn reclaim(&self, second_chance: bool) -> bool {
        let mut killed = false;
        self.update(|w| {
            killed = false;
            if w & (USERS | DEAD | DIRTY | INACTIVE) != 0 {
                None
            } else if second_chance && w & REFERENCED != 0 {
                Some(w & !REFERENCED)
            } else {
                killed = true;
                Some(w | DEAD)
            }
        });
        killed
    }

    /// Whether the object has left the cache.
    pub(crate) fn is_dead(&self) -> bool {
        self.0.load(Ordering::Acquire) & DEAD != 0
    }
}
