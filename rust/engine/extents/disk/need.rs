// SPDX-License-Identifier: GPL-2.0

//! What several changes of one map need, by the depth it has now.
//!
//! [`change_res`](super::change_res) is for the deepest tree there can be, so a transaction made for
//! it has room for one change or two. Most trees have two levels; a transaction made for the depth
//! that was seen has room for several, and whoever locks the map afterwards looks whether it still
//! has that depth ([`Changes::fits`]).

use super::{slots, SMALL_NODES};
use crate::{
    engine::{
        btree::MAX_DEPTH,
        fork::{Fork, ForkFormat},
        txn::{TxnRes, MAX_BUFS},
    },
    format::extent::EXTENT_SIZE,
};

/// Buffers, bitmap blocks included, of one transaction made here at most: some of what there may be
/// is for its user.
const BUFS: u32 = MAX_BUFS * 3 / 4;
/// Changes in one transaction at most.
const MOST: u32 = 16;

/// A number of changes of one map that one transaction has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Changes {
    /// How many ([`insert`](super::insert), [`unmap`](super::unmap);
    /// [`set_written`](super::set_written) counts twice).
    pub count: u32,
    /// What they need, and one run of blocks to use or free for each.
    pub res: TxnRes,
    depth: u8,
    inline: bool,
}

/// Levels while a change is at work: an insertion can add one.
fn levels(fork: &Fork) -> u32 {
    u32::from(fork.root.depth)
        .saturating_add(1)
        .min(MAX_DEPTH as u32)
}

/// Records that still fit inline.
fn room(fork: &Fork) -> u32 {
    if fork.format != ForkFormat::InlineExtents {
        return 0;
    }
    let free = slots::limit(fork).saturating_sub(fork.inline.len() / EXTENT_SIZE);
    u32::try_from(free).unwrap_or(0)
}

/// How many changes of the map in `fork` go into one transaction, and what it needs. At least `least`
/// (1 or 2), at most `most`; none of it from the hidden pool unless the caller asks for that.
pub fn changes(fork: &Fork, least: u32, most: u32) -> Changes {
    // A change of an inline map adds two records at most; one that stays inline needs nothing.
    let inline = room(fork) / 2;
    if inline >= least {
        let count = inline.min(most).min(MOST);
        return Changes {
            count,
            res: TxnRes::new(0, 0).frees(count),
            depth: 0,
            inline: true,
        };
    }
    let levels = levels(fork);
    let bufs = (2 * levels + 1) * 3;
    let blocks = 2 * levels;
    let frees = 4 * levels + SMALL_NODES as u32 + 1;
    // Each block and each run may be behind another bitmap block.
    let each = bufs.saturating_add(blocks).saturating_add(frees);
    let count = (BUFS / each).min(most).clamp(least, MOST);
    Changes {
        count,
        res: TxnRes::new(count * blocks, count * bufs).frees(count * frees),
        depth: fork.root.depth,
        inline: false,
    }
}

impl Changes {
    /// Whether the map in `fork` is still one that they are enough for.
    pub fn fits(&self, fork: &Fork) -> bool {
        if self.inline {
            return room(fork) / 2 >= self.count;
        }
        fork.root.depth <= self.depth
    }
}
