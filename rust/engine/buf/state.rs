// SPDX-License-Identifier: GPL-2.0

//! The life of a metadata buffer in one atomic word.
//!
//! References and lifetime flags share one 64-bit word, and every step is one compare-and-swap on
//! it. So "nobody uses it, it is clean, it may die" and "I use it" cannot both be decided: the
//! race of an extent buffer's last put with its recycling (a flag in one word, a count in another,
//! a lock taken and dropped as a barrier) has no place to happen. XFS solves the same with a
//! lockref whose count can be *dead*; here the dirty and I/O states are in the word as well.
//!
//! ```text
//! bits 0..31   references of users; the cache owns none
//! bit 32 DEAD        terminal; a lookup that meets it is a miss
//! bit 33 STALE       the block was freed, or could not be read: dies with its last reference
//! bit 34 DIRTY       newer than the disk, keeps the buffer alive
//! bit 35 WRITEBACK   being written, keeps the buffer alive
//! bit 36 READING     being read, keeps the buffer alive
//! bit 37 UPTODATE    the content is valid
//! bit 38 REFERENCED  used since the shrinker last looked
//! bits 40..63  generation: changes whenever the block gets a new life in the same buffer
//! ```
//!
//! This file is pure: it knows nothing of blocks, caches or I/O, and is run as it is under shuttle
//! (all interleavings that matter) and loom (memory ordering). Who may take a step, and under
//! which lock, is said at each of them.

#[cfg(latchfs_races)]
mod mutants;

use crate::sys::{
    self,
    atomic::{AtomicU64, Ordering},
    relax, //
};

const REFS: u64 = 0xffff_ffff;
const REF: u64 = 1;
const DEAD: u64 = 1 << 32;
const STALE: u64 = 1 << 33;
const DIRTY: u64 = 1 << 34;
const WRITEBACK: u64 = 1 << 35;
const READING: u64 = 1 << 36;
const UPTODATE: u64 = 1 << 37;
const REFERENCED: u64 = 1 << 38;
const GENERATION_SHIFT: u32 = 40;
const GENERATION: u64 = !((1 << GENERATION_SHIFT) - 1);

/// Any of these keeps a buffer without references alive.
const BUSY: u64 = DIRTY | WRITEBACK | READING;

/// The state word of one buffer.
pub struct BufState {
    word: AtomicU64,
    /// What sync points call it: the block number.
    #[cfg(latchfs_races)]
    key: u64,
}

/// A step that the state does not allow: a bug, or a mutant at work.
macro_rules! precondition {
    ($state:expr, $holds:expr) => {{
        #[cfg(latchfs_races)]
        if !$holds {
            sys::damage!(Step, $state.key);
        }
        #[cfg(not(latchfs_races))]
        debug_assert!($holds);
    }};
}

/// The right, and the duty, to take a buffer out of the cache.
///
/// Only the step that sets DEAD makes one, so there is exactly one for every buffer's life.
#[must_use = "a dead buffer has to be taken out of the cache"]
#[derive(Debug)]
pub struct DeadToken(());

/// What the shrinker found.
#[derive(Debug)]
pub enum Reclaim {
    /// The buffer is dead; the caller tears it down.
    Dead(DeadToken),
    /// It was used lately; it gets a second chance.
    Referenced,
    /// In use, dirty, under I/O, or dead already.
    Busy,
}

/// A copy of the word, for decisions that do not need to be atomic and for messages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Snapshot(u64);

impl Snapshot {
    /// References of users.
    pub fn refs(self) -> u32 {
        (self.0 & REFS) as u32
    }

    /// Taken out of the cache, or about to be.
    pub fn is_dead(self) -> bool {
        self.0 & DEAD != 0
    }

    /// Freed, or unreadable.
    pub fn is_stale(self) -> bool {
        self.0 & STALE != 0
    }

    /// Newer than the disk.
    pub fn is_dirty(self) -> bool {
        self.0 & DIRTY != 0
    }

    /// Being written.
    pub fn is_writeback(self) -> bool {
        self.0 & WRITEBACK != 0
    }

    /// Being read.
    pub fn is_reading(self) -> bool {
        self.0 & READING != 0
    }

    /// Content valid.
    pub fn is_uptodate(self) -> bool {
        self.0 & UPTODATE != 0
    }

    /// Number of lives the buffer had before this one, modulo 2^24.
    pub fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32
    }
}

impl core::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "refs={}", self.refs())?;
        for (bit, name) in [
            (DEAD, "DEAD"),
            (STALE, "STALE"),
            (DIRTY, "DIRTY"),
            (WRITEBACK, "WRITEBACK"),
            (READING, "READING"),
            (UPTODATE, "UPTODATE"),
            (REFERENCED, "REFERENCED"),
        ] {
            if self.0 & bit != 0 {
                write!(f, " {name}")?;
            }
        }
        write!(f, " gen={}", self.generation())
    }
}

/// Adds DEAD to a word that has nothing left to live for.
fn dies(word: u64) -> u64 {
    if word & (REFS | BUSY) == 0 && word & STALE != 0 {
        word | DEAD
    } else {
        word
    }
}

impl BufState {
    /// The word of a buffer that is about to be read: one reference, READING.
    pub fn new_reading() -> Self {
        Self::new(REF | READING)
    }

    /// The word of a buffer made up in memory: one reference, UPTODATE.
    pub fn new_uptodate() -> Self {
        Self::new(REF | UPTODATE)
    }

    fn new(word: u64) -> Self {
        Self {
            word: AtomicU64::new(word),
            #[cfg(latchfs_races)]
            key: 0,
        }
    }

    /// The same under the name `block` for sync points.
    pub fn keyed(self, block: u64) -> Self {
        #[cfg(not(latchfs_races))]
        let _ = block;
        #[cfg(latchfs_races)]
        mutants::born(&self);
        Self {
            #[cfg(latchfs_races)]
            key: block,
            ..self
        }
    }

    /// The word as it was a moment ago. Acquire: what was written before a flag in it was set is
    /// visible.
    pub fn load(&self) -> Snapshot {
        Snapshot(self.word.load(Ordering::Acquire))
    }

    /// Replaces the word by `step` of it until that succeeds or `step` gives up. Returns the old
    /// and the new word.
    ///
    /// The orderings are those of a lock: taking part (`get`) acquires, giving up (`put`, end of
    /// I/O) releases, and because each step may turn out to be the last one they do both.
    fn step(&self, mut step: impl FnMut(u64) -> Option<u64>) -> Option<(u64, u64)> {
        let mut old = self.word.load(Ordering::Relaxed);
        loop {
            let new = step(old)?;
            match self
                .word
                .compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return Some((old, new)),
                Err(seen) => old = seen,
            }
            relax();
        }
    }

    fn token(old: u64, new: u64) -> Option<DeadToken> {
        (old & DEAD == 0 && new & DEAD != 0).then_some(DeadToken(()))
    }

    /// A reference for somebody who found the buffer in the cache; fails if it is dead.
    #[must_use]
    pub fn get(&self) -> bool {
        self.step(|w| (w & DEAD == 0).then_some((w + REF) | REFERENCED))
            .is_some()
    }

    /// One more reference for somebody who has one.
    pub fn get_again(&self) {
        let old = self.word.fetch_add(REF, Ordering::Relaxed);
        precondition!(self, old & REFS != 0 && old & DEAD == 0);
    }

    /// Gives a reference back. The last one of a stale buffer with nothing to write kills it, in
    /// the same step.
    pub fn put(&self) -> Option<DeadToken> {
        sys::mutant!(Seed002 => return mutants::put(self));
        let (old, new) = self.step(|w| {
            precondition!(self, w & REFS != 0);
            let new = dies(w.wrapping_sub(REF));
            if new & DEAD != w & DEAD {
                sys::sync_point!("eb.put.decided", self.key);
            }
            Some(new)
        })?;
        Self::token(old, new)
    }

    /// The shrinker's question: may it go? Kills it if so; takes REFERENCED away if that is all
    /// that speaks for it.
    pub fn reclaim(&self) -> Reclaim {
        sys::mutant!(Seed002Reclaim => return mutants::reclaim(self));
        let done = self.step(|w| {
            if w & (REFS | BUSY | DEAD) != 0 {
                None
            } else if w & REFERENCED != 0 {
                Some(w & !REFERENCED)
            } else {
                sys::sync_point!("eb.reclaim.decided", self.key);
                Some(w | DEAD)
            }
        });
        match done {
            None => Reclaim::Busy,
            Some((old, new)) => match Self::token(old, new) {
                Some(token) => Reclaim::Dead(token),
                None => Reclaim::Referenced,
            },
        }
    }

    /// The block was freed: what is in memory must never be written again. Content lock held
    /// exclusively (so no write is in flight) and a reference.
    ///
    /// DIRTY goes in the same step: a retry of a failed write, or a writer that has the buffer on
    /// its list, finds nothing to write. Returns whether it was set.
    pub fn mark_stale(&self) -> bool {
        self.step(|w| {
            precondition!(self, w & REFS != 0 && w & (DEAD | WRITEBACK | READING) == 0);
            Some((w & !(DIRTY | UPTODATE)) | STALE)
        })
        .is_some_and(|(old, _)| old & DIRTY != 0)
    }

    /// The block got a new life: the caller has written its new content. Content lock held
    /// exclusively, and a reference. Allowed for a clean live buffer, too.
    pub fn revive(&self) {
        self.step(|w| {
            precondition!(self, w & REFS != 0 && w & (DEAD | BUSY) == 0);
            let generation = w.wrapping_add(1 << GENERATION_SHIFT) & GENERATION;
            Some((w & !(STALE | GENERATION)) | generation | UPTODATE)
        });
    }

    /// The content was changed. Content lock held exclusively, and a reference.
    ///
    /// Returns whether the buffer was clean before, or [`None`] if it is stale or has no content:
    /// then nothing may be written, and nothing is changed.
    #[must_use]
    pub fn set_dirty(&self) -> Option<bool> {
        sys::sync_point!("eb.dirty.before", self.key);
        self.step(|w| {
            precondition!(self, w & REFS != 0 && w & (DEAD | WRITEBACK) == 0);
            (w & STALE == 0 && w & UPTODATE != 0).then_some(w | DIRTY)
        })
        .map(|(old, _)| old & DIRTY == 0)
    }

    /// Begins writeback: DIRTY becomes WRITEBACK in one step, so that the buffer is never seen as
    /// clean in between. Content lock held (the write will keep it, shared). Fails if there is
    /// nothing to write.
    #[must_use]
    pub fn start_writeback(&self) -> bool {
        sys::mutant!(Seed002Gap => return mutants::start_writeback(self));
        self.step(|w| {
            if w & DIRTY == 0 || w & (WRITEBACK | STALE | DEAD) != 0 {
                return None;
            }
            sys::sync_point!("eb.wb.decided", self.key);
            Some((w & !DIRTY) | WRITEBACK)
        })
        .is_some()
    }

    /// Ends writeback. After an error the buffer is dirty again. The content lock is still held.
    pub fn end_writeback(&self, ok: bool) -> Option<DeadToken> {
        let (old, new) = self.step(|w| {
            precondition!(self, w & WRITEBACK != 0 && w & DEAD == 0);
            let w = w & !WRITEBACK;
            // A stale buffer under writeback cannot be: mark_stale waits for the content lock.
            Some(dies(if ok { w } else { w | DIRTY }))
        })?;
        Self::token(old, new)
    }

    /// Ends the read that made the buffer. If it failed the buffer is stale: it dies with the last
    /// reference, and the next lookup reads again.
    pub fn end_read(&self, ok: bool) -> Option<DeadToken> {
        let (old, new) = self.step(|w| {
            precondition!(self, w & READING != 0 && w & (DEAD | UPTODATE) == 0);
            let w = w & !READING;
            Some(dies(w | if ok { UPTODATE } else { STALE }))
        })?;
        Self::token(old, new)
    }

    /// The log is down: what the disk does not have is given up. A reference is held. Returns whether
    /// the buffer was dirty.
    pub fn abandon(&self) -> bool {
        self.step(|w| (w & DIRTY != 0).then_some(w & !DIRTY))
            .is_some()
    }

    /// Unmount: kills a buffer that nobody uses and no I/O is on, dirty or not. Returns whether
    /// content was lost with it. Nothing else runs.
    pub fn discard(&self) -> Option<(DeadToken, bool)> {
        let stays = if sys::mutant!(Seed002Purge) {
            REFS | WRITEBACK | DEAD
        } else {
            REFS | WRITEBACK | READING | DEAD
        };
        let (old, new) = self.step(|w| (w & stays == 0).then_some(w | DEAD))?;
        Self::token(old, new).map(|token| (token, old & DIRTY != 0))
    }
}
