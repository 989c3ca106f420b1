// SPDX-License-Identifier: GPL-2.0

//! Taking a whole tree down, a bounded piece at a time.
//!
//! A large tree does not go in one transaction. Each step removes records and nodes from the right
//! end and leaves a valid, smaller tree, so the chain of transactions may stop after any of them: the
//! owner is an orphan, and whoever finds it later goes on from there.

use super::{
    corrupt,
    edit,
    page::Checked,
    path::{
        Path,
        Toward, //
    },
    view,
    Raw,
    Shape,
    TreeRoot,
    MAX_DEPTH, //
};
use crate::engine::{
    buf::BufRef,
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

impl Raw {
    /// See [`Tree::destroy_step`](super::Tree::destroy_step).
    #[inline(never)]
    pub(super) fn destroy_step(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        max_blocks: u32,
        take: &mut dyn FnMut(&[u8]) -> Checked<bool>,
    ) -> Result<Progress> {
        let mut budget = max_blocks.max(MAX_DEPTH as u32);
        let mut path = Path::new();
        while self.descend(m, root, Toward::Last, &mut path)? {
            if budget < u32::from(root.depth) {
                return Ok(Progress::More);
            }
            let (count, keep) = view(path.buf(0)?, self.leaf, |leaf| {
                let mut keep = leaf.count();
                while let Some(last) = keep.checked_sub(1) {
                    if !take(leaf.record(last)?)? {
                        break;
                    }
                    keep = last;
                }
                Ok((leaf.count(), keep))
            })?;
            if keep > 0 {
                if keep < count {
                    self.cut(txn, path.buf(0)?, 0, keep)?;
                }
                return Ok(Progress::More);
            }
            budget = budget.saturating_sub(self.free_last(txn, root, &path)?);
        }
        Ok(Progress::Done)
    }

    /// Frees the path's leaf, which is the last one, and what becomes empty above it; returns the
    /// number of blocks.
    #[inline(never)]
    fn free_last(&self, txn: &mut Txn<'_>, root: &mut TreeRoot, path: &Path) -> Result<u32> {
        let mut freed = 0;
        for level in 0..path.depth() {
            let buf = path.buf(level)?;
            let rest = match level {
                0 => 0,
                // Its last child is gone.
                _ => view(buf, Shape::INTERIOR, |node| {
                    Ok(node.count().saturating_sub(1))
                })?,
            };
            if rest > 0 {
                self.cut(txn, buf, level, rest)?;
                return Ok(freed);
            }
            Self::free(txn, root, buf)?;
            freed += 1;
        }
        root.block = DiskBlock(0);
        root.depth = 0;
        Ok(freed)
    }

    /// Keeps the first `keep` records of a node.
    #[inline(never)]
    fn cut(&self, txn: &mut Txn<'_>, buf: &BufRef, level: usize, keep: usize) -> Result<()> {
        let shape = self.shape(level);
        txn.modify(buf, |page| edit::truncate(page, shape, keep))
            .map_err(|bad| corrupt(buf.block(), bad))
    }
}
