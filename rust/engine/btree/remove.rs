// SPDX-License-Identifier: GPL-2.0

//! Removal.
//!
//! A node that loses its last record is freed. One that falls below half is merged with the
//! neighbour on its left or right if both together leave some room in one node (an eighth, so that
//! the next insertion does not split it again). Both take one entry out of the node above, where the
//! same is done. An interior root with one entry gives its place to its child.

use super::{
    corrupt,
    edit,
    page::{
        View,
        CAPACITY, //
    },
    path::{
        Path,
        Toward, //
    },
    view,
    Range,
    Raw,
    Shape,
    TreeRoot, //
};
use crate::engine::{
    buf::BufRef,
    error::Result,
    mount::Mount,
    txn::{
        FreeKind,
        Txn, //
    },
};
use crate::format::units::{
    BlockRange,
    DiskBlock, //
};

/// A node with less than this is merged with a neighbour if it can be.
const LOW: usize = CAPACITY / 2;
/// A merged node is not fuller than this.
const MERGED: usize = CAPACITY - CAPACITY / 8;

impl Raw {
    /// See [`Tree::remove`](super::Tree::remove).
    #[inline(never)]
    pub(super) fn remove(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        key: u64,
    ) -> Result<bool> {
        let mut path = Path::new();
        if !self.descend(m, root, Toward::Key(key), &mut path)? {
            return Ok(false);
        }
        let Ok(index) = path.found() else {
            return Ok(false);
        };
        self.remove_at(m, txn, root, &path, index)?;
        Ok(true)
    }

    /// Removes record `index` of the path's leaf. The path is used up.
    #[inline(never)]
    pub(super) fn remove_at(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        path: &Path,
        index: usize,
    ) -> Result<()> {
        let depth = path.depth();
        let mut index = index;
        for level in 0..depth {
            let buf = path.buf(level)?;
            let is_root = level + 1 == depth;

            if view(buf, self.shape(level), |node| Ok(node.count()))? <= 1 {
                Self::free(txn, root, buf)?;
                if is_root {
                    root.block = DiskBlock(0);
                    root.depth = 0;
                } else {
                    index = path.index(level + 1);
                }
                continue;
            }
            self.take(txn, buf, level, index)?;
            if is_root {
                return self.collapse(m, txn, root);
            }
            match self.merge(m, txn, root, path, level)? {
                Some(gone) => index = gone,
                None => return Ok(()),
            }
        }
        Ok(())
    }

    /// Takes record `index` out of a node that has others.
    #[inline(never)]
    fn take(&self, txn: &mut Txn<'_>, buf: &BufRef, level: usize, index: usize) -> Result<()> {
        txn.modify(buf, |page| {
            if level == 0 {
                return edit::remove(page, self.leaf, index);
            }
            // The range of a node does not shrink: what its first child covered, the next one does.
            let low = View::new(page.bytes(), Shape::INTERIOR)?.key(0)?;
            edit::remove(page, Shape::INTERIOR, index)?;
            if index == 0 {
                edit::set_branch_key(page, 0, low)?;
            }
            Ok(())
        })
        .map_err(|bad| corrupt(buf.block(), bad))
    }

    /// Merges the node at `level` with a neighbour if that is worthwhile, and returns which entry
    /// of the node above has lost its child.
    #[inline(never)]
    fn merge(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        path: &Path,
        level: usize,
    ) -> Result<Option<usize>> {
        let buf = path.buf(level)?;
        let used = view(buf, self.shape(level), |node| node.used())?;
        if used >= LOW {
            return Ok(None);
        }
        let own = path.index(level + 1);
        let left = own.checked_sub(1);
        for index in [left, Some(own + 1)].into_iter().flatten() {
            let Some(other) = self.neighbour(m, path, level, index, used)? else {
                continue;
            };
            let (into, from, gone) = if index < own {
                (&other, buf, own)
            } else {
                (buf, &other, index)
            };
            self.join(txn, into, from, level)?;
            Self::free(txn, root, from)?;
            return Ok(Some(gone));
        }
        Ok(None)
    }

    /// The node at entry `index` above `level`, if there is one and it can take `used` bytes more.
    #[inline(never)]
    fn neighbour(
        &self,
        m: &Mount,
        path: &Path,
        level: usize,
        index: usize,
        used: usize,
    ) -> Result<Option<BufRef>> {
        let block = view(path.buf(level + 1)?, Shape::INTERIOR, |node| {
            if index < node.count() {
                node.child(index).map(Some)
            } else {
                Ok(None)
            }
        })?;
        let Some(block) = block else {
            return Ok(None);
        };
        let range = path.child_range(level + 1, index)?;
        // The tree is as good without the merge, so a neighbour that cannot be read does not fail
        // the removal. The error has been logged.
        let read = self.read(m, DiskBlock(block), level, range, |node| node.used());
        Ok(match read {
            Ok((other, others)) if used + others <= MERGED => Some(other),
            _ => None,
        })
    }

    /// Appends the records of `from` to those of `into`.
    #[inline(never)]
    fn join(&self, txn: &mut Txn<'_>, into: &BufRef, from: &BufRef, level: usize) -> Result<()> {
        let shape = self.shape(level);
        txn.modify2(into, from, |into, from| {
            edit::append(into, shape, &View::new(from.bytes(), shape)?, 0)
        })?
        .map_err(|bad| corrupt(from.block(), bad))
    }

    /// Takes roots with a single child away.
    #[inline(never)]
    fn collapse(&self, m: &Mount, txn: &mut Txn<'_>, root: &mut TreeRoot) -> Result<()> {
        while root.depth > 1 {
            let level = usize::from(root.depth) - 1;
            // A chain of single children is legal and stays if it cannot be read.
            let only = self.read(m, root.block, level, Range::ALL, |node| {
                if node.count() == 1 {
                    node.child(0).map(Some)
                } else {
                    Ok(None)
                }
            });
            let Ok((buf, Some(child))) = only else {
                break;
            };
            Self::free(txn, root, &buf)?;
            root.block = DiskBlock(child);
            root.depth -= 1;
        }
        Ok(())
    }

    /// Frees the block of a node.
    #[inline(never)]
    pub(super) fn free(txn: &mut Txn<'_>, root: &mut TreeRoot, buf: &BufRef) -> Result<()> {
        txn.free(BlockRange::new(buf.block(), 1), FreeKind::Meta)?;
        root.blocks = root.blocks.saturating_sub(1);
        Ok(())
    }
}
