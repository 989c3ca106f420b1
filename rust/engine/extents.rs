// SPDX-License-Identifier: GPL-2.0

//! Extents: where the blocks of a file are.
//!
//! * [`disk`]: the extent map of a fork on disk, inline or as a tree;
//! * [`index`]: the extent index, what is known about a file in memory;
//! * [`ordered`]: ordered extents, data on its way;
//! * [`Extents`] (here): both together under the ILOCK, and the only way to change them.
//!
//! The rule that everything else follows from: the index is asked first, what it does not know is
//! read from disk into it, and a decision and the change it leads to are one step under one guard.
//! Two values make that a matter of types: [`HoleClaim`] is the proof that a range is a hole, holds
//! the guard, and is the only thing that can be filled with a Delayed extent (seed 003); an
//! `InFlight` entry contains its ordered extent (seed 001).

mod ahead;
mod direct;
pub mod disk;
pub mod index;
#[cfg(latchfs_races)]
mod mutants;
pub mod ordered;
mod promise;
mod range;
pub(crate) mod reclaim;
pub(crate) mod reserve;
pub(crate) mod short;

pub use self::{
    index::{Counts, ExtentIndex, IndexStock, Piece, Prior, View},
    ordered::{OpenOrdered, OrderedExtent, OrderedKind},
};

use self::{
    disk::ExtentCtx,
    index::{Cached, Delayed, InFlight, Mapping, Owned},
};
pub(crate) use self::{index::CHANGE_NODES, range::Clear};
use crate::{
    engine::{
        alloc::{Claim, Reservation},
        error::{Error, Result},
        fork::{Fork, ForkFormat},
        ialloc,
        inode::{Inode, InodeInner},
        mount::Mount,
        txn::FreeKind,
    },
    format::{
        extent::EXTENT_SIZE,
        header::Owner,
        limits::MAX_FILE_BLOCKS,
        units::{DiskBlock, FileBlock},
    },
    sys::{self, Arc, Errno},
};
use core::ops::{ControlFlow, Range};

/// Extents read from disk at once when the index does not know a range.
const LOAD: u32 = 32;

/// The extents of one file, under its ILOCK held exclusively: index and map on disk.
///
/// Dropping it publishes what is read without the ILOCK: the sequence (if a mapping that somebody
/// may have been handed is not true any more), the number of delayed blocks, the room in the index.
pub struct Extents<'a> {
    m: &'a Arc<Mount>,
    inode: &'a Inode,
    inner: &'a mut InodeInner,
    stale: bool,
}

/// Proof that a range is a hole, on disk and in memory. Holds the guard, so nothing can change
/// between the check and [`HoleClaim::fill_delayed`].
#[must_use = "a claimed hole is to be filled"]
pub struct HoleClaim<'g, 'a> {
    extents: &'g mut Extents<'a>,
    hole: Piece,
    range: Range<FileBlock>,
}

/// What [`Extents::claim_hole`] found at the start of the range.
pub enum Claimed<'g, 'a> {
    /// A hole, as long as the claim says.
    Hole(HoleClaim<'g, 'a>),
    /// Something else.
    Mapped(Piece),
}

/// The context of an inode's own map.
pub(crate) fn inode_ctx(m: &Mount, inode: &Inode) -> ExtentCtx {
    ExtentCtx {
        owner: Owner::inode(inode.ino),
        near: home(m, inode),
        kind: FreeKind::Data,
    }
}

/// Where blocks of a file without blocks are wanted: in its allocation group.
pub(crate) fn home(m: &Mount, inode: &Inode) -> DiskBlock {
    ialloc::goal_of(m, inode.ino)
}

impl<'a> Extents<'a> {
    /// The extents of `inode`, whose ILOCK `inner` comes from. `stock` is memory for the index;
    /// what is not needed of it is dropped. May sleep.
    pub fn new(
        m: &'a Arc<Mount>,
        inode: &'a Inode,
        inner: &'a mut InodeInner,
        stock: IndexStock,
    ) -> Self {
        drop(inner.index.add(stock));
        Self {
            m,
            inode,
            inner,
            stale: false,
        }
    }

    /// What is in the index only.
    pub fn counts(&self) -> Counts {
        self.inner.index.counts()
    }

    /// The rest of the inode.
    pub fn inner(&mut self) -> &mut InodeInner {
        self.inner
    }

    /// Mappings that were handed out are not to be used any more, whatever they are.
    pub(crate) fn revoke(&mut self) {
        self.stale = true;
    }

    /// The cookie of mappings handed out now.
    pub fn seq(&self) -> u64 {
        self.inode.file.seq()
    }

    fn ctx(&self) -> ExtentCtx {
        inode_ctx(self.m, self.inode)
    }

    /// What `block` is. Reads the map on disk if the index does not know. May sleep. Errors of
    /// [`disk::scan`], ENOMEM.
    pub fn lookup(&mut self, block: FileBlock) -> Result<Piece> {
        if let Some(piece) = self.inner.index.lookup(block) {
            return Ok(piece);
        }
        let nodes = self.load_nodes();
        self.inner.index.try_reserve(nodes)?;
        self.load(block)
    }

    /// [`Self::lookup`] that does not fail for memory. May sleep.
    pub fn must_lookup(&mut self, block: FileBlock) -> Result<Piece> {
        if let Some(piece) = self.inner.index.lookup(block) {
            return Ok(piece);
        }
        let nodes = self.load_nodes();
        self.inner.index.must_reserve(nodes);
        self.load(block)
    }

    /// Nodes that [`Self::load`] needs at most, and a change of what it has loaded: for each record
    /// its blocks and the hole before it, and a hole at the end. Most files have a record or two.
    fn load_nodes(&self) -> u32 {
        let fork = &self.inner.data;
        let records = match fork.format {
            ForkFormat::InlineExtents => (fork.inline.len() / EXTENT_SIZE) as u32,
            _ => LOAD,
        };
        2 * records.min(LOAD) + 1 + CHANGE_NODES
    }

    /// Fills (a part of) the gap around `block` from disk. The nodes are there.
    fn load(&mut self, block: FileBlock) -> Result<Piece> {
        if block.0 >= MAX_FILE_BLOCKS {
            return Err(Error::new(Errno::FBIG));
        }
        let gap = self.inner.index.gap(block);
        let ctx = self.ctx();
        // The gap before the block is left alone, so that the end of a long file is not paid for by
        // its beginning.
        let first = disk::lookup(self.m, &ctx, &self.inner.data, block)?;
        let start = first.file.max(gap.start);
        let mut known = start;
        let mut left = LOAD;
        let index = &mut self.inner.index;
        let mut failed = None;
        let mut end = gap.end;
        disk::scan(self.m, &ctx, &self.inner.data, start, |extent| {
            let from = extent.file.max(known);
            if from >= gap.end {
                return ControlFlow::Break(());
            }
            if left == 0 {
                end = from;
                return ControlFlow::Break(());
            }
            left -= 1;
            let to = extent.end().min(gap.end);
            let at = extent
                .disk
                .saturating_add(from.0.saturating_sub(extent.file.0));
            let what = if extent.unwritten {
                Cached::Unwritten(at)
            } else {
                Cached::Written(at)
            };
            let hole = if known < from {
                index.fill(known..from, Cached::Hole)
            } else {
                Ok(())
            };
            if let Err(e) = hole.and_then(|()| index.fill(from..to, what)) {
                failed = Some(e);
                return ControlFlow::Break(());
            }
            known = to;
            ControlFlow::Continue(())
        })?;
        if let Some(e) = failed {
            return Err(e);
        }
        if known < end {
            index.fill(known..end, Cached::Hole)?;
        }
        index.lookup(block).ok_or_else(|| Error::new(Errno::UCLEAN))
    }

    /// Checks and claims: what the start of `range` is, and if it is a hole, the right to fill it
    /// up to the end of the hole or the range. May sleep. Errors of [`Self::lookup`].
    pub fn claim_hole<'g>(&'g mut self, range: Range<FileBlock>) -> Result<Claimed<'g, 'a>> {
        let hole = self.lookup(range.start)?;
        if hole.view != View::Hole {
            return Ok(Claimed::Mapped(hole));
        }
        self.inner.index.try_reserve(CHANGE_NODES)?;
        let range = range.start..range.end.min(hole.end());
        Ok(Claimed::Hole(HoleClaim {
            extents: self,
            hole,
            range,
        }))
    }

    /// Turns the Delayed blocks of `range` that begin it into blocks in flight, as a part of the open
    /// ordered extent: exactly what the caller submits. [`Self::claim_ahead`] has seen to blocks for
    /// the first one. Returns the piece that is in flight now. May sleep.
    pub fn begin_ordered(
        &mut self,
        range: Range<FileBlock>,
        open: &mut OpenOrdered,
    ) -> Result<Piece> {
        let piece = self.must_lookup(range.start)?;
        if piece.view != View::Delayed {
            return Err(Error::new(Errno::UCLEAN));
        }
        self.inner.index.must_reserve(2 * CHANGE_NODES);
        self.inner.index.carve(range.start..range.end)?;
        let Some(Mapping::Owned(Owned::Delayed(d))) = self.inner.index.mapping_at(range.start)
        else {
            return Err(Error::new(Errno::UCLEAN));
        };
        let claimed = d.claimed();
        let end = range
            .end
            .min(piece.end())
            .min(range.start.saturating_add(claimed));
        if end <= range.start {
            return Err(Error::new(Errno::AGAIN));
        }
        self.inner.index.carve(range.start..end)?;
        let Some(entry) = self.inner.index.take_at(range.start) else {
            return Err(Error::new(Errno::UCLEAN));
        };
        let Mapping::Owned(Owned::Delayed(mut d)) = entry.mapping else {
            return Err(Error::new(Errno::UCLEAN));
        };
        let claim = d.take_claim().ok_or_else(|| Error::new(Errno::UCLEAN))?;
        let at = claim.range().start;
        let len = end.0.saturating_sub(range.start.0);
        let io = open.extend(range.start, at, len);
        io.add_blocks(claim);
        self.put_in_flight(range.start..end, at, Prior::Hole, io)
    }

    /// Marks an unwritten range as being written, as a part of the open ordered extent. Returns the
    /// piece. May sleep.
    pub fn begin_conversion(
        &mut self,
        range: Range<FileBlock>,
        open: &mut OpenOrdered,
    ) -> Result<Piece> {
        let piece = self.must_lookup(range.start)?;
        let part = piece.clip(range);
        let View::Unwritten { at, .. } = part.view else {
            return Err(Error::new(Errno::UCLEAN));
        };
        self.inner.index.must_reserve(CHANGE_NODES);
        let range = part.file..part.end();
        let io = open.extend(range.start, at, part.len);
        self.inner.index.carve(range.clone())?;
        self.inner.index.take_at(range.start);
        let piece = self.put_in_flight(range, at, Prior::Unwritten, io)?;
        // Paid for when the data was written, unless an error made the extent unwritten meanwhile.
        // Then it may fail here: the completion has the hidden pool.
        let counts = self.counts();
        let _ = self.reserve_meta(counts, true);
        Ok(piece)
    }

    fn put_in_flight(
        &mut self,
        range: Range<FileBlock>,
        at: DiskBlock,
        prior: Prior,
        io: Arc<OrderedExtent>,
    ) -> Result<Piece> {
        self.inner
            .index
            .put_owned(range.clone(), Owned::InFlight(InFlight { at, prior, io }))?;
        let piece = self
            .inner
            .index
            .lookup(range.start)
            .ok_or_else(|| Error::new(Errno::UCLEAN))?;
        Ok(piece.clip(range))
    }

    /// Removes Delayed extents of `range`, nothing else: of the undo of a short write, and of a
    /// writeback that failed. Returns how many blocks that were. May sleep. ENOMEM.
    pub(crate) fn remove_delayed(&mut self, range: Range<FileBlock>) -> Result<u64> {
        let mut removed = 0_u64;
        let mut at = range.start;
        while at < range.end {
            let Some(piece) = self.inner.index.first_from(at) else {
                break;
            };
            if piece.file >= range.end {
                break;
            }
            at = piece.end();
            if piece.view != View::Delayed {
                continue;
            }
            let part = piece.clip(range.clone());
            self.inner.index.must_reserve(CHANGE_NODES);
            self.inner.index.remove(part.file..part.end(), |_, _| {})?;
            removed = removed.saturating_add(part.len);
            // A Delayed extent is a hole on disk.
            self.inner.index.fill(part.file..part.end(), Cached::Hole)?;
            self.stale = true;
        }
        self.trim_meta();
        Ok(removed)
    }

    /// Removes everything from `from` on from the index: of a truncation, whose caller has removed
    /// the page cache there and waited for writeback. A piece in flight is EBUSY and stays.
    pub(crate) fn remove_tail(&mut self, from: FileBlock) -> Result {
        let range = from..FileBlock(MAX_FILE_BLOCKS);
        let mut at = from;
        while let Some(piece) = self.inner.index.first_from(at) {
            if let View::InFlight { .. } = piece.view {
                return Err(Error::new(Errno::BUSY));
            }
            at = piece.end();
        }
        self.inner.index.must_reserve(CHANGE_NODES);
        self.inner.index.remove(range, |_, _| {})?;
        self.inner.index.window = None;
        self.stale = true;
        self.trim_meta();
        Ok(())
    }

    /// The map on disk.
    pub(crate) fn fork(&self) -> &Fork {
        &self.inner.data
    }

    /// What the index knows about `block`.
    pub(crate) fn known(&self, block: FileBlock) -> Option<Piece> {
        self.inner.index.lookup(block)
    }

    /// Takes up to `n` metadata blocks out of the file's reservation, for a completion.
    pub(crate) fn take_meta(&mut self, n: u64) -> Reservation {
        match &mut self.inner.index.meta {
            Some(meta) => meta.split(n),
            None => Reservation::empty(self.m.alloc()),
        }
    }

    /// The claim of the blocks in flight at the start of `piece`.
    pub(crate) fn take_blocks(&mut self, piece: &Piece) -> Option<Claim> {
        let View::InFlight {
            at,
            prior: Prior::Hole,
            ..
        } = piece.view
        else {
            return None;
        };
        let io = self.inner.index.io_of(piece.file)?;
        let len = u32::try_from(piece.len).unwrap_or(u32::MAX);
        io.take_blocks(crate::format::units::BlockRange::new(at, len))
    }

    /// Replaces a range by what the disk has there from now on. `stale`: somebody may have been
    /// told something else.
    pub(crate) fn settle(&mut self, piece: &Piece, what: Cached, stale: bool) -> Result {
        self.inner.index.must_reserve(CHANGE_NODES);
        self.inner.index.settle(piece.file..piece.end(), what)?;
        self.stale |= stale;
        Ok(())
    }

    /// Forgets what is known about a range: to be read from disk again.
    pub(crate) fn forget(&mut self, piece: &Piece) -> Result {
        self.inner.index.must_reserve(CHANGE_NODES);
        self.inner
            .index
            .remove(piece.file..piece.end(), |_, _| {})?;
        self.stale = true;
        Ok(())
    }

    /// Everything of the file that is on disk and in memory, for a transaction.
    pub(crate) fn split(&mut self) -> (ExtentCtx, &mut Fork) {
        let ctx = self.ctx();
        (ctx, &mut self.inner.data)
    }
}

impl HoleClaim<'_, '_> {
    /// What can be filled.
    pub fn range(&self) -> Range<FileBlock> {
        self.range.clone()
    }

    /// Number of blocks that can be filled.
    pub fn len(&self) -> u64 {
        self.range.end.0.saturating_sub(self.range.start.0)
    }

    /// Whether there is nothing to fill.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills the claimed range, or its beginning if space is short, with a Delayed extent: reserves
    /// one block for each block, and what metadata their completion can need. Returns what was
    /// filled. ENOSPC if there is not even space for one block.
    pub fn fill_delayed(self) -> Result<Piece> {
        let mut n = self.len();
        let alloc = self.extents.m.alloc();
        let space = loop {
            let mut after = self.extents.counts();
            after.delayed = after.delayed.saturating_add(n);
            let space = alloc.reserve(n).and_then(|space: Reservation| {
                self.extents.reserve_meta(after, false)?;
                Ok(space)
            });
            match space {
                Ok(space) => break space,
                Err(e) if e.is(Errno::NOSPC) && n > 1 => n /= 2,
                Err(e) => {
                    self.extents.trim_meta();
                    return Err(e);
                }
            }
        };
        if let Err(errno) = sys::fail_point!("da.reserved", self.extents.inode.ino.0) {
            sys::mutant!(Seed003Reservation => mutants::disown(space));
            self.extents.trim_meta();
            return Err(errno.into());
        }
        let range = self.range.start..self.range.start.saturating_add(n);
        self.extents.inner.index.replace(
            &self.hole,
            range.clone(),
            Mapping::Owned(Owned::Delayed(Delayed::new(space))),
        )?;
        // Bounds of the whole Delayed entry are not of interest: the caller owns what it filled.
        Ok(Piece {
            file: range.start,
            len: n,
            view: View::Delayed,
        })
    }
}

impl Drop for Extents<'_> {
    fn drop(&mut self) {
        self.inode
            .file
            .publish(&self.m.inodes.extents, &self.inner.index, self.stale);
    }
}
