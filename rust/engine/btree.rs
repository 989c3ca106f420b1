// SPDX-License-Identifier: GPL-2.0

//! The one B+tree: extents, directories, extended attributes.
//!
//! A tree maps 64-bit keys to records. Records live in leaves, interior nodes hold keys and
//! children; a node is one metadata block. What a record is, and whether all are of one size, is
//! the [`TreeKind`]'s; everything else is the same code.
//!
//! * [`page`], [`edit`], [`split`]: a node as bytes. No I/O, no locks.
//! * [`path`]: from the root to a leaf, every step checked.
//! * [`cursor`]: reading in key order.
//! * [`insert`], [`remove`], [`destroy`]: changes.
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
pub mod insert;
mod kinds;
pub mod page;
mod path;
pub mod remove;
pub mod split;

#[cfg(test)]
mod tests;

use core::marker::PhantomData;

use crate::engine::{
    buf::BufRef,
    error::{
        Error,
        Result, //
    },
    mount::Mount,
};
use crate::format::{
    header::{
        BlockKind,
        Owner, //
    },
    units::DiskBlock, //
};

pub use self::{
    cursor::Cursor,
    destroy::Progress,
    kinds::{
        Dirents,
        Extents, //
    },
    page::Shape, //
};
pub use crate::engine::fork::TreeRoot;

use self::page::{
    Bad,
    Block,
    View, //
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

/// The tree of one owner. Stateless: the root is the caller's, in the fork it protects by its lock.
pub struct Tree<K: TreeKind> {
    owner: Owner,
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
            owner,
            kind: PhantomData,
        }
    }

    /// How the records of a node of `level` lie.
    const fn shape(level: usize) -> Shape {
        if level == 0 {
            K::SHAPE
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
            Self::check(&data, level, range)
                .and_then(f)
                .map_err(|bad| corrupt(block, bad))?
        };
        Ok((buf, r))
    }

    fn check(page: &Block, level: usize, range: Range) -> page::Checked<View<'_>> {
        if View::kind_of(page) != K::KIND {
            return Err(Bad("node.kind"));
        }
        if usize::from(View::level_of(page)) != level {
            return Err(Bad("node.level"));
        }
        let node = View::new(page, Self::shape(level))?;
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
