// SPDX-License-Identifier: GPL-2.0

//! How much space is promised to whom.
//!
//! A promise ([`Share`] of space) and a concrete run of blocks are two things. Every block that is
//! free in the bitmaps as of the last commit belongs to exactly one of:
//!
//! * `available`: anybody may take it;
//! * `hidden`: the pool of min(2 %, 4096) blocks for transactions that free or convert, which
//!   users do not see (XFS's reserved pool);
//! * a [`Reservation`](super::Reservation), a [`Claim`](super::Claim) or an open transaction.
//!
//! So a promise is never made twice, and whoever has one finds as many blocks in the groups, if
//! need be after a checkpoint has made the busy ones usable. Words, no locks.

use crate::sys::{
    atomic::{AtomicU64, Ordering},
    relax, //
};

/// Most blocks in the hidden pool.
const HIDDEN_MOST: u64 = 4096;

/// The counters of one mount.
pub(super) struct Space {
    available: AtomicU64,
    hidden: AtomicU64,
    hidden_target: u64,
    /// Zero bits in all bitmaps, as committed.
    free: AtomicU64,
}

/// Replaces a counter by `f` of it until that succeeds or `f` gives up; returns the old value.
fn update(word: &AtomicU64, mut f: impl FnMut(u64) -> Option<u64>) -> Option<u64> {
    let mut old = word.load(Ordering::Relaxed);
    loop {
        let new = f(old)?;
        match word.compare_exchange_weak(old, new, Ordering::AcqRel, Ordering::Relaxed) {
            Ok(_) => return Some(old),
            Err(seen) => old = seen,
        }
        relax();
    }
}

impl Space {
    /// Counters for `free` free blocks of a file system that has `total`.
    pub(super) fn new(free: u64, total: u64) -> Self {
        let target = (total / 50).min(HIDDEN_MOST);
        let hidden = target.min(free);
        Self {
            available: AtomicU64::new(free - hidden),
            hidden: AtomicU64::new(hidden),
            hidden_target: target,
            free: AtomicU64::new(free),
        }
    }

    /// Takes up to `want` blocks, at least `min` or nothing.
    pub(super) fn take(&self, want: u64, min: u64) -> Option<u64> {
        let old = update(&self.available, |a| {
            (a >= min).then(|| a.saturating_sub(want))
        })?;
        Some(old.min(want))
    }

    /// Takes `want` blocks, what is not available from the hidden pool.
    pub(super) fn take_hidden(&self, want: u64) -> bool {
        let got = self.take(want, 0).unwrap_or(0);
        let rest = want.saturating_sub(got);
        if rest == 0 || update(&self.hidden, |h| h.checked_sub(rest)).is_some() {
            return true;
        }
        self.give(got);
        false
    }

    /// Gives blocks back; the hidden pool is filled first.
    pub(super) fn give(&self, n: u64) {
        let mut rest = n;
        if self.hidden.load(Ordering::Relaxed) < self.hidden_target {
            let target = self.hidden_target;
            let old = update(&self.hidden, |h| {
                Some(h.saturating_add(rest).min(target.max(h)))
            });
            let took = target.saturating_sub(old.unwrap_or(target)).min(rest);
            rest = rest.saturating_sub(took);
        }
        if rest > 0 {
            self.available.fetch_add(rest, Ordering::AcqRel);
        }
    }

    /// A commit has set `used` bits and cleared `freed` ones.
    pub(super) fn committed(&self, used: u64, freed: u64) {
        self.free.fetch_add(freed, Ordering::Relaxed);
        self.free.fetch_sub(used, Ordering::Relaxed);
    }

    /// Blocks that anybody may take.
    pub(super) fn available(&self) -> u64 {
        self.available.load(Ordering::Relaxed)
    }

    /// Blocks in the hidden pool.
    pub(super) fn hidden(&self) -> u64 {
        self.hidden.load(Ordering::Relaxed)
    }

    /// Zero bits in all bitmaps, as committed.
    pub(super) fn free(&self) -> u64 {
        self.free.load(Ordering::Relaxed)
    }
}
