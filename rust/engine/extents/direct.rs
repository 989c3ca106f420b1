// SPDX-License-Identifier: GPL-2.0

//! What a direct write finds becomes what it writes to.
//!
//! Each of these replaces one piece of the index by an entry in flight that contains its ordered
//! extent, in one step under the ILOCK: nobody ever sees the blocks without the ordered extent, or
//! the other way round (seed 001). Nothing on disk changes before the completion; a direct write
//! that never gets so far ends as a failed one, whose blocks become unwritten.
//!
//! Unlike writeback these may fail, for space and for memory: nothing is acknowledged yet.

use super::{
    index::{InFlight, Mapping, Owned, Piece, Prior, View, CHANGE_NODES},
    ordered::{OpenOrdered, OrderedExtent, OrderedKind},
    Extents, HoleClaim,
};
use crate::{
    engine::error::{Error, Result},
    format::units::{DiskBlock, FileBlock},
    sys::{Arc, Errno},
};
use core::ops::Range;

impl HoleClaim<'_, '_> {
    /// Fills the claimed range, or its beginning, with blocks in flight: takes the blocks, and what
    /// metadata their completion can need. Returns what was filled. May sleep for I/O.
    ///
    /// Errors: ENOSPC if there is not even space for one block; AGAIN if a checkpoint is needed to
    /// make blocks usable; those of the allocator. Nothing has changed then.
    pub fn begin_direct(self) -> Result<Piece> {
        let Self {
            extents,
            hole,
            range,
        } = self;
        let goal = extents.goal(range.start);
        let alloc = extents.m.alloc();
        let mut n = range.end.0.saturating_sub(range.start.0);
        let mut space = loop {
            let mut after = extents.counts();
            after.in_flight = after.in_flight.saturating_add(n);
            let space = alloc.reserve(n).and_then(|space| {
                extents.reserve_meta(after, false)?;
                Ok(space)
            });
            match space {
                Ok(space) => break space,
                Err(e) if e.is(Errno::NOSPC) && n > 1 => n /= 2,
                Err(e) => {
                    extents.trim_meta();
                    return Err(e);
                }
            }
        };
        let want = u32::try_from(n).unwrap_or(u32::MAX);
        let claim = match alloc.claim_reserved(&mut space, goal, want) {
            Ok(claim) => claim,
            Err(e) => {
                extents.trim_meta();
                return Err(e);
            }
        };
        // What was promised beyond the run that was found.
        drop(space);
        let at = claim.range().start;
        let end = range.start.saturating_add(u64::from(claim.len()));
        let io = OrderedExtent::new(OrderedKind::Direct);
        io.add_blocks(claim);
        let piece = extents.publish_direct(&hole, range.start..end, at, Prior::Hole, io);
        extents.trim_meta();
        piece
    }
}

impl Extents<'_> {
    /// Marks the start of `range`, which is in `piece` and unwritten, as being written. Returns the
    /// part. May sleep. ENOSPC if even the hidden pool has no blocks for the map; ENOMEM.
    pub(crate) fn begin_direct_conversion(
        &mut self,
        piece: &Piece,
        range: Range<FileBlock>,
    ) -> Result<Piece> {
        let part = piece.clip(range);
        let View::Unwritten {
            at,
            promised,
            appended,
        } = part.view
        else {
            return Err(Error::new(Errno::UCLEAN));
        };
        self.inner.index.try_reserve(CHANGE_NODES)?;
        let mut after = self.counts();
        after.converting = after.converting.saturating_add(part.len);
        if appended {
            after.appended = after.appended.saturating_sub(part.len);
        } else if promised {
            after.promised = after.promised.saturating_sub(part.len);
        }
        self.reserve_meta(after, true)?;
        let io = OrderedExtent::new(OrderedKind::Direct);
        let range = part.file..part.end();
        self.publish_direct(piece, range, at, Prior::Unwritten, io)
    }

    /// Turns the Delayed blocks that begin `range` into blocks in flight of a direct write: a fault
    /// dirtied a page there after the page cache was written and dropped for the write. The page
    /// stays dirty; where it will be written is known now. May sleep. Errors: AGAIN as
    /// [`Extents::claim_ahead`].
    pub(crate) fn begin_direct_delayed(&mut self, range: Range<FileBlock>) -> Result<Piece> {
        self.claim_ahead(range.start)?;
        self.begin_ordered(range, &mut OpenOrdered::new(OrderedKind::Direct))
    }

    /// The one publisher of a direct write's mapping, which contains its ordered extent.
    fn publish_direct(
        &mut self,
        old: &Piece,
        range: Range<FileBlock>,
        at: DiskBlock,
        prior: Prior,
        io: Arc<OrderedExtent>,
    ) -> Result<Piece> {
        let in_flight = Mapping::Owned(Owned::InFlight(InFlight { at, prior, io }));
        self.inner.index.replace(old, range.clone(), in_flight)?;
        let piece = self
            .inner
            .index
            .lookup(range.start)
            .ok_or_else(|| Error::new(Errno::UCLEAN))?;
        Ok(piece.clip(range))
    }
}
