// SPDX-License-Identifier: GPL-2.0

//! Memory reclaim: what the disk has is dropped, what exists here only is not looked at.
//!
//! The two are different variants of [`Mapping`], so there is nothing to get wrong: a Delayed entry,
//! one in flight or a promise is not a [`Cached`](super::Cached) (rules M19, T-003-F).

use super::{Counts, ExtentIndex, Mapping};

/// Entries that one call looks at for each it may drop.
const LOOK: u32 = 4;

impl ExtentIndex {
    /// Drops up to `most` cached entries, from where the last call ended, and returns memory that is
    /// not needed any more. An index that has nothing else is dropped as a whole, whatever `most`
    /// says: that costs less than to look at it. Returns how many were dropped. Does not sleep, and
    /// allocates nothing. No mapping that was handed out becomes wrong.
    pub(crate) fn drop_cached(&mut self, most: u32) -> u32 {
        if self.counts == Counts::default() {
            let dropped = self.map.len();
            self.map.clear();
            self.hand = 0;
            return dropped;
        }
        let mut dropped = 0;
        let mut looks = most.saturating_mul(LOOK);
        let mut at = self.map.find_ge(self.hand);
        while let Some(slot) = at {
            let Some((key, entry)) = self.map.get(slot) else {
                break;
            };
            self.hand = key;
            if dropped >= most || looks == 0 {
                break;
            }
            looks -= 1;
            let may_go = matches!(entry.mapping, Mapping::Cached(_));
            if may_go || crate::sys::mutant!(Seed003Shrink) {
                self.map.remove(slot);
                dropped += 1;
                at = self.map.find_ge(key);
            } else {
                at = self.map.next(slot);
            }
        }
        if at.is_none() {
            self.hand = 0;
        }
        self.map.shrink();
        dropped
    }
}
