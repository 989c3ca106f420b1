// SPDX-License-Identifier: GPL-2.0

//! Insertion and update.

use super::{
    corrupt,
    edit::{
        self,
        Fit, //
    },
    page::{
        key_of,
        Block,
        View,
        BRANCH,
        CAPACITY, //
    },
    path::{
        Path,
        Toward, //
    },
    split::{
        self,
        Cut, //
    },
    view,
    Shape,
    Tree,
    TreeKind,
    TreeRoot,
    MAX_DEPTH, //
};
use crate::engine::{
    buf::BufRef,
    error::{
        Error,
        Result, //
    },
    mount::Mount,
    txn::{
        BlockMut,
        Txn, //
    },
};
use crate::format::{
    header::BlockKind,
    units::DiskBlock, //
};
use crate::sys::Errno;
use core::ops::Range;

impl edit::Edit for BlockMut<'_> {
    fn bytes(&self) -> &Block {
        BlockMut::bytes(self)
    }

    fn bytes_mut(&mut self, range: Range<usize>) -> Option<&mut [u8]> {
        BlockMut::bytes_mut(self, range).ok()
    }
}

/// An entry of an interior node.
fn branch(key: u64, child: DiskBlock) -> [u8; BRANCH] {
    let mut entry = [0; BRANCH];
    let (to_key, to_child) = entry.split_at_mut(BRANCH / 2);
    to_key.copy_from_slice(&key.to_le_bytes());
    to_child.copy_from_slice(&child.0.to_le_bytes());
    entry
}

impl<K: TreeKind> Tree<K> {
    /// Inserts a record. `near` is where the first block of the tree is wanted; later ones are
    /// allocated near the node they split from.
    ///
    /// Needs [`INSERT_BLOCKS`](super::INSERT_BLOCKS) blocks and
    /// [`INSERT_BUFS`](super::INSERT_BUFS) buffers of the reservation. Owner's lock held
    /// exclusively until commit. May sleep. `EEXIST` if the key is taken, `EINVAL` for a malformed
    /// record, `EFBIG` at the depth limit: in these cases nothing has changed.
    pub fn insert(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        near: DiskBlock,
        record: &[u8],
    ) -> Result<()> {
        let key = Self::accept(record)?;
        let Some(path) = self.descend(m, root, Toward::Key(key))? else {
            return self.build_leaf(txn, root, near, core::iter::once(record));
        };
        match path.found() {
            Ok(_) => Err(Error::new(Errno::EXIST)),
            Err(index) => self.insert_at(txn, root, &path, index, record),
        }
    }

    /// Replaces the record `old_key` by `record`, whose key and length may be others. In place if
    /// order and room allow it: an extent that grows or shrinks, a directory entry that gets
    /// another inode. Otherwise it is a removal and an insertion, and needs the reservation of
    /// both. `ENOENT` if there is no `old_key`, `EEXIST` if the new key is taken by another.
    pub fn update(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        near: DiskBlock,
        old_key: u64,
        record: &[u8],
    ) -> Result<()> {
        let key = Self::accept(record)?;
        let missing = || Error::new(Errno::NOENT);
        let path = self
            .descend(m, root, Toward::Key(old_key))?
            .ok_or_else(missing)?;
        let leaf = path.step(0)?;
        let index = path.found().map_err(|_| missing())?;

        let range = path.range(0)?;
        let in_place = view(&leaf.buf, K::SHAPE, |leaf| {
            let above_last = match index.checked_sub(1) {
                Some(before) => key > leaf.key(before)?,
                None => key >= range.low,
            };
            let below_next = if index + 1 < leaf.count() {
                key < leaf.key(index + 1)?
            } else {
                range.high.is_none_or(|high| key < high)
            };
            let others = leaf.used()?.saturating_sub(leaf.cost(index)?);
            let fits = others + K::SHAPE.cost(record.len()) <= CAPACITY;
            Ok(above_last && below_next && fits)
        })?;
        if in_place {
            return txn
                .modify(&leaf.buf, |page| {
                    let old = View::new(page.bytes(), K::SHAPE)?.record(index)?;
                    if old.len() == record.len() {
                        return edit::overwrite(page, K::SHAPE, index, record);
                    }
                    edit::remove(page, K::SHAPE, index)?;
                    split::insert(page, K::SHAPE, index, record)
                })
                .map_err(|bad| corrupt(leaf.buf.block(), bad));
        }

        if key != old_key && self.lookup(m, root, key, |_| ())?.is_some() {
            return Err(Error::new(Errno::EXIST));
        }
        self.remove_at(m, txn, root, &path, index)?;
        self.insert(m, txn, root, near, record)
    }

    /// The key of a record that may be stored.
    fn accept(record: &[u8]) -> Result<u64> {
        let whole = match K::SHAPE {
            Shape::Fixed(size) => record.len() == size,
            Shape::Slotted(measure) => measure(record) == Some(record.len()),
        };
        if !whole || K::decode(record).is_none() {
            return Err(Error::new(Errno::INVAL));
        }
        key_of(record).map_err(|_| Error::new(Errno::INVAL))
    }

    /// Makes the first leaf of records that are in key order and fit in one node together. The tree
    /// is empty before. Needs one block and one buffer of the reservation. May sleep.
    pub fn build_leaf<'r>(
        &self,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        near: DiskBlock,
        records: impl Iterator<Item = &'r [u8]>,
    ) -> Result<()> {
        let buf = txn.new_meta(near, BlockKind::Tree, self.owner)?;
        txn.modify(&buf, |page| {
            edit::init(page, K::SHAPE, 0, K::KIND)?;
            for (index, record) in records.enumerate() {
                edit::insert(page, K::SHAPE, index, record)?;
            }
            Ok(())
        })
        .map_err(|bad| corrupt(buf.block(), bad))?;
        root.block = buf.block();
        root.depth = 1;
        root.blocks = root.blocks.saturating_add(1);
        Ok(())
    }

    /// Inserts at a place that was looked up. First decides which levels split and gets all blocks,
    /// then changes; the changes fail only if a node is not what it was a moment ago.
    fn insert_at(
        &self,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        path: &Path,
        index: usize,
        record: &[u8],
    ) -> Result<()> {
        let depth = path.depth();
        let place = |level: usize| -> Result<usize> {
            Ok(match level {
                0 => index,
                // The new half comes right behind the old one.
                _ => path.step(level)?.index + 1,
            })
        };

        let mut cuts: [Option<Cut>; MAX_DEPTH] = [None; MAX_DEPTH];
        let mut splits = 0;
        let mut len = record.len();
        for (level, cut) in cuts.iter_mut().enumerate().take(depth) {
            let index = place(level)?;
            *cut = view(&path.step(level)?.buf, Self::shape(level), |node| {
                Ok(match edit::fit(&node, len)? {
                    Fit::No => Some(split::plan(&node, index, len)?),
                    Fit::Now | Fit::Compacted => None,
                })
            })?;
            if cut.is_none() {
                break;
            }
            splits = level + 1;
            len = BRANCH;
        }
        let grows = splits == depth;
        if grows && depth == MAX_DEPTH {
            return Err(Error::new(Errno::FBIG));
        }

        let mut halves: [Option<BufRef>; MAX_DEPTH] = [const { None }; MAX_DEPTH];
        for (level, half) in halves.iter_mut().enumerate().take(splits) {
            let near = path.step(level)?.buf.block();
            *half = Some(txn.new_meta(near, BlockKind::Tree, self.owner)?);
        }
        let top = if grows {
            Some(txn.new_meta(root.block, BlockKind::Tree, self.owner)?)
        } else {
            None
        };

        let mut entry = [0; BRANCH];
        for (level, (cut, half)) in cuts.iter().zip(&halves).enumerate() {
            let (Some(cut), Some(right)) = (cut, half) else {
                break;
            };
            let left = &path.step(level)?.buf;
            let index = place(level)?;
            let record = if level == 0 { record } else { &entry };
            let separator = txn
                .modify2(left, right, |left, right| {
                    edit::init(right, Self::shape(level), level as u8, K::KIND)?;
                    split::apply(left, right, Self::shape(level), *cut, index, record)
                })?
                .map_err(|bad| corrupt(left.block(), bad))?;
            entry = branch(separator, right.block());
            root.blocks = root.blocks.saturating_add(1);
        }

        let record = if splits == 0 { record } else { &entry };
        match top {
            None => {
                let node = &path.step(splits)?.buf;
                let index = place(splits)?;
                txn.modify(node, |page| {
                    split::insert(page, Self::shape(splits), index, record)
                })
                .map_err(|bad| corrupt(node.block(), bad))
            }
            Some(top) => {
                let old = branch(0, root.block);
                txn.modify(&top, |page| {
                    edit::init(page, Shape::INTERIOR, depth as u8, K::KIND)?;
                    edit::insert(page, Shape::INTERIOR, 0, &old)?;
                    edit::insert(page, Shape::INTERIOR, 1, record)
                })
                .map_err(|bad| corrupt(top.block(), bad))?;
                root.block = top.block();
                root.depth = root.depth.saturating_add(1);
                root.blocks = root.blocks.saturating_add(1);
                Ok(())
            }
        }
    }
}
