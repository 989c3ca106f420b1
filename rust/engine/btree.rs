// SPDX-License-Identifier: GPL-2.0

//! The one B+tree: extents, directories, extended attributes.
//!
//! A tree maps 64-bit keys to records. Records live in leaves, interior nodes hold keys and
//! children; a node is one metadata block. What a record is, and whether all are of one size, is
//! the [`TreeKind`]'s; everything else is the same code.
//!
//! * [`page`], [`edit`], [`split`]: a node as bytes. No I/O, no locks.
//! * `path`: from the root to a leaf, every step checked.
//! * [`cursor`]: reading in key order.
//! * `insert`, `remove`, `shift`, [`destroy`]: changes.
//!
//! # Shape
//!
//! `depth` is the number of levels, 0 for the empty tree. Leaves are level 0 and hold at least one
//! record. Entry `i` of an interior node covers the keys from its own up to the next entry's, and
//! the first entry's key is exactly where the node's own range begins, 0 on the left edge of the
//! tree. So each node's place follows from its parent alone and is checked on the way down: the
//! level falls by one at each step, which bounds every descent, and the keys lie in the range, which
//! keeps a node from being reached twice. There are no sibling links: what would be one pointer less
//! to follow in a scan would be two more blocks to change in each split and merge, and one more
//! thing that can lie.
//!
//! # Locks
//!
//! A tree is read under its owner's ILOCK shared and changed under it exclusively, held until commit
//! (for the hidden files, the AG inode lock). It has no locks of its own; content locks of buffers
//! are taken for single accesses, never while the next block is read. All functions may sleep (I/O).
//!
//! # Changes
//!
//! All blocks come from the transaction's reservation ([`INSERT_BLOCKS`]), all changes go through
//! `Txn::modify`. An insert reads and allocates everything before its first change. A removal merges
//! a node with a neighbour when both fit in one, which is optional at each level: a neighbour that
//! cannot be read is left alone. It never moves records between two nodes that both stay.
//!
//! # Errors
//!
//! A node that contradicts itself or its place is `EUCLEAN`, after a line in the log that names block
//! and field; the buffer cache reports `EBADMSG` and `EIO`.

pub mod cursor;
pub mod destroy;
pub mod edit;
mod insert;
mod kinds;
pub mod page;
mod path;
mod remove;
mod shift;
pub mod split;

#[cfg(all(test, unit_tests))]
mod tests;

use core::{
    marker::PhantomData,
    ops::ControlFlow, //
};

use crate::engine::{
    buf::BufRef,
    error::{
        Error,
        Result, //
    },
    mount::Mount,
    txn::Txn,
};
use crate::format::{
    header::{
        BlockKind,
        Owner, //
    },
    units::DiskBlock, //
};
use crate::sys::Errno;

pub use self::{
    cursor::Cursor,
    destroy::Progress,
    kinds::{
        Attrs,
        Dirents,
        Extents, //
    },
    page::Shape,
    shift::Way, //
};
pub use crate::engine::fork::TreeRoot;

use self::{
    page::{
        Bad,
        Block,
        View, //
    },
    path::{
        Path,
        Toward, //
    },
};

/// Levels a tree can have. A non-root node is at least a quarter full on average (two neighbours are
/// merged when they fit in one), so eight levels hold 63^8 > 2^47 records; the largest file system
/// has 2^40 blocks.
pub const MAX_DEPTH: usize = crate::format::limits::MAX_TREE_DEPTH as usize;

/// Blocks an insert allocates at most: one for each level that is split and one for a new root,
/// which only a tree of less than [`MAX_DEPTH`] levels can get.
pub const INSERT_BLOCKS: u32 = MAX_DEPTH as u32;
/// Buffers an insert changes at most: each level's node and its new half, and the node above.
pub const INSERT_BUFS: u32 = 2 * MAX_DEPTH as u32 + 1;
/// Buffers a removal changes at most: each level's node and the neighbour it is merged with.
pub const REMOVE_BUFS: u32 = 2 * MAX_DEPTH as u32;
/// Blocks a removal frees at most.
pub const REMOVE_FREES: u32 = 2 * MAX_DEPTH as u32;

/// Buffers that one step of [`Tree::shift_leaf`] changes at most: a leaf and the nodes above it.
pub const SHIFT_BUFS: u32 = MAX_DEPTH as u32;

/// What a tree holds.
pub trait TreeKind {
    /// The kind in the header of each node.
    const KIND: u8;
    /// How records lie in a leaf.
    const SHAPE: Shape;
    /// A record, decoded; may borrow from the leaf.
    type Record<'a>;

    /// Decodes a record, `None` if its bytes are malformed. Its key is its first 8 bytes.
    fn decode(bytes: &[u8]) -> Option<Self::Record<'_>>;
}

/// Where a scan has ended. Holds references to the blocks of that path.
pub struct Spot(Path);

impl Spot {
    /// No place yet.
    pub const fn nowhere() -> Self {
        Self(Path::new())
    }
}

/// The tree of one owner. Stateless: the root is the caller's, in the fork it protects by its lock.
///
/// This type only knows what records are; `Raw` does the work, on bytes, once for all kinds.
pub struct Tree<K: TreeKind> {
    raw: Raw,
    kind: PhantomData<fn() -> K>,
}

impl<K: TreeKind> Clone for Tree<K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K: TreeKind> Copy for Tree<K> {}

impl<K: TreeKind> Tree<K> {
    /// The tree of `owner`, the value in its blocks' headers.
    pub const fn new(owner: Owner) -> Self {
        Self {
            raw: Raw {
                owner,
                kind: K::KIND,
                leaf: K::SHAPE,
            },
            kind: PhantomData,
        }
    }

    /// Calls `f` with the record of `key`; `None` if there is none. `f` runs under the content lock
    /// of the leaf and must not sleep. Reads `depth` blocks. May sleep.
    pub fn lookup<R>(
        &self,
        m: &Mount,
        root: &TreeRoot,
        key: u64,
        f: impl FnOnce(K::Record<'_>) -> R,
    ) -> Result<Option<R>> {
        let mut path = Path::new();
        if !self.raw.descend(m, root, Toward::Key(key), &mut path)? {
            return Ok(None);
        }
        match path.found() {
            Ok(index) => {
                let get = |leaf: View<'_>| Ok(f(decode::<K>(leaf.record(index)?)?));
                view(path.buf(0)?, K::SHAPE, get).map(Some)
            }
            Err(_) => Ok(None),
        }
    }

    /// The first record with a key not below `key`. May sleep.
    pub fn seek_ge(&self, m: &Mount, root: &TreeRoot, key: u64) -> Result<Option<Cursor<K>>> {
        Cursor::seek(self.raw, m, root, key, true)
    }

    /// The last record with a key not above `key`. May sleep.
    pub fn seek_le(&self, m: &Mount, root: &TreeRoot, key: u64) -> Result<Option<Cursor<K>>> {
        Cursor::seek(self.raw, m, root, key, false)
    }

    /// Calls `f` with each record from `from` on, in key order, until it breaks; what it broke with,
    /// or `None` at the end. `f` runs under the content lock of a leaf and must not sleep. May sleep.
    pub fn scan<B>(
        &self,
        m: &Mount,
        root: &TreeRoot,
        from: u64,
        f: impl FnMut(K::Record<'_>) -> ControlFlow<B>,
    ) -> Result<Option<B>> {
        self.scan_to(m, root, from, &mut Spot::nowhere(), f)
    }

    /// [`Self::scan`] that leaves in `spot` where it has ended, for [`Self::insert_from`].
    pub fn scan_to<B>(
        &self,
        m: &Mount,
        root: &TreeRoot,
        from: u64,
        spot: &mut Spot,
        mut f: impl FnMut(K::Record<'_>) -> ControlFlow<B>,
    ) -> Result<Option<B>> {
        let mut found = None;
        self.raw.scan(m, root, from, &mut spot.0, &mut |record| {
            Ok(match f(decode::<K>(record)?) {
                ControlFlow::Continue(()) => true,
                ControlFlow::Break(value) => {
                    found = Some(value);
                    false
                }
            })
        })?;
        Ok(found)
    }

    /// Inserts a record. `near` is where the first block of the tree is wanted; later ones are
    /// allocated near the node they split from.
    ///
    /// Needs [`INSERT_BLOCKS`] blocks and [`INSERT_BUFS`] buffers of the reservation. Owner's lock
    /// held exclusively until commit. May sleep. `EEXIST` if the key is taken, `EINVAL` for a
    /// malformed record, `EFBIG` at the depth limit: in these cases nothing has changed.
    pub fn insert(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        near: DiskBlock,
        record: &[u8],
    ) -> Result<()> {
        let key = accept::<K>(record)?;
        self.raw.insert(m, txn, root, near, key, record)
    }

    /// [`Self::insert`] without a descent if `spot` is in the leaf that the record belongs in: for
    /// those who looked there before. The tree has not changed since; a spot that was never set is
    /// nowhere. Afterwards it must not be used again.
    pub fn insert_from(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        near: DiskBlock,
        spot: &mut Spot,
        record: &[u8],
    ) -> Result<()> {
        let key = accept::<K>(record)?;
        let path = &mut spot.0;
        self.raw.insert_from(m, txn, root, near, path, key, record)
    }

    /// Makes the first leaf of records that are in key order and fit in one node together. The tree
    /// is empty before. Needs one block and one buffer of the reservation. May sleep.
    pub fn build_leaf<'r>(
        &self,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        near: DiskBlock,
        mut records: impl Iterator<Item = &'r [u8]>,
    ) -> Result<()> {
        self.raw.build_leaf(txn, root, near, &mut records)
    }

    /// Replaces the record `old_key` by `record`, whose key and length may be others. In place if
    /// order and room allow it: an extent that grows or shrinks, a directory entry that gets
    /// another inode. Otherwise it is a removal and an insertion, and needs the reservation of
    /// both. `ENOENT` if there is no `old_key`, `EEXIST` if the new key is taken by another,
    /// `EINVAL` for a malformed record: in these cases nothing has changed.
    pub fn update(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        near: DiskBlock,
        old_key: u64,
        record: &[u8],
    ) -> Result<()> {
        let key = accept::<K>(record)?;
        self.raw.update(m, txn, root, near, old_key, key, record)
    }

    /// Removes the record of `key`; `false`, and nothing has changed, if there is none.
    ///
    /// Needs [`REMOVE_BUFS`] buffers and [`REMOVE_FREES`] frees of the reservation, no blocks.
    /// Owner's lock held exclusively until commit. May sleep.
    pub fn remove(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &mut TreeRoot,
        key: u64,
    ) -> Result<bool> {
        self.raw.remove(m, txn, root, key)
    }

    /// Moves the records of one leaf with keys in `keys` by `by`: the first such leaf for
    /// [`Way::Down`], the last one for [`Way::Up`]. Returns the keys that are left to do; `None`, and
    /// nothing has changed, if no record has such a key. The new keys are in a gap that the caller
    /// knows of: before `keys`, or behind. For a whole range it is called until nothing is left, each
    /// time with what is; the tree is valid in between.
    ///
    /// Needs [`SHIFT_BUFS`] buffers of the reservation, no blocks. Owner's lock held exclusively until
    /// commit. May sleep. `EUCLEAN`, and nothing has changed, if there is no such gap.
    pub fn shift_leaf(
        &self,
        m: &Mount,
        txn: &mut Txn<'_>,
        root: &TreeRoot,
        keys: core::ops::Range<u64>,
        by: u64,
        way: Way,
    ) -> Result<Option<core::ops::Range<u64>>> {
        self.raw.shift_leaf(m, txn, root, keys, by, way)
    }

    /// One step of the destruction of the tree, last records first. `take` is called with each
    /// record, under the content lock of its leaf (it must not sleep); it notes what the record
    /// refers to and returns true, or returns false to keep the record and end the step.
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
        self.raw
            .destroy_step(m, txn, root, max_blocks, &mut |record| {
                Ok(take(decode::<K>(record)?))
            })
    }
}

/// A record of a node, decoded.
fn decode<K: TreeKind>(record: &[u8]) -> page::Checked<K::Record<'_>> {
    K::decode(record).ok_or(Bad("record"))
}

/// The key of a record that may be stored; `EINVAL` if it may not.
fn accept<K: TreeKind>(record: &[u8]) -> Result<u64> {
    let whole = match K::SHAPE {
        Shape::Fixed(size) => record.len() == size,
        Shape::Slotted(measure) => measure(record) == Some(record.len()),
    };
    if !whole || K::decode(record).is_none() {
        return Err(Error::new(Errno::INVAL));
    }
    page::key_of(record).map_err(|_| Error::new(Errno::INVAL))
}

/// A tree as the algorithms see it: records are bytes that begin with a key.
#[derive(Clone, Copy)]
struct Raw {
    owner: Owner,
    kind: u8,
    /// How the records of a leaf lie.
    leaf: Shape,
}

impl Raw {
    /// How the records of a node of `level` lie.
    fn shape(&self, level: usize) -> Shape {
        if level == 0 {
            self.leaf
        } else {
            Shape::INTERIOR
        }
    }

    /// Reads a node, checks that it is what its parent says (kind, level, not empty, all keys in
    /// `range`) and calls `f` with it, all under its content lock. May sleep; `f` must not.
    fn read<R>(
        &self,
        m: &Mount,
        block: DiskBlock,
        level: usize,
        range: Range,
        f: impl FnOnce(View<'_>) -> page::Checked<R>,
    ) -> Result<(BufRef, R)> {
        let buf = m.buf().read(block, BlockKind::Tree, self.owner)?;
        let r = {
            let data = buf.data();
            self.check(&data, level, range)
                .and_then(f)
                .map_err(|bad| corrupt(block, bad))?
        };
        Ok((buf, r))
    }

    #[inline(never)]
    fn check<'a>(&self, page: &'a Block, level: usize, range: Range) -> page::Checked<View<'a>> {
        if View::kind_of(page) != self.kind {
            return Err(Bad("node.kind"));
        }
        if usize::from(View::level_of(page)) != level {
            return Err(Bad("node.level"));
        }
        let node = View::new(page, self.shape(level))?;
        let last = node.count().checked_sub(1).ok_or(Bad("node.count"))?;
        let first = node.key(0)?;
        // The left edge of the range is that of an interior node exactly.
        if first < range.low || level > 0 && first != range.low {
            return Err(Bad("node.first_key"));
        }
        if let Some(high) = range.high {
            if node.key(last)? >= high {
                return Err(Bad("node.last_key"));
            }
        }
        Ok(node)
    }
}

/// The keys a node may hold: from `low` up to, not including, `high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Range {
    low: u64,
    high: Option<u64>,
}

impl Range {
    const ALL: Self = Self { low: 0, high: None };
}

/// A damaged node, as an error.
#[cold]
#[inline(never)]
#[track_caller]
fn corrupt(block: DiskBlock, bad: Bad) -> Error {
    Error::corrupt(block.0, bad.0)
}

/// Looks at a node: opens it under its content lock and calls `f`.
#[track_caller]
fn view<R>(buf: &BufRef, shape: Shape, f: impl FnOnce(View<'_>) -> page::Checked<R>) -> Result<R> {
    let data = buf.data();
    View::new(&data, shape)
        .and_then(f)
        .map_err(|bad| corrupt(buf.block(), bad))
}
