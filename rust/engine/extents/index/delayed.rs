// SPDX-License-Identifier: GPL-2.0

//! What a Delayed entry owns.
//!
//! Two words, so that an entry of the index with its links stays below 64 bytes; the rare entry that
//! has claimed blocks ahead keeps them elsewhere.

use crate::{
    engine::alloc::{Claim, Reservation},
    format::units::BlockRange,
    sys::{must_box, Box},
};

/// Space for data without blocks.
pub(crate) struct Delayed(Space);

enum Space {
    /// One block for each block of the entry.
    Promise(Reservation),
    /// Blocks for the first blocks of the entry, and a promise for the others.
    Ahead(Box<Ahead>),
}

struct Ahead {
    promise: Reservation,
    /// Blocks taken ahead, for the first blocks of the entry, in order: so that the next call of
    /// writeback continues on disk where the last one ended. Not in flight.
    claim: Claim,
}

impl Delayed {
    /// An entry of as many blocks as `promise` has.
    pub(crate) fn new(promise: Reservation) -> Self {
        Self(Space::Promise(promise))
    }

    /// The promise for the blocks that have no claim.
    pub(crate) fn promise(&mut self) -> &mut Reservation {
        match &mut self.0 {
            Space::Promise(promise) => promise,
            Space::Ahead(ahead) => &mut ahead.promise,
        }
    }

    /// Blocks that are promised and not claimed.
    #[cfg(any(test, latchfs_races))]
    pub(crate) fn promised(&self) -> u64 {
        match &self.0 {
            Space::Promise(promise) => promise.blocks(),
            Space::Ahead(ahead) => ahead.promise.blocks(),
        }
    }

    /// Blocks claimed for the beginning of the entry.
    pub(crate) fn claim(&self) -> Option<BlockRange> {
        match &self.0 {
            Space::Promise(_) => None,
            Space::Ahead(ahead) => Some(ahead.claim.range()),
        }
    }

    /// Number of them.
    pub(crate) fn claimed(&self) -> u64 {
        self.claim().map_or(0, |c| u64::from(c.len))
    }

    /// Gives the entry, which has no claim, one for its first blocks; the promise for them is the
    /// caller's to deal with. May sleep.
    pub(crate) fn set_claim(&mut self, claim: Claim) {
        let promise = self.promise().split(u64::MAX);
        self.0 = Space::Ahead(must_box(Ahead { promise, claim }));
    }

    /// Takes the claim out.
    pub(crate) fn take_claim(&mut self) -> Option<Claim> {
        let Space::Ahead(ahead) = &mut self.0 else {
            return None;
        };
        let claim = ahead.claim.split_front(u32::MAX);
        let promise = ahead.promise.split(u64::MAX);
        self.0 = Space::Promise(promise);
        Some(claim)
    }

    /// Cuts what is behind the first `at` of `len` blocks off. May sleep.
    pub(super) fn split(&mut self, at: u64, len: u64) -> Delayed {
        let claimed = self.claimed();
        let behind = self.promise().split(len.saturating_sub(at.max(claimed)));
        let mut rest = Delayed::new(behind);
        if claimed > at {
            if let Some(mut claim) = self.take_claim() {
                let front = claim.split_front(u32::try_from(at).unwrap_or(u32::MAX));
                if !front.is_empty() {
                    self.set_claim(front);
                }
                rest.set_claim(claim);
            }
        }
        rest
    }

    /// Takes over what `next`, which has no claim, owns.
    pub(super) fn join(&mut self, mut next: Delayed) {
        let more = next.promise().split(u64::MAX);
        self.promise().merge(more);
    }
}
