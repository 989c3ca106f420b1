// SPDX-License-Identifier: GPL-2.0

//! The extent index without its protections: what ext4's extent status tree was before each fix.
//!
//! Only in builds with `--cfg latchfs_races`.

use super::{
    index::{Cached, Delayed, Entry, Mapping, Owned, CHANGE_NODES},
    Extents, Piece, View,
};
use crate::{
    engine::{alloc::Reservation, error::Result},
    format::units::FileBlock,
};
use core::ops::Range;

/// Reserved space that is a number and nothing else: who holds the number when something fails
/// does not give it back.
pub(super) fn disown(mut space: Reservation) {
    space.spend(u64::MAX);
}

/// What was in the index goes, and with it the number of blocks that were reserved for it.
fn forget(entry: Entry) {
    if let Mapping::Owned(Owned::Delayed(mut delayed)) = entry.mapping {
        disown(delayed.promise().split(u64::MAX));
    }
}

impl Extents<'_> {
    /// Seed 003: makes `range` Delayed, whatever it is. Returns the piece. May sleep. ENOSPC.
    pub(crate) fn overwrite_delayed(&mut self, range: Range<FileBlock>) -> Result<Piece> {
        let len = range.end.0.saturating_sub(range.start.0);
        let space = self.m.alloc().reserve(len)?;
        let mut after = self.counts();
        after.delayed = after.delayed.saturating_add(len);
        self.reserve_meta(after, false)?;
        let index = &mut self.inner.index;
        index.must_reserve(2 * CHANGE_NODES);
        index.remove(range.clone(), |_, entry| forget(entry))?;
        let delayed = Delayed::new(space);
        index.put_owned(range.clone(), Owned::Delayed(delayed))?;
        Ok(Piece {
            file: range.start,
            len,
            view: View::Delayed,
        })
    }

    /// Seed 003, the other way round: what was a hole is one.
    pub(crate) fn overwrite_hole(&mut self, file: FileBlock, len: u64) -> Result {
        let mut at = file;
        let end = file.saturating_add(len);
        while at < end {
            let piece = self.lookup(at)?.clip(at..end);
            at = piece.end();
            if piece.view == View::Delayed {
                let index = &mut self.inner.index;
                index.must_reserve(CHANGE_NODES);
                index.remove(piece.file..piece.end(), |_, entry| forget(entry))?;
                index.fill(piece.file..piece.end(), Cached::Hole)?;
            }
        }
        Ok(())
    }
}
