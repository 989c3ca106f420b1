// SPDX-License-Identifier: GPL-2.0

//! Changes of the map that are no completion: what fallocate(2) does to a range.
//!
//! All of these run in a transaction that the caller has opened and joined the inode to, with the
//! map and the index changed together under the ILOCK. What they find is what is there under that
//! lock: a hole that has become delayed since the caller looked is delayed here.

use super::{
    disk,
    index::{Cached, Delayed, Mapping, Owned, Promised, CHANGE_NODES},
    Extents, HoleClaim, Piece, View,
};
use crate::{
    engine::{
        alloc::Claim,
        error::{Error, Result},
        mount::Mount,
        txn::{FreeKind, Txn},
    },
    format::{
        extent::Extent,
        limits::MAX_FILE_BLOCKS,
        units::{DiskBlock, FileBlock},
    },
    sys::Errno,
};
use core::ops::Range;

/// What [`Extents::clear`] leaves in place of what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Clear {
    /// A hole; the blocks are freed.
    Punch,
    /// Blocks that read as zeroes.
    Unwritten,
}

impl HoleClaim<'_, '_> {
    /// Fills the beginning of the claimed range with an unwritten extent: as much of it as `claim`
    /// has blocks for. What `claim` has left stays in it. Returns what was filled.
    ///
    /// One change of the map ([`disk::changes`]) and one run of blocks. No mapping becomes wrong: a
    /// hole reads as zeroes, too, and nobody writes by a mapping that says hole. May sleep; errors of
    /// [`disk::insert`].
    pub(crate) fn fill_unwritten(self, txn: &mut Txn<'_>, claim: &mut Claim) -> Result<Piece> {
        let len = u32::try_from(self.len()).unwrap_or(u32::MAX);
        let part = claim.split_front(len);
        let (at, len) = (part.range().start, part.len());
        let range = self.range.start..self.range.start.saturating_add(u64::from(len));
        txn.use_claim(part)?;
        let extents = self.extents;
        let ctx = extents.ctx();
        let extent = Extent {
            file: range.start,
            disk: at,
            len,
            unwritten: true,
        };
        disk::insert(extents.m, txn, &ctx, &mut extents.inner.data, extent)?;
        extents.inner.index.replace(
            &self.hole,
            range.clone(),
            Mapping::Cached(Cached::Unwritten(at)),
        )?;
        Ok(Piece {
            file: range.start,
            len: u64::from(len),
            view: View::Unwritten {
                at,
                promised: false,
                appended: false,
            },
        })
    }
}

impl Extents<'_> {
    /// The Delayed entry that begins at `block`. EUCLEAN if none does.
    pub(super) fn delayed_at(&mut self, block: FileBlock) -> Result<&mut Delayed> {
        match self.inner.index.mapping_at(block) {
            Some(Mapping::Owned(Owned::Delayed(d))) => Ok(d),
            _ => Err(Error::new(Errno::UCLEAN)),
        }
    }

    /// Gives the Delayed blocks at the start of `range` the blocks that [`Self::claim_ahead`] has
    /// taken for them, as an unwritten extent on disk: the reservation that the entry owns becomes
    /// these blocks, nothing is taken twice and nothing given back. The data is still to be written,
    /// so the entry's place is taken by a promise for the conversion. Returns the piece.
    ///
    /// One change of the map and one run of blocks. Whoever has been told that the range is delayed
    /// has to ask again. May sleep. Errors: AGAIN, and nothing has changed, if there is no Delayed
    /// entry with blocks (any more); ENOSPC, likewise; those of [`disk::insert`].
    pub(crate) fn allocate_delayed(
        &mut self,
        txn: &mut Txn<'_>,
        range: Range<FileBlock>,
    ) -> Result<Piece> {
        self.inner.index.must_reserve(2 * CHANGE_NODES);
        self.inner.index.carve(range.start..range.start)?;
        let again = || Error::new(Errno::AGAIN);
        let delayed = self.delayed_at(range.start).map_err(|_| again())?;
        let blocks = delayed.claim().ok_or_else(again)?;
        let piece = self
            .inner
            .index
            .lookup(range.start)
            .ok_or_else(again)?
            .clip(range.start..range.end);
        let len = piece.len.min(u64::from(blocks.len));
        let end = range.start.saturating_add(len);
        if len == 0 {
            return Err(again());
        }

        // What a conversion needs beyond a completion.
        let mut after = self.counts();
        after.delayed = after.delayed.saturating_sub(len);
        after.promised = after.promised.saturating_add(len);
        self.reserve_meta(after, true)?;

        // First what can fail and leave everything as it was.
        let ctx = self.ctx();
        let extent = Extent {
            file: range.start,
            disk: blocks.start,
            len: u32::try_from(len).unwrap_or(0),
            unwritten: true,
        };
        disk::insert(self.m, txn, &ctx, &mut self.inner.data, extent)?;

        self.inner.index.carve(range.start..end)?;
        let lost = || Error::new(Errno::UCLEAN);
        let entry = self.inner.index.take_at(range.start).ok_or_else(lost)?;
        let Mapping::Owned(Owned::Delayed(mut d)) = entry.mapping else {
            return Err(lost());
        };
        let claim = d.take_claim().ok_or_else(lost)?;
        txn.use_claim(claim)?;
        // It holds the size on disk back as it did.
        let what = Owned::Promised(Promised {
            at: blocks.start,
            appended: true,
        });
        self.inner.index.put_owned(range.start..end, what)?;
        self.stale = true;
        self.trim_meta();
        Ok(Piece {
            file: range.start,
            len,
            view: View::Unwritten {
                at: blocks.start,
                promised: true,
                appended: true,
            },
        })
    }

    /// Whether [`Self::clear`] of `piece` changes the map on disk.
    pub(crate) fn clears_map(piece: &Piece, how: Clear) -> bool {
        match (piece.view, how) {
            (View::Written { .. }, _) => true,
            (View::Unwritten { .. }, Clear::Punch) => true,
            (View::InFlight { .. }, _) => true,
            (View::Unwritten { .. }, Clear::Unwritten) => false,
            (View::Hole | View::Delayed, _) => false,
        }
    }

    /// Takes the data of `piece`, or of its first part, away; the caller has removed the page cache
    /// over it and waited for writeback. Returns where that part ends.
    ///
    /// A delayed extent becomes a hole, and so it does if zeroes are wanted: the caller allocates
    /// afterwards. Blocks become a hole or unwritten. Two changes of the map and one run of blocks at
    /// most, none if [`Self::clears_map`] says so. May sleep. EBUSY, and nothing has changed, for a
    /// piece in flight; errors of [`disk::unmap`].
    pub(crate) fn clear(
        &mut self,
        txn: Option<&mut Txn<'_>>,
        piece: &Piece,
        how: Clear,
    ) -> Result<FileBlock> {
        let range = piece.file..piece.end();
        let txn = match piece.view {
            View::Hole => return Ok(range.end),
            View::Delayed => {
                self.remove_delayed(range.clone())?;
                return Ok(range.end);
            }
            View::InFlight { .. } => return Err(Error::new(Errno::BUSY)),
            View::Unwritten { at, promised, .. } if how == Clear::Unwritten => {
                if promised {
                    // Nothing dirty is above it any more.
                    self.settle(piece, Cached::Unwritten(at), false)?;
                    self.trim_meta();
                }
                return Ok(range.end);
            }
            View::Unwritten { .. } | View::Written { .. } => {
                txn.ok_or_else(|| Error::new(Errno::INVAL))?
            }
        };
        // One record on disk at a time: what is one piece here may be several there.
        let ctx = self.ctx();
        let fork = &mut self.inner.data;
        let (end, what) = match how {
            Clear::Punch => {
                let gone = disk::unmap(self.m, txn, &ctx, fork, range.clone())?;
                txn.free(gone.range(), FreeKind::Data)?;
                (gone.end(), Cached::Hole)
            }
            Clear::Unwritten => {
                let end = disk::set_unwritten(self.m, txn, &ctx, fork, range.clone())?;
                (end, Cached::Unwritten(at_of(piece)))
            }
        };
        let part = piece.clip(range.start..end);
        self.settle(&part, what, true)?;
        self.trim_meta();
        Ok(part.end())
    }

    /// Forgets everything from `from` on, before extents behind it move: the caller has removed the
    /// page cache there and waited for all I/O, so all of it is on disk as well. EBUSY, and nothing
    /// has changed, if there is something that is not.
    pub(crate) fn forget_tail(&mut self, from: FileBlock) -> Result {
        let mut at = from;
        while let Some(piece) = self.inner.index.first_from(at) {
            match piece.view {
                View::InFlight { .. } | View::Delayed => return Err(Error::new(Errno::BUSY)),
                _ => at = piece.end(),
            }
        }
        self.inner.index.must_reserve(CHANGE_NODES);
        let all = from..FileBlock(MAX_FILE_BLOCKS);
        self.inner.index.remove(all, |_, _| {})?;
        self.inner.index.window = None;
        self.stale = true;
        self.trim_meta();
        Ok(())
    }

    /// The map on disk, the mount and whose it is: for changes of the map alone, after
    /// [`Self::forget_tail`].
    pub(crate) fn map(&mut self) -> (&Mount, disk::ExtentCtx, &mut crate::engine::fork::Fork) {
        let ctx = self.ctx();
        (self.m, ctx, &mut self.inner.data)
    }
}

/// The first block on the device of a piece that has blocks.
fn at_of(piece: &Piece) -> DiskBlock {
    match piece.view {
        View::Written { at } | View::Unwritten { at, .. } | View::InFlight { at, .. } => at,
        View::Hole | View::Delayed => DiskBlock(0),
    }
}
