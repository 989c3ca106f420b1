// SPDX-License-Identifier: GPL-2.0

//! Taking a whole tree down, a bounded piece at a time.
//!
//! A large tree does not go in one transaction. Each step removes records and nodes from the right
//! end and leaves a valid, smaller tree, so the chain of transactions may stop after any of them: the
//! owner is an orphan, and whoever finds it later goes on from there.

use super::{
    corrupt,
    cursor::decode,
    edit,
    path::Toward,
    view,
    Shape,
    Tree,
    TreeKind,
    TreeRoot,
    MAX_DEPTH, //
};
use crate::engine::{
    error::Result,
    mount::Mount,
    txn::Txn, //
};
use crate::format::units::DiskBlock;

/// How far a step came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Something is left: roll the transaction and take the next step.
    More,
    /// The tree is empty.
    Done,
}

impl<K: TreeKind> Tree<K> {
    /// One step of the destruction, last records first. `take` is called with each record, under
    /// the content lock of its leaf (it must not sleep); it notes what the record refers to and
    /// returns true, or returns false to keep the record and end the step.
    ///
    /// Frees at most `max_blocks` blocks, but one leaf and what becomes empty above it at least
    /// ([`MAX_DEPTH`] blocks), and changes one buffer more than it frees. No blocks are allocated.
    /// Owner's lock held exclusively. May sleep.
    pub fn destroy_step(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        max_blocks: u32,
        mut take: impl FnMut(K::Record<'_>) -> bool,
    ) -> Result<Progress> {
        let mut budget = max_blocks.max(MAX_DEPTH as u32);
        while let Some(path) = self.descend(m, root, Toward::Last)? {
            if budget < u32::from(root.depth) {
                return Ok(Progress::More);
            }

            let leaf = &path.step(0)?.buf;
            let (count, keep) = view(leaf, K::SHAPE, |leaf| {
                let mut keep = leaf.count();
                while let Some(last) = keep.checked_sub(1) {
                    if !take(decode::<K>(&leaf, last)?) {
                        break;
                    }
                    keep = last;
                }
                Ok((leaf.count(), keep))
            })?;
            if keep > 0 {
                if keep < count {
                    txn.modify(leaf, |page| edit::truncate(page, K::SHAPE, keep))
                        .map_err(|bad| corrupt(leaf.block(), bad))?;
                }
                return Ok(Progress::More);
            }

            for level in 0..path.depth() {
                let buf = &path.step(level)?.buf;
                let rest = match level {
                    0 => 0,
                    // Its last child is gone.
                    _ => view(buf, Shape::INTERIOR, |node| {
                        Ok(node.count().saturating_sub(1))
                    })?,
                };
                if rest > 0 {
                    txn.modify(buf, |page| edit::truncate(page, Shape::INTERIOR, rest))
                        .map_err(|bad| corrupt(buf.block(), bad))?;
                    break;
                }
                Self::free(txn, root, buf)?;
                budget = budget.saturating_sub(1);
                if level + 1 == path.depth() {
                    root.block = DiskBlock(0);
                    root.depth = 0;
                }
            }
        }
        Ok(Progress::Done)
    }
}
