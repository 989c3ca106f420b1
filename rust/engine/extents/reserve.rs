// SPDX-License-Identifier: GPL-2.0

//! Metadata blocks for data that has none yet (rules M22).
//!
//! An extent record costs nothing while it fits inline, but a completion that finds the fork full,
//! or a tree leaf full, needs blocks, and it may not fail for space. So each file with delayed data
//! has a reservation: the blocks to hold every block as a record of its own, and room for the full
//! leaves that the records may fall into. The bound is per inode and depends on numbers of blocks
//! only, so entries are split and merged without looking at it; what is not used returns with the
//! completion.
//!
//! The number is not a strict maximum: a leaf is cut where the insertion is, so an adversary who
//! completes single blocks in descending order behind full leaves, or who spreads them over a tree
//! of more leaves than [`full_leaves`] counts, needs more. That comes from the hidden pool, and
//! behind it there is nothing. A strict maximum would be a block for each record, that is twice the
//! space for everything delayed.

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

/// Leaves that may be full when records are spread over a tree of `depth` levels: all there can be
/// up to two levels.
const fn full_leaves(depth: u8) -> u64 {
    match depth {
        0 => 0,
        1 => 1,
        2 => 2 * HALF,
        _ => 1024,
    }
}

/// Blocks that adding `records` records to the map in `fork` needs at most, but for the adversary of
/// the module's text: a leaf for each [`HALF`] records, a split of each full leaf, of the nodes above
/// one in [`HALF`] new entries, and each level and a new root once.
pub(super) fn worst(fork: &Fork, records: u64) -> u64 {
    if records == 0 {
        return 0;
    }
    match fork.format {
        ForkFormat::InlineExtents => {
            let used = (fork.inline.len() / EXTENT_SIZE) as u64;
            let limit = u64::from(fork.limit) / EXTENT_SIZE as u64;
            if used.saturating_add(records) <= limit {
                return 0;
            }
        }
        ForkFormat::ExtentTree => {}
        _ => return 0,
    }
    let leaves = records
        .div_ceil(HALF)
        .saturating_add(records.min(full_leaves(fork.root.depth)));
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
pub(crate) fn records(counts: &Counts) -> u64 {
    counts
        .delayed
        .saturating_add(counts.in_flight)
        .saturating_add(counts.converting.saturating_mul(2))
        .saturating_add(counts.promised.saturating_mul(2))
        .saturating_add(counts.appended.saturating_mul(2))
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
