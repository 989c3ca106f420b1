// SPDX-License-Identifier: GPL-2.0

//! Data above unwritten extents.
//!
//! What is written there needs no blocks, but its conversion may: the promise pays for it. And if it
//! is appended to the file, the size on disk must not go past it before it has been written, or a
//! crash would show zeroes in front of what was appended later. So the entry says of each block
//! whether there is such data. That has to be exact: a promise alone does not mean that there is data
//! (the write may have failed behind it), and a size that waits for data that nobody has stays behind
//! for ever, and is what the file is cut to when it leaves memory.
//!
//! Only blocks that are behind the end of the file as a whole are marked. The one it ends inside of is
//! a [`Short`](super::short::Short) one, which knows bytes. What becomes of a mark:
//!
//! ```text
//! the write was short             taken away: no data is behind the end of the file
//! writeback                       InFlight, which holds the size back itself, to its end, either way
//! writeback failed before that    taken away, with what is said of lost data
//! truncation, punching, zeroing   the entry goes, or is replaced
//! ```

use super::{
    index::{Mapping, Owned, Promised, CHANGE_NODES},
    Extents, Piece, View,
};
use crate::{
    engine::error::{Error, Result},
    format::units::FileBlock,
    sys::Errno,
};
use core::ops::Range;

impl Extents<'_> {
    /// Pays for the conversion of an unwritten range, so that writeback of data over it cannot fail
    /// for space: takes the metadata blocks from free space, or from the hidden pool when there is
    /// none. `piece` is what [`Self::lookup`] said. `appended`: the data is going to be behind the
    /// end of the file; see the module's text. Anything that is not unwritten is left as it is.
    /// ENOSPC if even the pool is empty; ENOMEM.
    pub fn promise(
        &mut self,
        piece: &Piece,
        range: Range<FileBlock>,
        appended: bool,
    ) -> Result<Piece> {
        let part = piece.clip(range);
        let View::Unwritten {
            at,
            promised,
            appended: marked,
        } = part.view
        else {
            return Ok(part);
        };
        if promised && marked >= appended {
            return Ok(part);
        }
        self.inner.index.try_reserve(CHANGE_NODES)?;
        if !promised {
            let mut after = self.counts();
            after.promised = after.promised.saturating_add(part.len);
            self.reserve_meta(after, true)?;
        }
        self.inner.index.replace(
            piece,
            part.file..part.end(),
            Mapping::Owned(Owned::Promised(Promised { at, appended })),
        )?;
        self.lookup(part.file)
    }

    /// There is no data that was appended in `range` after all. The promise stays. Never fails for
    /// memory; may sleep. EUCLEAN.
    pub(crate) fn not_appended(&mut self, range: Range<FileBlock>) -> Result {
        let mut at = range.start;
        while self.counts().appended > 0 && at < range.end {
            let Some(piece) = self.inner.index.first_from(at) else {
                break;
            };
            if piece.file >= range.end {
                break;
            }
            let part = piece.clip(range.clone());
            at = part.end();
            let View::Unwritten {
                at: disk,
                appended: true,
                ..
            } = part.view
            else {
                continue;
            };
            self.inner.index.must_reserve(CHANGE_NODES);
            let promised = Promised {
                at: disk,
                appended: false,
            };
            let part = part.file..part.end();
            self.inner.index.carve(part.clone())?;
            self.inner
                .index
                .take_at(part.start)
                .ok_or_else(|| Error::new(Errno::UCLEAN))?;
            self.inner
                .index
                .put_owned(part, Owned::Promised(promised))?;
        }
        Ok(())
    }
}
