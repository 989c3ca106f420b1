// SPDX-License-Identifier: GPL-2.0

//! Metadata blocks for data that has none yet (rules M22).
//!
//! An extent record costs nothing while it fits inline, but a completion that finds the fork full,
//! or a tree leaf full, needs blocks, and it may not fail for space. So each file with delayed data
//! has a reservation for the worst case: every block a record of its own, every record splitting a
//! leaf. The bound is per inode and grows with each block, so entries are split and merged without
//! looking at it; what is not used returns with the completion.

use super::{Counts, Extents};
use crate::{
    engine::{
        error::Result,
        fork::{Fork, ForkFormat},
    },
    format::extent::EXTENT_SIZE,
};

/// Entries of an interior node after a split in the middle.
const HALF: u64 = crate::format::limits::NODE_ENTRIES as u64 / 2;

/// Most blocks that adding `records` records to the map in `fork` can allocate.
///
/// Each record can split its leaf (a leaf is split at the place of insertion, so the two halves need
/// not be balanced); of the nodes above, one in [`HALF`] new entries is split, and each level and a
/// new root once at least.
pub(super) fn worst(fork: &Fork, records: u64) -> u64 {
    if records == 0 {
        return 0;
    }
    let inline = match fork.format {
        ForkFormat::InlineExtents => true,
        ForkFormat::ExtentTree => false,
        _ => return 0,
    };
    let mut leaves = records;
    if inline {
        let used = (fork.inline.len() / EXTENT_SIZE) as u64;
        let limit = u64::from(fork.limit) / EXTENT_SIZE as u64;
        if used.saturating_add(records) <= limit {
            return 0;
        }
        // The first leaf takes all of the inline ones and holds many more.
        leaves = 1 + records.saturating_sub((2 * HALF).saturating_sub(limit));
    }
    let mut total = leaves;
    let mut level = leaves;
    while level > 1 {
        level = level.div_ceil(HALF);
        total = total.saturating_add(level);
    }
    total
        .saturating_add(u64::from(fork.root.depth))
        .saturating_add(1)
}

/// Records that the completions of what `counts` counts can add. A conversion can add two.
fn records(counts: &Counts) -> u64 {
    counts
        .delayed
        .saturating_add(counts.in_flight)
        .saturating_add(counts.converting.saturating_mul(2))
        .saturating_add(counts.promised.saturating_mul(2))
}

impl Extents<'_> {
    /// Reserves what is missing for `counts`. `pool`: from the hidden pool if there is nothing else.
    /// Does not sleep. ENOSPC.
    pub(super) fn reserve_meta(&mut self, counts: Counts, pool: bool) -> Result {
        let need = worst(self.fork(), records(&counts));
        let have = self.inner.index.meta.as_ref().map_or(0, |r| r.blocks());
        let Some(missing) = need.checked_sub(have).filter(|n| *n > 0) else {
            return Ok(());
        };
        let alloc = self.m.alloc();
        let more = if pool {
            alloc.reserve_pool(missing)?
        } else {
            alloc.reserve(missing)?
        };
        match &mut self.inner.index.meta {
            Some(meta) => meta.merge(more),
            none => *none = Some(more),
        }
        Ok(())
    }

    /// Gives back what is not needed any more.
    pub(crate) fn trim_meta(&mut self) {
        let need = worst(self.fork(), records(&self.counts()));
        if need == 0 {
            self.inner.index.meta = None;
        } else if let Some(meta) = &mut self.inner.index.meta {
            let surplus = meta.blocks().saturating_sub(need);
            if surplus > 0 {
                meta.give_back(surplus);
            }
        }
    }
}
