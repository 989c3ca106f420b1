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
    Shape,
    Tree,
    TreeKind,
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

impl<K: TreeKind> Tree<K> {
    /// Removes the record of `key`; `false`, and nothing has changed, if there is none.
    ///
    /// Needs [`REMOVE_BUFS`](super::REMOVE_BUFS) buffers and [`REMOVE_FREES`](super::REMOVE_FREES)
    /// frees of the reservation, no blocks. Owner's lock held exclusively until commit. May sleep.
    pub fn remove(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        key: u64,
    ) -> Result<bool> {
        let Some(path) = self.descend(m, root, Toward::Key(key))? else {
            return Ok(false);
        };
        match path.found() {
            Ok(index) => {
                self.remove_at(m, txn, root, &path, index)?;
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    /// Removes record `index` of the path's leaf. The path is used up.
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
            let buf = &path.step(level)?.buf;
            let is_root = level + 1 == depth;

            if view(buf, Self::shape(level), |node| Ok(node.count()))? <= 1 {
                Self::free(txn, root, buf)?;
                if is_root {
                    root.block = DiskBlock(0);
                    root.depth = 0;
                } else {
                    index = path.step(level + 1)?.index;
                }
                continue;
            }

            txn.modify(buf, |page| {
                if level == 0 {
                    return edit::remove(page, K::SHAPE, index);
                }
                // The range of a node does not shrink: what its first child covered, the next one
                // does.
                let low = View::new(page.bytes(), Shape::INTERIOR)?.key(0)?;
                edit::remove(page, Shape::INTERIOR, index)?;
                if index == 0 {
                    edit::set_branch_key(page, 0, low)?;
                }
                Ok(())
            })
            .map_err(|bad| corrupt(buf.block(), bad))?;

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

    /// Merges the node at `level` with a neighbour if that is worthwhile, and returns which entry
    /// of the node above has lost its child.
    fn merge(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        path: &Path,
        level: usize,
    ) -> Result<Option<usize>> {
        let shape = Self::shape(level);
        let buf = &path.step(level)?.buf;
        let used = view(buf, shape, |node| node.used())?;
        if used >= LOW {
            return Ok(None);
        }

        let parent = path.step(level + 1)?;
        let entries = view(&parent.buf, Shape::INTERIOR, |node| Ok(node.count()))?;
        let left = parent.index.checked_sub(1);
        let right = Some(parent.index + 1).filter(|index| *index < entries);
        for index in [left, right].into_iter().flatten() {
            let block = view(&parent.buf, Shape::INTERIOR, |node| node.child(index))?;
            let range = path.child_range(level + 1, index)?;
            // The tree is as good without the merge, so a neighbour that cannot be read does not
            // fail the removal. The error has been logged.
            let neighbour = self.read(m, DiskBlock(block), level, range, |node| node.used());
            let Ok((other, others)) = neighbour else {
                continue;
            };
            if used + others > MERGED {
                continue;
            }
            let (into, from, gone) = if index < parent.index {
                (&other, buf, parent.index)
            } else {
                (buf, &other, index)
            };
            txn.modify2(into, from, |into, from| {
                edit::append(into, shape, &View::new(from.bytes(), shape)?, 0)
            })?
            .map_err(|bad| corrupt(from.block(), bad))?;
            Self::free(txn, root, from)?;
            return Ok(Some(gone));
        }
        Ok(None)
    }

    /// Takes roots with a single child away.
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
            let Ok((buf, only)) = only else {
                break;
            };
            let Some(child) = only else {
                break;
            };
            Self::free(txn, root, &buf)?;
            root.block = DiskBlock(child);
            root.depth -= 1;
        }
        Ok(())
    }

    /// Frees the block of a node.
    pub(super) fn free(txn: &mut Txn<'_>, root: &mut TreeRoot, buf: &BufRef) -> Result<()> {
        txn.free(BlockRange::new(buf.block(), 1), FreeKind::Meta)?;
        root.blocks = root.blocks.saturating_sub(1);
        Ok(())
    }
}
