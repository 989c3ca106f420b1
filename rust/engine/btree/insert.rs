// SPDX-License-Identifier: GPL-2.0

//! Insertion and update.
//!
//! Each step that works on a block is a function of its own, not inlined: together they would make
//! a frame of 2 KiB, at the end of a call chain from the VFS.

use core::ops::Range;

use super::{
    corrupt,
    edit::{
        self,
        Fit, //
    },
    page::{
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
    Raw,
    Shape,
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

/// What an insertion is going to do, decided before the first change.
struct Plan {
    /// How the node of each level from the leaf up is cut, for the levels that split.
    cuts: [Option<Cut>; MAX_DEPTH],
    /// The new right halves of these nodes.
    halves: [Option<BufRef>; MAX_DEPTH],
    /// The new root, if all levels split.
    top: Option<BufRef>,
    splits: usize,
}

impl Raw {
    /// See [`Tree::insert`](super::Tree::insert).
    #[inline(never)]
    pub(super) fn insert(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        near: DiskBlock,
        key: u64,
        record: &[u8],
    ) -> Result<()> {
        self.insert_from(m, txn, root, near, &mut Path::new(), key, record)
    }

    /// See [`Tree::insert_from`](super::Tree::insert_from).
    #[inline(never)]
    #[allow(
        clippy::too_many_arguments,
        reason = "those of the public function and the key it has found in them"
    )]
    pub(super) fn insert_from(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        near: DiskBlock,
        path: &mut Path,
        key: u64,
        record: &[u8],
    ) -> Result<()> {
        if !self.redirect(m, root, key, path)? {
            return self.build_leaf(txn, root, near, &mut core::iter::once(record));
        }
        if path.found().is_ok() {
            return Err(Error::new(Errno::EXIST));
        }

        let mut plan = Plan {
            cuts: [None; MAX_DEPTH],
            halves: [const { None }; MAX_DEPTH],
            top: None,
            splits: 0,
        };
        self.plan(txn, root, path, record.len(), &mut plan)?;
        self.carry_out(txn, root, path, &plan, record)
    }

    /// Decides which nodes split, and gets all blocks that takes. May sleep.
    #[inline(never)]
    fn plan(
        &self,
        txn: &mut Txn<'_>,
        root: &TreeRoot,
        path: &Path,
        len: usize,
        plan: &mut Plan,
    ) -> Result<()> {
        let mut len = len;
        for (level, cut) in plan.cuts.iter_mut().enumerate().take(path.depth()) {
            let index = place(path, level);
            *cut = view(path.buf(level)?, self.shape(level), |node| {
                Ok(match edit::fit(&node, len)? {
                    Fit::No => Some(split::plan(&node, index, len)?),
                    Fit::Now | Fit::Compacted => None,
                })
            })?;
            if cut.is_none() {
                break;
            }
            plan.splits = level + 1;
            len = BRANCH;
        }
        if plan.splits == MAX_DEPTH {
            return Err(Error::new(Errno::FBIG));
        }
        for (level, half) in plan.halves.iter_mut().enumerate().take(plan.splits) {
            *half = Some(self.new_node(txn, path.buf(level)?.block())?);
        }
        if plan.splits == path.depth() {
            plan.top = Some(self.new_node(txn, root.block)?);
        }
        Ok(())
    }

    /// A block for a node.
    #[inline(never)]
    fn new_node(&self, txn: &mut Txn<'_>, near: DiskBlock) -> Result<BufRef> {
        txn.new_meta(near, BlockKind::Tree, self.owner)
    }

    /// Inserts a record as planned. Changes only, which fail if a node is not what it was a moment
    /// ago.
    #[inline(never)]
    fn carry_out(
        &self,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        path: &Path,
        plan: &Plan,
        record: &[u8],
    ) -> Result<()> {
        let mut entry = [0; BRANCH];
        for (level, (cut, half)) in plan.cuts.iter().zip(&plan.halves).enumerate() {
            let (Some(cut), Some(right)) = (cut, half) else {
                break;
            };
            let record = if level == 0 { record } else { &entry };
            let left = path.buf(level)?;
            let index = place(path, level);
            let separator = self.split(txn, left, right, level, index, *cut, record)?;
            entry = branch(separator, right.block());
            root.blocks = root.blocks.saturating_add(1);
        }
        let record = if plan.splits == 0 { record } else { &entry };
        match &plan.top {
            Some(top) => self.grow(txn, root, top, record),
            None => {
                let level = plan.splits;
                self.put(txn, path.buf(level)?, level, place(path, level), record)
            }
        }
    }

    /// Splits a node and inserts a record into one half. Returns the first key of the right half.
    #[inline(never)]
    #[allow(
        clippy::too_many_arguments,
        reason = "two blocks, a place and a record"
    )]
    fn split(
        &self,
        txn: &mut Txn<'_>,
        left: &BufRef,
        right: &BufRef,
        level: usize,
        index: usize,
        cut: Cut,
        record: &[u8],
    ) -> Result<u64> {
        let shape = self.shape(level);
        txn.modify2(left, right, |left, right| {
            edit::init(right, shape, level as u8, self.kind)?;
            split::apply(left, right, shape, cut, index, record)
        })?
        .map_err(|bad| corrupt(left.block(), bad))
    }

    /// Inserts a record into a node that has room for it.
    #[inline(never)]
    fn put(
        &self,
        txn: &mut Txn<'_>,
        node: &BufRef,
        level: usize,
        index: usize,
        record: &[u8],
    ) -> Result<()> {
        let shape = self.shape(level);
        txn.modify(node, |page| split::insert(page, shape, index, record))
            .map_err(|bad| corrupt(node.block(), bad))
    }

    /// Puts a new root above the old one and its new right half.
    #[inline(never)]
    fn grow(
        &self,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        top: &BufRef,
        right: &[u8],
    ) -> Result<()> {
        let left = branch(0, root.block);
        let level = root.depth;
        txn.modify(top, |page| {
            edit::init(page, Shape::INTERIOR, level, self.kind)?;
            edit::insert(page, Shape::INTERIOR, 0, &left)?;
            edit::insert(page, Shape::INTERIOR, 1, right)
        })
        .map_err(|bad| corrupt(top.block(), bad))?;
        root.block = top.block();
        root.depth = root.depth.saturating_add(1);
        root.blocks = root.blocks.saturating_add(1);
        Ok(())
    }

    /// See [`Tree::build_leaf`](super::Tree::build_leaf).
    #[inline(never)]
    pub(super) fn build_leaf(
        &self,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        near: DiskBlock,
        records: &mut dyn Iterator<Item = &[u8]>,
    ) -> Result<()> {
        let buf = self.new_node(txn, near)?;
        txn.modify(&buf, |page| {
            edit::init(page, self.leaf, 0, self.kind)?;
            for (index, record) in records.enumerate() {
                edit::insert(page, self.leaf, index, record)?;
            }
            Ok(())
        })
        .map_err(|bad| corrupt(buf.block(), bad))?;
        root.block = buf.block();
        root.depth = 1;
        root.blocks = root.blocks.saturating_add(1);
        Ok(())
    }

    /// See [`Tree::update`](super::Tree::update).
    #[inline(never)]
    #[allow(
        clippy::too_many_arguments,
        reason = "those of the public function and the key it has found in them"
    )]
    pub(super) fn update(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        near: DiskBlock,
        old_key: u64,
        key: u64,
        record: &[u8],
    ) -> Result<()> {
        let mut path = Path::new();
        let found = self.descend(m, root, Toward::Key(old_key), &mut path)?;
        let index = match path.found() {
            Ok(index) if found => index,
            _ => return Err(Error::new(Errno::NOENT)),
        };
        if self.fits_in_place(&path, index, key, record.len())? {
            return self.overwrite(txn, path.buf(0)?, index, record);
        }

        if key != old_key {
            let mut other = Path::new();
            self.descend(m, root, Toward::Key(key), &mut other)?;
            if other.found().is_ok() {
                return Err(Error::new(Errno::EXIST));
            }
        }
        self.remove_at(m, txn, root, &path, index)?;
        drop(path);
        self.insert(m, txn, root, near, key, record)
    }

    /// Whether record `index` of the path's leaf can become one of `key` and `len` where it is.
    #[inline(never)]
    fn fits_in_place(&self, path: &Path, index: usize, key: u64, len: usize) -> Result<bool> {
        let range = path.range(0)?;
        view(path.buf(0)?, self.leaf, |leaf| {
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
            let fits = others + self.leaf.cost(len) <= CAPACITY;
            Ok(above_last && below_next && fits)
        })
    }

    /// Replaces record `index` of a leaf that has room for the new one.
    #[inline(never)]
    fn overwrite(
        &self,
        txn: &mut Txn<'_>,
        leaf: &BufRef,
        index: usize,
        record: &[u8],
    ) -> Result<()> {
        txn.modify(leaf, |page| {
            let old = View::new(page.bytes(), self.leaf)?.record(index)?;
            if old.len() == record.len() {
                return edit::overwrite(page, self.leaf, index, record);
            }
            edit::remove(page, self.leaf, index)?;
            split::insert(page, self.leaf, index, record)
        })
        .map_err(|bad| corrupt(leaf.block(), bad))
    }
}

/// Where the new entry goes in the node at `level`: in the leaf where its key belongs, above it right
/// behind the node that was split.
fn place(path: &Path, level: usize) -> usize {
    match level {
        0 => path.index(0),
        _ => path.index(level) + 1,
    }
}
