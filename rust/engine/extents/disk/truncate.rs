// SPDX-License-Identifier: GPL-2.0

//! Taking the end of a file away.

use super::{check, check_format, contradiction, cut, set, slots, to_inline, tree, ExtentCtx};
use crate::{
    engine::{
        btree::{Progress, REMOVE_BUFS, REMOVE_FREES},
        error::Result,
        fork::Fork,
        mount::Mount,
        txn::{Txn, TxnRes},
    },
    format::{
        extent::Extent,
        units::{BlockRange, FileBlock},
    },
};

/// Extents that one step frees at most. Each is inside one bitmap block, so this bounds the bitmap
/// blocks a step changes, too.
pub const STEP_RECORDS: usize = 16;
/// Tree blocks that one step frees at most, beside what a removal frees.
const STEP_NODES: u32 = 16;

/// The blocks a step has freed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Freed {
    ranges: [BlockRange; STEP_RECORDS],
    len: usize,
}

impl Freed {
    fn is_full(&self) -> bool {
        self.len >= STEP_RECORDS
    }

    fn push(&mut self, range: BlockRange) -> bool {
        match self.ranges.get_mut(self.len) {
            Some(to) => {
                *to = range;
                self.len += 1;
                true
            }
            None => false,
        }
    }

    /// The ranges.
    pub fn iter(&self) -> impl Iterator<Item = BlockRange> + '_ {
        self.ranges.iter().take(self.len).copied()
    }

    /// How many blocks they are.
    pub fn blocks(&self) -> u64 {
        self.iter().map(|r| u64::from(r.len)).sum()
    }
}

/// What a step has done.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The mapped blocks that were freed.
    pub freed: Freed,
    /// Whether nothing is left to free.
    pub done: bool,
}

/// What a transaction needs for one [`truncate_step`]. From the hidden pool: freeing must work on a
/// full file system.
pub const fn step_res() -> TxnRes {
    TxnRes::new(0, REMOVE_BUFS + 2 * STEP_NODES + 2)
        .frees(STEP_RECORDS as u32 + 2 * STEP_NODES + REMOVE_FREES + 2)
        .from_pool()
}

/// What a transaction needs for a [`truncate_step`] of a map that is inline: none of its own blocks
/// change.
pub const fn inline_res() -> TxnRes {
    TxnRes::new(0, 0).frees(STEP_RECORDS as u32).from_pool()
}

/// Frees up to [`STEP_RECORDS`] extents at the end of the map, down to file block `from`; the caller
/// commits or rolls, and calls again until it is done. Leaves a valid, shorter map after each step.
/// The blocks become `txn.free`d here.
///
/// Needs [`step_res`]. Owner's lock held exclusively to the commit. May sleep.
pub fn truncate_step(
    m: &Mount,
    txn: &mut Txn<'_>,
    ctx: &ExtentCtx,
    fork: &mut Fork,
    from: FileBlock,
) -> Result<Step> {
    let mut freed = Freed::default();
    // The extent that is cut in two, if the step got as far as that.
    let mut straddler: Option<Extent> = None;
    let mut bad: Option<Extent> = None;

    // Whether the record goes; remembers it if so.
    let mut take = |extent: Extent| {
        if check(m, ctx, &extent).is_err() {
            bad = Some(extent);
            return false;
        }
        if extent.end() <= from {
            return false;
        }
        if extent.file < from {
            straddler = Some(extent);
            return false;
        }
        freed.push(extent.range())
    };

    let done = if check_format(ctx, fork)? {
        let mut root = fork.root;
        let progress = tree(ctx).destroy_step(m, txn, &mut root, STEP_NODES, &mut take)?;
        fork.root = root;
        // `More` also means that a record stayed; whether more would go shows below.
        progress == Progress::Done
    } else {
        let mut keep = fork.inline.len() / crate::format::extent::EXTENT_SIZE;
        while let Some(last) = keep.checked_sub(1) {
            let Some(extent) = slots::iter(fork).nth(last) else {
                break;
            };
            if !take(extent) {
                break;
            }
            keep = last;
        }
        // What is taken out of memory here cannot come back: if the bitmap of a freed extent cannot
        // be read below, this is not a transaction that never was.
        txn.touch();
        slots::truncate(fork, keep);
        keep == 0
    };

    if let Some(extent) = bad {
        return Err(contradiction(ctx, extent.file, "bad extent"));
    }
    let mut done =
        done || (straddler.is_none() && !freed.is_full() && last_is_before(m, ctx, fork, from)?);
    if let Some(extent) = straddler {
        if freed.is_full() {
            done = false;
        } else {
            let (before, gone, _) = cut(&extent, &(from..extent.end()));
            if let Some(before) = before {
                set(m, txn, ctx, fork, extent.file, &before)?;
                freed.push(gone.range());
            }
            done = true;
        }
    }
    for range in freed.iter() {
        txn.free(range, ctx.kind)?;
    }
    fork.root.blocks = fork.root.blocks.saturating_sub(freed.blocks());
    if done && check_format(ctx, fork)? {
        to_inline(m, txn, ctx, fork)?;
    }
    Ok(Step { freed, done })
}

/// Whether no extent reaches behind `from`.
fn last_is_before(m: &Mount, ctx: &ExtentCtx, fork: &Fork, from: FileBlock) -> Result<bool> {
    let last = super::last_le(
        m,
        ctx,
        fork,
        FileBlock(crate::format::limits::MAX_FILE_BLOCKS),
    )?;
    Ok(last.is_none_or(|e| e.end() <= from))
}
